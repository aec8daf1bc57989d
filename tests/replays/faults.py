"""Small faults of the kinds that creep in, one for each system and some for all: planted, a replay has to see them.

python tests/replays/faults.py      the table of docs/correctness.md: how far each lets a run deviate
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, NamedTuple

import replay
import torch
import torch.nn.functional as F
from pytest import MonkeyPatch
from torch import Tensor, nn
from torch.optim import Optimizer

from semblance import losses, systems
from semblance.systems.clustering import deepcluster_v2
from semblance.systems.contrastive import npid
from semblance.systems.memory_bank import nce_once
from semblance.systems.method import ema, rising_momentum


class Fault(NamedTuple):
    what: str
    plant: Callable[[MonkeyPatch], None]


def of_class(method: str, name: str, value: Any) -> Callable[[MonkeyPatch], None]:
    """An attribute of a method's class, or a function in place of one of its own."""
    return lambda patch: patch.setattr(systems.get(method), name, value)


def around(method: str, name: str, function: Callable[..., Any]) -> Callable[[MonkeyPatch], None]:
    """A function in place of one of a method's own, which it is given first."""
    own = getattr(systems.get(method), name)
    return of_class(method, name, wraps(own)(lambda *args, **kwargs: function(own, *args, **kwargs)))


def given(method: str, name: str, value: Any) -> Callable[[MonkeyPatch], None]:
    """Another value of what a method was made with."""

    def make(own: Callable[..., None], self: nn.Module, *args: Any, **kwargs: Any) -> None:
        own(self, *args, **kwargs)
        setattr(self, name, value)

    return around(method, "__init__", make)


def configured(change: Callable[[Any], dict[str, Any]]) -> Callable[[MonkeyPatch], None]:
    """Another configuration."""
    own = replay.configuration

    def other(meta: dict[str, Any]) -> Any:
        config = own(meta)
        return config.model_copy(update=change(config))

    return lambda patch: patch.setattr(replay, "configuration", other)


def swapped_memories(own, self, z, index, clock) -> None:
    own(self, {"z": z["z"].roll(1, 1)}, index, clock)


def one_heads_labels(own, self, whole, clock) -> None:
    own(self, whole, clock)
    self.labels.copy_(self.labels[:1].clone().expand_as(self.labels))


def last_draws(own, self, z, index, terms) -> Any:
    if "within_positives" in terms:
        weight, agreeing, few = terms["within_positives"]
        terms["within_positives"] = (weight, agreeing, terms["cross"][2][:, -few.shape[1] :])
    return own(self, z, index, terms)


def estimated_anew(positive: Tensor, negative: Tensor, log_partition: Tensor) -> Tensor:
    log_partition.fill_(float("nan"))
    return nce_once(positive, negative, log_partition)


@torch.no_grad()
def centre_of_one_crop(self, z, index, clock) -> None:
    self.centre.lerp_(self._teacher(z)[:, 0].mean(0), 1 - self.centre_momentum)
    online = nn.ModuleList([self.backbone, self.projector, self.last])
    ema(self.target, online, rising_momentum(self.momentum, clock))


def unbiased_correlation(z1: Tensor, z2: Tensor) -> Tensor:
    z1, z2 = ((z - z.mean(0)) / (z.var(0) + 1e-5).sqrt() for z in (z1, z2))
    return z1.T @ z2 / len(z1)


def about_all_crops(own, self, z, index, clock) -> Any:
    loss, numbers = own(self, z, index, clock)
    crops = torch.cat([z["large"], z["small"]], 1)
    about_large, about_all = (x.mean(1, keepdim=True) for x in (z["large"], crops))
    change = (crops - about_all).square().mean() - (crops - about_large).square().mean()
    return loss + (1 - self.lambda_) * change, numbers


def of_step(later: int) -> Callable[..., Any]:
    return lambda own, self, clock: own(self, replace(clock, step=clock.step + later))


