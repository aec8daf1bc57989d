"""Runs of any method that take a fraction of a second."""

import inspect
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from semblance import systems
from semblance.config import TrainConfig, resolve
from semblance.data.clips import Attribute, Clips
from semblance.data.images import Images
from semblance.data.samples import Samples
from semblance.data.shapes import shapes
from semblance.engine import loop
from semblance.engine.build import build
from semblance.engine.folder import RunFolder
from semblance.nets.batchnorm import synchronise
from semblance.systems import Method
from semblance.views.sound import SoundView

CPU = torch.device("cpu")
SIZE, PICTURES, BATCH = 8, 50, 16  # three steps an epoch, and some pictures left over
OWN = {"queue": 32, "groups": 2, "clusters": 6, "nce": True}  # hyper-parameters that switch on what is off by default


def tiny_config(method: str, **flags: Any) -> TrainConfig:
    """Ten steps of the method's quick recipe with a small network; schedules that count epochs change after one."""
    clips = systems.get(method).modalities != ("pictures",)
    networks = ("r2plus1d-10-small-w4", "conv2d-10-small-w4") if clips else ("resnet10-w8-cifar", None)
    defaults = {
        "method": method, "data": "bounce" if clips else "shapes", "recipe": "quick", "image_size": SIZE,
        "backbone": networks[0], "audio_backbone": networks[1],
        "batch_size": BATCH, "epochs": 4,
        "max_steps": 10, "warmup_epochs": 1.0, "eval_every": 0, "hyper": _tiny_hyper(method), "without": [],
        "precision": "32", "channels_last": False, "compile": False, "workers": 0, "devices": 1, "seed": 0,
        "data_root": ".", "download": False,
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


def tiny_images() -> Images:
    pixels, labels, classes = shapes(PICTURES, SIZE)
    sizes = torch.full((PICTURES, 2), SIZE, dtype=torch.int32)
    return Images("tiny", SIZE, range(PICTURES), pixels, sizes, labels, classes)


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
    clips = systems.get(method).modalities != ("pictures",)
    return tiny_clips(tiny_config(method)) if clips else tiny_images()


def tiny_method(config: TrainConfig, *, seed: int = 0, norms: bool = True) -> Method:
    """The method of a configuration; without `norms` every batch norm is left out."""
    torch.manual_seed(seed)
    method = build(config)
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


def outcome(config: TrainConfig, out: Path, *, norms: bool = True, world: int = 1) -> dict[str, Any]:
    """What a run of this rank ends with: losses by step, gradients of the last step, weights and buffers."""
    method = tiny_method(config, norms=norms)
    if world > 1:
        synchronise(method)
    train(method, config, out)
    return {"losses": losses(out), "gradients": gradients(method), "state": deepcopy(method.state_dict())}


def losses(out: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in RunFolder(out).read_metrics()]


def gradients(method: nn.Module) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in method.named_parameters()}


def assert_close(a: Any, b: Any, tolerance: float) -> None:
    """Equal dictionaries of tensors, to a tolerance relative to values above 1 and absolute below."""
    assert a.keys() == b.keys()
    for name in a:
        if a[name] is None or b[name] is None:
            assert a[name] is b[name], name
        else:
            torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m)
