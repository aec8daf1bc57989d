"""A recorded run of the authors' code, gone through again by `semblance.step` on the same inputs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from recording import Recording, project
from torch import Tensor, nn

import semblance as sb
from semblance import systems
from semblance.engine.loop import optimizer_of, set_schedule
from semblance.nets.batchnorm import synchronise
from semblance.runs.config import TrainConfig
from semblance.runs.resolve import resolve
from semblance.runtime.ranks import own_rows
from semblance.systems import Clock, Method


class Deviations(NamedTuple):
    """The largest of each kind over all steps, relative to values above 1 and absolute below."""

    loss: float
    rate: float
    state: float  # of the projections
    worst: str  # the tensor that deviates most, and after which step


class Net(nn.Module):
    """The recorded network of pictures: two strided convolutions, then the mean; (N, 3, S, S) -> (N, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).flatten(2).mean(2)


class ClipNet(nn.Module):
    """The recorded networks of clips: a strided convolution, then the maximum; (N, C, ...) -> (N, D)."""

    def __init__(self, channels: int, convolution: type[nn.Module], norm: type[nn.Module], width: int) -> None:
        super().__init__()
        self.num_features = width
        self.body = nn.Sequential(convolution(channels, width, 3, 2, 1, bias=False), norm(width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).flatten(2).amax(2)


class RecordedSet:
    """A semblance.systems.WholeSet: the whole set in the views and batches of a recorded pass before a step."""

    def __init__(self, recording: Recording, step: int) -> None:
        self.recording, self.step = recording, step

    def plain(self, embed: Callable[[Tensor], Tensor]) -> Tensor:
        return self._rows(lambda views: embed(views[0]))

    def crops(self, embed: Callable[[list[Tensor]], Tensor], step: int) -> Tensor:
        return self._rows(embed)

    def track(self, items: Sequence[Any], what: str) -> Iterator[Any]:
        return iter(items)

    @torch.no_grad()
    def _rows(self, embed: Callable[[list[Tensor]], Tensor]) -> Tensor:
        batches = zip(*map(_exact, self.recording.in_order(f"whole/{self.step}", "v")), strict=True)
        rows = torch.cat([embed(list(views)) for views in batches])
        order = torch.from_numpy(self.recording.arrays[f"whole/{self.step}/order"]).flatten()
        return rows[order.argsort()]


def configuration(meta: dict[str, Any]) -> TrainConfig:
    """That of the recipe as published, with what the recording says of it."""
    clips = not systems.get(meta["method"]).of_pictures()
    config = resolve({
        "method": meta["method"], "data": "bounce" if clips else "shapes", "recipe": meta.get("recipe", "imagenet"),
        "epochs": meta["epochs"], "batch_size": meta["batch"], "hyper": meta["hyper"], "precision": "64",
        "channels_last": False, "compile": False, "workers": 0, "eval_every": 0, **meta.get("flags", {}),
    })  # fmt: skip
    return config.model_copy(update=meta.get("config", {}))  # what has no flag


def method_of(recording: Recording, config: TrainConfig) -> Method:
    """The method before the first step, which takes its negatives and the first rows of k-means from the recording."""
    cls: Any = systems.get(config.method)
    draws = [torch.from_numpy(d) for d in recording.in_order("draws")]
    starts = recording.arrays.get("kmeans_rows")

    class Recorded(cls):
        """Draws as the authors' run did."""

        def start_step(self, whole, clock: Clock) -> None:
            self.drawn = iter([d[clock.step] for d in draws])
            if recording.meta.get("start_step"):
                super().start_step(whole, clock)

        def draw(self, *about: Any) -> Tensor:
            return next(self.drawn) if draws else super().draw(*about)

        def first_rows(self, head: int, clock: Clock) -> Tensor:
            return super().first_rows(head, clock) if starts is None else torch.from_numpy(starts[clock.epoch, head])

    width = recording.meta.get("width", 12)
    if cls.of_pictures():
        networks = [Net(width)]
    else:
        networks = [ClipNet(3, nn.Conv3d, nn.BatchNorm3d, width), ClipNet(1, nn.Conv2d, nn.BatchNorm2d, width)]
    method = Recorded(*networks, without=config.without, **config.hyper)
    method.prepare(recording.meta.get("samples", 64))
    method.double().load_state_dict({name: torch.tensor(a) for name, a in recording.under("init").items()})
    return method


def replay(recording: Recording) -> Deviations:
    """How far Semblance's run deviates from the authors', on any number of ranks; it ends where it is not finite."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, recording.meta.get("default_dtype", "float32")))  # of drawn directions
    try:
        return _replay(recording)
    finally:
        torch.set_default_dtype(before)


def _replay(recording: Recording) -> Deviations:
    meta, losses, lrs = recording.meta, recording.arrays["losses"], recording.arrays["lrs"]
    config = configuration(meta)
    method = method_of(recording, config)
    optimizer = optimizer_of(config, method)
    if dist.is_initialized():
        synchronise(method)
    views, index = list(map(_exact, recording.in_order("views"))), torch.from_numpy(recording.arrays["index"])
    afters, at = recording.under("after"), recording.under("at")
    worst = {"loss": 0.0, "rate": 0.0, "state": 0.0}
    name_of_worst = ""
    for t in range(len(index)):
        clock = Clock(t, meta["epochs"] * meta["per_epoch"], meta["per_epoch"], config.seed)
        if clock.starts_epoch:
            begin_epoch(method, recording.under(f"epoch/{clock.epoch}"))
        rate = set_schedule(optimizer, config, clock)
        if meta.get("replay_lr"):  # the authors' rates, by epochs or by a warm-up of another form
            rate = float(lrs[t])
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] if group["fixed"] else rate * group["peak"]
        method.start_step(RecordedSet(recording, t), clock)
        own = own_rows(len(index[t]))
        loss, _ = sb.step(
            method, optimizer, [v[t][own] for v in views], index[t], clock, clip_grad=config.clip_grad,
            clip_each=config.clip_each,
        )  # fmt: skip
        worst["loss"] = max(worst["loss"], deviation(float(loss), losses[t]))
        worst["rate"] = max(worst["rate"], deviation(rate, lrs[t]))
        state = method.state_dict()
        for name, expected in afters.items():
            with suppress(ValueError):  # a state of which the authors have none after this step
                row = at[name].tolist().index(t) if name in at else t
                found = deviation(project(name, state[name].numpy()), expected[row])
                if found > worst["state"]:
                    worst["state"], name_of_worst = found, f"{name} after step {t}"
        if not np.isfinite(float(loss)):
            break
    return Deviations(**worst, worst=name_of_worst)


@torch.no_grad()
def begin_epoch(method: Method, given: dict[str, np.ndarray]) -> None:
    """Labels that the authors' clustering ended with, and the new top layer, whose bias begins at 0."""
    if given:
        method.labels.copy_(torch.from_numpy(given["labels"]))
        method.top.weight.copy_(torch.from_numpy(given["top.weight"]))
        method.top.bias.zero_()


def deviation(ours: Any, theirs: Any) -> float:
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    assert ours.shape == theirs.shape
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    difference = np.where(same, 0.0, np.abs(ours - theirs) / np.maximum(1, np.abs(theirs)))
    return float(np.nan_to_num(difference, nan=np.inf).max())


def _exact(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).double()