FAULTS = {
    "deepcluster": Fault("the top layer has momentum", of_class("deepcluster", "no_momentum", ())),
    "deepcluster-v2": Fault(
        "each crop's memory holds the next crop", around("deepcluster-v2", "update", swapped_memories)
    ),
    "sela": Fault("all heads take the first one's labels", around("sela", "start_step", one_heads_labels)),
    "sela-v2": Fault(
        "prototypes are not rescaled to length 1",
        of_class("sela-v2", "update", deepcluster_v2.DeepClusterV2.update),
    ),
    "swav": Fault("two Sinkhorn iterations, not three", given("swav", "iterations", 2)),
    "avid": Fault("banks move with a momentum of 0.501, not 0.5", given("avid", "momentum", 0.501)),
    "avid-cma": Fault(
        "the term of the mined clips takes the last draws, not the first", around("avid-cma", "weigh", last_draws)
    ),
    "moco": Fault("keys' encoder follows with 0.989, not 0.99", given("moco", "momentum", 0.989)),
    "moco-v3": Fault(
        "keys' encoder follows with the momentum of the step before", around("moco-v3", "tau", of_step(-1))
    ),
    "npid": Fault(
        "the partition constant is estimated at every step",
        lambda patch: patch.setattr(npid, "nce_once", estimated_anew),
    ),
    "pirl": Fault(
        "the bank remembers the patches, not the picture",
        around("pirl", "update", lambda own, self, z, *more: own(self, {"z": z["patches"]}, *more)),
    ),
    "simclr": Fault("a temperature of 0.1001, not 0.1", given("simclr", "temperature", 0.1001)),
    "byol": Fault("the target follows with the momentum of the step after", around("byol", "tau", of_step(1))),
    "dino": Fault("the centre follows the first large crop alone", of_class("dino", "update", centre_of_one_crop)),
    "simsiam": Fault("the predictor's rate falls with the others'", of_class("simsiam", "fixed_lr", ())),
    "barlow-twins": Fault(
        "standardised by the unbiased variance",
        lambda patch: patch.setattr(losses, "cross_correlation", unbiased_correlation),
    ),
    "lejepa": Fault(
        "crops approach the mean of all, not of the large ones", around("lejepa", "objective", about_all_crops)
    ),
    "vicreg": Fault("no weight decay, which is 1e-6", configured(lambda config: {"weight_decay": 0.0})),
}


def forgetful_optimizer(patch: MonkeyPatch) -> None:
    own = replay.optimizer_of

    def other(*args: Any) -> Optimizer:
        optimizer = own(*args)
        for group in optimizer.param_groups:
            for name in ("momentum", "betas"):
                if name in group:
                    first, *rest = group[name] if name == "betas" else (group[name],)
                    group[name] = (first + 1e-3, *rest) if rest else first + 1e-3
        return optimizer

    patch.setattr(replay, "optimizer_of", other)


def wider_batch_norms(patch: MonkeyPatch) -> None:
    own = F.batch_norm

    def other(*args: Any, **kwargs: Any) -> Tensor:
        if "eps" in kwargs:
            kwargs["eps"] *= 2
        return own(*(2 * a if i == 7 else a for i, a in enumerate(args)), **kwargs)

    patch.setattr(F, "batch_norm", other)


EVERYWHERE = [
    Fault("the optimiser's momentum is off by 0.001", forgetful_optimizer),
    Fault("weight decay on biases and norms, or none there", configured(lambda c: {"decay_1d": not c.decay_1d})),
    Fault("a batch norm's epsilon of 2e-5, not 1e-5", wider_batch_norms),
    Fault("gradients of a step stay for the next", lambda p: p.setattr(Optimizer, "zero_grad", lambda *a, **k: None)),
]


def largest(found: replay.Deviations) -> float:
    return max(found.loss, found.rate, found.state)


if __name__ == "__main__":
    from recording import FILES, load, method

    print("| recording | allowed | replayed | fault | deviates by |\n|---|---|---|---|---|")
    for name in FILES:
        run, fault = load(FILES[name]), FAULTS[method(name)]
        sound = largest(replay.replay(run))
        with MonkeyPatch.context() as patch:
            fault.plant(patch)
            faulty = largest(replay.replay(run))
        print(f"| {name} | {run.meta['allowed']:.0e} | {sound:.0e} | {fault.what} | {faulty:.0e} |")
