"""Batch norms of networks with random weights, given the statistics of the data: what training measures itself against.

A new batch norm has mean 0 and variance 1 in its memory; in evaluation it would normalise by those, and an untrained
network would be measured with a handicap that no trained one has.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from semblance.data.loader import read_ahead
from semblance.data.pictures.crops import as_trained
from semblance.data.samples import Samples
from semblance.runs.config import TrainConfig
from semblance.runtime import random
from semblance.runtime.device import send_raw
from semblance.runtime.precision import as_written
from semblance.systems import Method
from semblance.views.view import make_views

BATCHES, SAMPLES = 40, 256  # of training, and in each at most


@contextmanager
def batch_norms_of_the_data(method: Method, samples: Samples, config: TrainConfig) -> Iterator[None]:
    """Within, the batch norms of a method know the mean and variance over batches of its views; nothing else changes.

    Every rank sees the same samples, in the number type of the weights: in bf16, other threads would round to other
    statistics, and those to a point of accuracy. Afterwards they are as they were.
    """
    before = [(m, {name: buffer.clone() for name, buffer in m.named_buffers()}, m.momentum) for m in _norms(method)]
    training = method.training
    learn(method.eval(), lambda: _look(method, samples, config))
    try:
        yield
    finally:
        for norm, buffers, momentum in before:
            norm.load_state_dict(buffers, strict=False)
            norm.momentum = momentum
        method.train(training)


def learn(module: nn.Module, look: Callable[[], object]) -> None:
    """The batch norms of a module in evaluation mode take the plain mean over the batches that `look` shows it."""
    norms = _norms(module)
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None
    if norms:
        look()
    for norm in norms:
        norm.eval()


def never_trained(module: nn.Module) -> bool:
    """Whether the batch norms of a module, of which there are some, have seen no data: then nor have its weights."""
    norms = _norms(module)
    return bool(norms) and not any(norm.running_mean.any() for norm in norms)


def _norms(module: nn.Module) -> list[Any]:
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]


@torch.no_grad()
def _look(method: Method, samples: Samples, config: TrainConfig) -> None:
    weight = next(method.parameters())
    size = min(config.batch_size, SAMPLES)
    order = random.permutation(random.key(config.seed, "batch norms"), len(samples))
    visits = order[: BATCHES * size].split(size)[: max(1, len(order) // size)]  # without the last, incomplete one
    requests = [(index, random.key(config.seed, "view", n)) for n, index in enumerate(visits)]
    raws = read_ahead(as_trained(samples, config.views, config.crop_from), requests, config.workers)
    for n, (raw, index) in enumerate(zip(raws, visits, strict=True)):
        views = make_views(config.views, send_raw(raw, weight.device), index, seed=config.seed, step=n)
        views = [v.to(weight.dtype if v.is_floating_point() else v.dtype, memory_format=config.layout) for v in views]
        with as_written(method.backbone):
            method.embed(views)
