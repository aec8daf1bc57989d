"""The interface of a method: what a system must define for the engine to train it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from semblance.runtime import random
from semblance.systems.recipe import TWO_VIEWS, Recipe

T = TypeVar("T")
Embeddings = dict[str, Tensor]  # by name; the first axis of each is the sample


class Empty(float):
    """A level of the loss at which nothing is told apart: a run that stays there learns nothing."""


@dataclass(frozen=True)
class Clock:
    """Where a run stands: before step `step` of `total_steps`. Every random choice derives from its seed."""

    step: int
    total_steps: int
    steps_per_epoch: int
    seed: int = 0

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    @property
    def starts_epoch(self) -> bool:
        return self.step % self.steps_per_epoch == 0

    @property
    def progress(self) -> float:
        return self.step / self.total_steps


class WholeSet(Protocol):
    """Every picture of the training set, N in all, for the work of `start_step` (engine/whole_set.py)."""

    def plain(self, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """`embed` of the undistorted pictures (n, 3, size, size): (N, ...)."""

    def crops(self, embed: Callable[[list[Tensor]], Tensor], step: int) -> Tensor:
        """`embed` of training views: (N, ...)."""

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """The items in turn, with a progress bar."""


class Method(nn.Module):
    """A joint-embedding system in two parts, `embed` and `objective` (docs/architecture.md).

    `embed` runs the networks on this process's share of the batch (teachers without gradient). `objective` computes the
    loss from the embeddings of the whole batch, in float32, on every process alike.
    State (queues, memory banks, centres) is in buffers. The signature of `__init__` has the paper's defaults.
    Only `embed` and `objective` have to be defined; the rest has defaults.
    """

    family: ClassVar[str] = "of your own"
    title: ClassVar[str]  # the name of the class where it does not say another
    paper: ClassVar[str] = ""
    equation: ClassVar[str] = ""  # the loss of a sample, in one line
    picture: ClassVar[str] = ""  # its branches, drawn in text
    guards: ClassVar[dict[str, str]] = {}  # what keeps it from collapsing, by name; `without` switches them off
    recipes: ClassVar[dict[str, Recipe]] = TWO_VIEWS
    modality: ClassVar[Any] = "pictures"  # or "clips", or a Modality of its own (modalities/modality.py)
    streams: ClassVar[tuple[str, ...]] = ("pictures",)  # the part of a sample that each backbone sees
    example: ClassVar[str] = "shapes"  # the data to train on if none is given
    weights: ClassVar[tuple[str, ...]] = ()  # hyper-parameters that weigh the terms of the loss: not all of them are 0
    no_momentum: ClassVar[tuple[str, ...]] = ()  # parts trained without momentum
    fixed_lr: ClassVar[tuple[str, ...]] = ()  # parts whose learning rate stays at its peak after the warm-up
    network: str = "student"  # that is measured and handed out, or "teacher": the one that its authors evaluate

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if "title" not in vars(cls):  # that of a method it derives from is another's
            cls.title = cls.__name__

    def __init__(self, backbone: nn.Module, without: Collection[str] = ()) -> None:
        super().__init__()
        self.backbone = backbone
        self.features = int(backbone.num_features)  # type: ignore[arg-type]
        self.without = frozenset(without)

    @classmethod
    def of_pictures(cls) -> bool:
        """Whether it learns from pictures alone."""
        return cls.modality == "pictures"

    @property
    def teacher(self) -> nn.Module | None:
        """The backbone that follows slowly; None where there is none."""
        return None

    @property
    def encoder(self) -> nn.Module:
        """The backbone that is measured and handed out: `network` says which."""
        found = self.teacher if self.network == "teacher" else self.backbone
        assert found is not None
        return found

    @property
    def group_count(self) -> int | None:
        """How many prototypes, clusters or classes it sorts samples into; None where there are none."""
        return None

    def has(self, guard: str) -> bool:
        """Whether a guard is on."""
        assert guard in self.guards
        return guard not in self.without

    def prepare(self, samples: int) -> None:
        """Make the buffers whose size is the number of training pictures; called once, before the first step."""

    def start_step(self, whole: WholeSet, clock: Clock) -> None:
        """Before every step, group or embed the whole training set where due, as a function of the state alone."""

    def order(self, samples: int, clock: Clock) -> Tensor:
        """Dataset indices in the order in which the coming epoch visits them: int64 (samples,), on the CPU."""
        return random.permutation(random.key(clock.seed, "order", clock.epoch), samples)

    def embed(self, views: list[Tensor]) -> Embeddings:
        """Views of b samples, float (b, ...), for crops (b, 3, size, size), to embeddings whose first axis is b."""
        raise NotImplementedError

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        """Embeddings of the global batch and dataset indices (B,) to the loss, a scalar, and named numbers to log, as
        tensors or of Python."""
        raise NotImplementedError

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        """After the optimiser's step, update moving averages, queues and memory banks."""

    def constants(self, batch_size: int) -> dict[str, float]:
        """Levels of the loss worth knowing, by what they mean; Empty where nothing is told apart. No level is called
        good that a collapse may reach since a guard is off."""
        return {}


def unit(z: Tensor, dim: int = 1) -> Tensor:
    """Vectors of unit length along an axis; in float32 or better, so that a zero vector is not divided by zero."""
    return nn.functional.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=dim)


def rising_momentum(first: float, clock: Clock) -> float:
    """Momentum of a moving average over a run: from its first value to 1 by half a cosine (Grill et al. 2020)."""
    return 1 - (1 - first) * (1 + cos(pi * clock.progress)) / 2


@torch.no_grad()
def ema(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move the target's parameters (not its buffers) towards the online ones: t <- m t + (1 - m) o."""
    for t, o in zip(target.parameters(), online.parameters(), strict=True):
        t.lerp_(o, 1 - momentum)


@torch.no_grad()
def embedding_std(z: Tensor) -> Tensor:
    """Mean over dimensions of the standard deviation of normalised embeddings, times sqrt(D): near 1 when healthy,
    near 0 when collapsed (Chen & He 2021). z: (N, D)."""
    return nn.functional.normalize(z, dim=1).std(0).mean() * z.shape[1] ** 0.5
