"""Runs of any method that take a fraction of a second, and what they end with."""

import signal
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.resolve import resolve
from semblance.runtime import ranks
from semblance.systems import Method
from semblance.views.sound import SoundView

CPU = torch.device("cpu")
SIDE, PICTURES, BATCH = 8, 50, 16  # three steps an epoch, and some pictures left over
STEPS = 10
made_small = {"views", "widths"}  # less in processes that check a method which takes none so small
OWN = {"queue": 32, "groups": 2, "clusters": 6, "start": 0.3}  # switch on what is off by default or at first


def small_config(method: str, **flags: Any) -> TrainConfig:
    """Ten steps of the method's quick recipe with a small network; schedules that count epochs change after one."""
    cls = systems.get(method)
    clips = cls.modality == "clips"
    defaults: dict[str, Any] = {
        "method": method, "batch_size": BATCH, "epochs": 4, "max_steps": STEPS, "warmup_epochs": 1.0, "eval_every": 0,
        "precision": "32", "channels_last": False, "compile": False, "workers": 0,
    }  # fmt: skip
    if "quick" in cls.recipes:
        defaults["recipe"] = "quick"
    if cls.of_pictures() or clips:
        defaults |= {"data": "bounce" if clips else "shapes"}
        defaults |= {"image_size": SIDE} if "views" in made_small else {}
        defaults |= {"hyper": _small_hyper(cls)} if "widths" in made_small else {}
    if cls.of_pictures():
        defaults |= {"backbone": "resnet10-w8-cifar", "crop_from": "canvas"}
    if clips:  # longer steps multiply rounding too much in networks this thin and deep
        defaults |= {"backbone": "r2plus1d-10-small-w4", "audio_backbone": "conv2d-10-small-w4"}
        defaults |= {"optimizer": "adam", "lr": 2e-4}
    config = resolve(defaults | flags)
    if not clips:
        return config
    views = (replace(config.video, frames=2, fps=8.0), SoundView(seconds=0.1, rate=4000, fft=32, hop=20))
    return config.model_copy(update={"views": views})


def _small_hyper(cls: type[Method]) -> dict[str, float]:
    """Every width, number of clusters, ... of the method's signature made small."""
    hyper: dict[str, float] = {}
    for name, parameter in systems.hyper_parameters(cls).items():
        if name in OWN and type(parameter.default) in (int, float):
            hyper[name] = OWN[name]
        elif type(parameter.default) is int and name.endswith(("_epoch", "_epochs")):
            hyper[name] = 1
        elif type(parameter.default) is int and parameter.default > 16:
            hyper[name] = 16
    return hyper


def small_images() -> Images:
    """Drawn pictures."""
    pixels, labels, classes = shapes(PICTURES, SIDE)
    sizes = torch.full((PICTURES, 2), SIDE, dtype=torch.int32)
    return Images("tiny", SIDE, range(PICTURES), pixels, sizes, {"class": Attribute(labels, list(classes))})


def small_clips(config: TrainConfig) -> Clips:
    """Clips of two lengths that show a picture's noise and sound like it."""
    pixels, labels, classes = shapes(PICTURES, SIDE)
    frames = [p.expand(3 + i % 2, -1, -1, -1).roll(i, -1) for i, p in enumerate(pixels)]
    sounds = [p.flatten().short().mul(100).repeat(3)[: 500 + i % 2] for i, p in enumerate(pixels)]
    sizes = torch.full((PICTURES, 2), SIDE, dtype=torch.int32)
    known = {"shape": Attribute(labels, classes)}
    return Clips("tiny", SIDE, range(PICTURES), frames, sounds, sizes, config.video, config.sound, known)


def small_samples(config: TrainConfig) -> Samples:
    """What the method learns from; of a modality of its own, the first of its own example."""
    cls = systems.get(config.method)
    if cls.of_pictures():
        return small_images()
    if cls.modality == "clips":
        return small_clips(config)
    train = modalities.of(config.method).load(config).train
    return train.subset(torch.arange(min(PICTURES, len(train))))


