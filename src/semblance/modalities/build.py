"""From a configuration to a method with its backbones."""

from collections.abc import Callable
from typing import Any

import torch

from semblance import systems
from semblance.data import Source
from semblance.errors import UserError
from semblance.modalities.modality import Modality
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.from_run import go_on_from
from semblance.shown import shown
from semblance.systems import Method


def build(config: TrainConfig, modality: Modality) -> Method:
    """The method with random weights; modality: what its samples are."""
    make: Callable[..., Method] = systems.get(config.method)  # methods differ in how many networks they take
    return make(*modality.networks(config), without=config.without, **config.hyper)


def at_the_start(
    config: TrainConfig, modality: Modality, source: Source[Any], folder: RunFolder | None = None
) -> Method:
    """The method before its first step, on the CPU: the same whenever it is asked for. folder: of the run, once it has
    begun, since a run that it began with may have gone on, or away."""
    torch.manual_seed(config.seed)
    method = build(config, modality)
    method.prepare(len(source.train))
    modality.prepare(method, source, config)
    if config.precision == "64":
        method.double()
    if config.from_run is not None and folder is not None:
        try:
            weights = checkpoint.load(folder.beginning)["method"]
            checkpoint.check_networks(method.state_dict(), weights)
            method.load_state_dict(weights)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{shown(folder.beginning)} does not belong to this run: {error}") from error
    elif config.from_run is not None:
        go_on_from(config.from_run, method, source.train)
    return method
