"""Runs of any method that take a fraction of a second."""

import inspect
import signal
from copy import deepcopy
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from semblance import modalities, systems
from semblance.data.clips.clips import Clips
from semblance.data.pictures.images import Images
from semblance.data.samples import Attribute, Samples
from semblance.data.sources.shapes import shapes
from semblance.engine import loop
from semblance.modalities.build import build
from semblance.nets.batchnorm import synchronise
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.resolve import resolve
from semblance.systems import Method
from semblance.views.sound import SoundView

CPU = torch.device("cpu")
SIZE, PICTURES, BATCH = 8, 50, 16  # three steps an epoch, and some pictures left over
OWN = {"queue": 32, "groups": 2, "clusters": 6, "start": 0.3}  # switch on what is off by default or at first


def tiny_config(method: str, **flags: Any) -> TrainConfig:
    """Ten steps of the method's quick recipe with a small network; schedules that count epochs change after one."""
    clips = not systems.get(method).of_pictures()
    networks = ("r2plus1d-10-small-w4", "conv2d-10-small-w4") if clips else ("resnet10-w8-cifar", None)
    defaults = {
        "method": method, "data": "bounce" if clips else "shapes", "recipe": "quick", "image_size": SIZE,
        "backbone": networks[0], "audio_backbone": networks[1],
        "batch_size": BATCH, "epochs": 4,
        "max_steps": 10, "warmup_epochs": 1.0, "eval_every": 0, "hyper": _tiny_hyper(method),
        "precision": "32", "channels_last": False, "compile": False, "workers": 0,
    }  # fmt: skip
    if clips:  # longer steps multiply rounding too much in networks this thin and deep
        defaults |= {"optimizer": "adam", "lr": 2e-4}
    config = resolve(defaults | flags)
    if not clips:
        return config
    views = (replace(config.video, frames=2, fps=8.0), SoundView(seconds=0.1, rate=4000, fft=32, hop=20))
    return config.model_copy(update={"views": views})


def _tiny_hyper(method: str) -> dict[str, int]:
    """Every width, number of clusters, ... of the method's signature made small."""
    hyper = {}
    for name, parameter in inspect.signature(systems.get(method)).parameters.items():
        default = parameter.default
        if name in OWN:
            hyper[name] = OWN[name]
        elif type(default) is int and name.endswith(("_epoch", "_epochs")):
            hyper[name] = 1
        elif type(default) is int and default > 16:
            hyper[name] = 16
    return hyper


def striped_pictures(count: int) -> np.ndarray:
    """Pictures of one colour each with a stripe, by which another view is found: uint8 (count, 16, 16, 3)."""
    colours = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3)).astype(np.uint8)
    pictures = np.broadcast_to(colours, (count, 16, 16, 3)).copy()
    pictures[:, 6:9] = 255 - pictures[:, 6:9]
    return pictures


def tiny_images() -> Images:
    pixels, labels, classes = shapes(PICTURES, SIZE)
    sizes = torch.full((PICTURES, 2), SIZE, dtype=torch.int32)
    return Images("tiny", SIZE, range(PICTURES), pixels, sizes, {"class": Attribute(labels, list(classes))})


def tiny_clips(config: TrainConfig) -> Clips:
    """Clips of two lengths that show a picture's noise and sound like it."""
    pixels, labels, classes = shapes(PICTURES, SIZE)
    frames = [p.expand(3 + i % 2, -1, -1, -1).roll(i, -1) for i, p in enumerate(pixels)]
    sounds = [p.flatten().short().mul(100).repeat(3)[: 500 + i % 2] for i, p in enumerate(pixels)]
    sizes = torch.full((PICTURES, 2), SIZE, dtype=torch.int32)
    known = {"shape": Attribute(labels, classes)}
    return Clips("tiny", SIZE, range(PICTURES), frames, sounds, sizes, config.video, config.sound, known)


def tiny_samples(method: str) -> Samples:
    """What the method learns from."""
    clips = not systems.get(method).of_pictures()
    return tiny_clips(tiny_config(method)) if clips else tiny_images()


def tiny_method(config: TrainConfig, *, seed: int = 0, norms: bool = True) -> Method:
    """The method of a configuration; without `norms` every batch norm is left out."""
    torch.manual_seed(seed)
    method = build(config, modalities.of(config.method))
    method.prepare(PICTURES)
    if not norms:
        _leave_out_norms(method)
    return method.double() if config.precision == "64" else method


def _leave_out_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            act = getattr(child, "act", None)  # timm's norms may hold their activation
            setattr(module, name, act or nn.Identity())
        else:
            _leave_out_norms(child)


def train(method: Method, config: TrainConfig, out: Path, *, resume: bool = False) -> loop.Trained:
    """fit() with every step logged."""
    out.mkdir(exist_ok=True)
    with mock.patch.object(loop, "LOG_EVERY", 1):
        return loop.fit(method, tiny_samples(config.method), config, RunFolder(out), CPU, resume=resume)


def outcome(
    config: TrainConfig, out: Path, *, norms: bool = True, resume: bool = False, stop: int | None = None
) -> dict[str, Any]:
    """What a run of this rank ends with: losses by step, gradients of the last step, weights and buffers."""
    method = tiny_method(config, norms=norms)
    if dist.is_initialized():
        synchronise(method)
    if stop is not None:
        interrupt_after(method, stop)
    train(method, config, out, resume=resume)
    return {"losses": losses(out), "gradients": gradients_of(method), "state": deepcopy(method.state_dict())}


def interrupt_after(method: Method, step: int) -> None:
    """Ctrl-C while the given step is under way."""
    update = method.update

    def update_and_interrupt(z, index, clock) -> None:
        update(z, index, clock)
        if clock.step + 1 == step:
            signal.raise_signal(signal.SIGINT)

    method.update = update_and_interrupt


def losses(out: Path) -> dict[int, Tensor]:
    """By step; none logged twice."""
    lines = [line for line in RunFolder(out).read_metrics() if "loss" in line]
    assert len({line["step"] for line in lines}) == len(lines)
    return {line["step"]: torch.tensor(line["loss"], dtype=torch.float64) for line in lines}


def gradients_of(method: nn.Module) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in method.named_parameters()}


def deviation(a: Any, b: Any) -> float:
    """The largest difference between two dictionaries of tensors, relative to values above 1 and absolute below."""
    assert a.keys() == b.keys()
    assert [name for name in a if (a[name] is None) != (b[name] is None)] == []
    return max((_deviation(a[name], b[name]) for name in a if a[name] is not None), default=0.0)


def _deviation(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape and a.dtype == b.dtype
    a, b = a.double(), b.double()
    same = (a == b) | (a.isnan() & b.isnan())
    difference = ((a - b).abs() / b.abs().clamp(min=1)).masked_fill(same, 0).nan_to_num(nan=inf)
    return float(difference.max()) if difference.numel() else 0.0


def assert_close(a: Any, b: Any, tolerance: float) -> None:
    """Equal dictionaries of tensors, to a tolerance relative to values above 1 and absolute below."""
    assert deviation(a, b) <= tolerance