def small_method(config: TrainConfig, *, seed: int = 0, norms: bool = True) -> Method:
    """The method of a configuration; without `norms` every batch norm is left out."""
    torch.manual_seed(seed)
    method = build(config, modalities.of(config.method))
    method.prepare(PICTURES)
    if not norms:
        _leave_out_norms(method)
    return _double(method) if config.precision == "64" else method


def _double(method: Method) -> Method:
    """In float64; so that state which is no buffer does not break all promises, it is taken along."""
    for module in method.modules():
        for name, value in vars(module).items():
            if not name.startswith("_"):
                vars(module)[name] = _doubled(value)
    return method.double()


def _doubled(value: Any) -> Any:
    if type(value) is Tensor and value.dtype == torch.float32:
        return value.double()
    if type(value) in (list, tuple):
        return type(value)(map(_doubled, value))
    return {name: _doubled(inner) for name, inner in value.items()} if type(value) is dict else value


def _leave_out_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            act = getattr(child, "act", None)  # timm's norms may hold their activation
            setattr(module, name, act or nn.Identity())
        else:
            _leave_out_norms(child)


def outcome(
    config: TrainConfig, out: Path, *, norms: bool = True, resume: bool = False, stop: int | None = None, seed: int = 0,
    samples: Samples | None = None, prepared: Callable[[Method], None] | None = None,
) -> dict[str, dict[Any, Tensor]]:  # fmt: skip
    """What a run of this rank ends with: losses by step, gradients of the last step, weights and buffers, and on the
    first rank what the optimiser keeps.

    stop: the step after which Ctrl-C comes. seed: of the first weights. samples: others than the drawn ones. prepared:
    is called with the method before it is trained.
    """
    method = small_method(config, norms=norms, seed=seed)
    if prepared is not None:
        prepared(method)
    if dist.is_initialized():
        synchronise(method)
    out.mkdir(exist_ok=True)
    losses: dict[int, Tensor] = {}

    def on_step(step: int, numbers: dict[str, Any], method: Method) -> None:
        losses[step] = torch.as_tensor(numbers["loss"]).detach().double()
        if step == stop:
            signal.raise_signal(signal.SIGINT)

    folder = RunFolder(out)
    samples = small_samples(config) if samples is None else samples
    trained = loop.fit(
        method, samples, config, folder, CPU, resume=resume, callbacks=[SimpleNamespace(on_step=on_step)]
    )
    if trained.step != (stop or trained.total):
        raise KeyboardInterrupt
    kept = checkpoint.load(folder.checkpoint)["optimizer"] if ranks.world()[0] == 0 else {}
    return {
        "losses": losses, "gradients": gradients_of(method), "state": deepcopy(method.state_dict()),
        "optimizer": dict(_tensors(kept)),
    }  # fmt: skip


def _tensors(tree: Any, where: str = "") -> list[tuple[str, Tensor]]:
    """The tensors and numbers of nested containers, by where they stand."""
    if isinstance(tree, Tensor):
        return [(where, tree)]
    if isinstance(tree, bool | int | float):
        return [(where, torch.tensor(tree))]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return [pair for name, inner in items for pair in _tensors(inner, f"{where}/{name}")]


def gradients_of(method: nn.Module) -> dict[str, Tensor]:
    """By name, of the parameters that have one."""
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None}


def deviation(a: dict[Any, Tensor], b: dict[Any, Tensor]) -> float:
    """The largest difference between two dictionaries of tensors, relative to values above 1 and absolute below;
    infinite where they do not have the same tensors."""
    if a.keys() != b.keys():
        return inf
    return max((_deviation(a[name], b[name]) for name in a), default=0.0)


def _deviation(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return inf
    a, b = a.double(), b.double()
    same = (a == b) | (a.isnan() & b.isnan())
    difference = ((a - b).abs() / b.abs().clamp(min=1)).masked_fill(same, 0).nan_to_num(nan=inf)
    return float(difference.max()) if difference.numel() else 0.0
