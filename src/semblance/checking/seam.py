"""A step up to its gradients, where networks and loss meet: exact, in other precisions, on another device."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from semblance.checking.pretended_device import PretendedDevice, put_there
from semblance.checking.small import BATCH, deviation, gradients_of, small_config, small_method, small_samples
from semblance.engine import gradients, training_step
from semblance.systems import Clock, Method
from semblance.systems.method import Embeddings
from semblance.views.view import make_views

One = Callable[..., Any]  # runs a function in one process (Processes; tests/ranks.py)
N = BATCH
INDEX = torch.arange(N)
CLOCKS = {"first-step": Clock(0, 10, 3), "later": Clock(5, 10, 3)}
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Seam:
    """A method in training mode, and views of the samples of INDEX in its number type."""

    method: Method
    views: list[Tensor]

    @classmethod
    def of(
        cls, name: str, *, norms: bool = True, precision: str = "64", guard: str | None = None, step: int = 0
    ) -> "Seam":
        """The same whenever it is asked for; step: that the views are of."""
        config = small_config(name, precision=precision, without=[guard] if guard else [])
        method = small_method(config, norms=norms).train()
        views = make_views(config.views, small_samples(config).read(INDEX), INDEX, seed=0, step=step)
        return cls(method, [v.to(next(method.parameters()).dtype) for v in views])

    def cross(
        self, clock: Clock = CLOCKS["later"], micro_batch: int = N, half: torch.dtype | None = None
    ) -> tuple[Tensor, dict[str, Tensor], Embeddings]:
        """Loss, numbers and embeddings of a step up to its gradients; half: what embeddings are computed in."""

        def embed(rows: slice) -> Embeddings:
            with torch.autocast("cpu", half, enabled=half is not None):
                return self.method.embed([v[rows] for v in self.views])

        return gradients.backward(
            embed, lambda z: self.method.objective(z, INDEX, clock), self.method, micro_batch, len(INDEX)
        )

    def plain(self, clock: Clock) -> dict[str, Tensor]:
        """Loss and gradients as autograd finds them in one go."""
        loss, _ = self.method.objective(self.method.embed(self.views), INDEX, clock)
        loss.backward()
        return {"loss": loss.detach(), **gradients_of(self.method)}

    def crossed(self, clock: Clock, micro_batch: int = N) -> dict[str, Tensor]:
        loss, _, _ = self.cross(clock, micro_batch)
        return {"loss": loss, **gradients_of(self.method)}

    def handed(self, z: Embeddings, clock: Clock) -> dict[str, Tensor]:
        """Loss of given embeddings, and its gradients in them and in what it has of its own."""
        leaves = {n: t.detach().clone().requires_grad_(t.is_floating_point()) for n, t in z.items()}
        self.method.zero_grad()
        loss, _ = self.method.objective(leaves, INDEX, clock)
        loss.backward()
        of_z = {f"of {n}": t.grad for n, t in leaves.items() if t.grad is not None}
        return {"loss": loss.detach(), **of_z, **gradients_of(self.method)}


def takes_a_step(name: str) -> None:
    """Raises what keeps it from that."""
    Seam.of(name).crossed(CLOCKS["first-step"])


def exactness(one: One, name: str, guard: str | None, clock: Clock) -> float:
    """The gradient of a step in the engine's two parts against that of autograd in one, float64."""
    return deviation(one(_in_two_parts, name, guard, clock), one(_in_one, name, guard, clock))


def left_behind(one: One, name: str, clock: Clock) -> float:
    """How far the loss of given embeddings depends on what else was embedded before, or on a graph of it: 0."""
    straight, after, unseen = (one(_handed, name, clock, last) for last in ("itself", "another", "without a graph"))
    return max(deviation(after, straight), deviation(unseen, straight))


def row_dependence(name: str) -> float:
    """How far an embedding depends on the samples embedded along with it, batch norms left out, float64."""
    whole, part = Seam.of(name, norms=False), Seam.of(name, norms=False)
    with torch.no_grad():
        z = whole.method.embed(whole.views)
        own = part.method.embed([v[: N // 2 - 1] for v in part.views])
    return deviation(own, {n: t[: N // 2 - 1] for n, t in z.items()})


def precisions(one: One, name: str, halves: bool) -> dict[str, float]:
    """Gradients of a step in float32, and under autocast, against float64: norm of the difference over the norm."""
    exact = one(_rounded, name, "64", None)
    kinds = {"float32": None} | (HALVES if halves else {})
    rough = {kind: one(_rounded, name, "32", half) for kind, half in kinds.items()}
    return {kind: inf if g is None or exact is None else relative(g, exact) for kind, g in rough.items()}


def _in_two_parts(name: str, guard: str | None, clock: Clock) -> dict[str, Tensor]:
    return Seam.of(name, guard=guard).crossed(clock)


def _in_one(name: str, guard: str | None, clock: Clock) -> dict[str, Tensor]:
    return Seam.of(name, guard=guard).plain(clock)


def _handed(name: str, clock: Clock, last: str) -> dict[str, Tensor]:
    """What the loss makes of embeddings where those or others were embedded last."""
    seam = Seam.of(name)
    with torch.set_grad_enabled(last != "without a graph"):
        z = seam.method.embed(seam.views)
    if last == "another":
        with torch.no_grad():
            seam.method.embed([v[3:] for v in Seam.of(name, step=1).views])
    return seam.handed(z, clock)


def _rounded(name: str, precision: str, half: torch.dtype | None) -> Tensor | None:
    """Gradients of a step, None where embeddings or loss are of another number type than that of the objective."""
    seam = Seam.of(name, precision=precision)
    loss, _, z = seam.cross(half=half)
    wanted = torch.float64 if precision == "64" else torch.float32
    return flat(seam.method) if {t.dtype for t in (loss, *z.values()) if t.is_floating_point()} == {wanted} else None


def flat(method: torch.nn.Module) -> Tensor:
    return torch.cat([g.double().flatten() for g in gradients_of(method).values()])


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm()) if a.shape == b.shape else inf


def elsewhere(one: One, name: str) -> float:
    """A step on a device that only pretends to be one, against the same on the CPU: loss and state, float32."""
    return deviation(*(one(_stepped, name, there) for there in (True, False)))


def _stepped(name: str, there: bool) -> dict[str, Tensor]:
    seam = Seam.of(name, precision="32")
    if there:
        put_there(seam.method)
    optimizer = torch.optim.SGD(seam.method.parameters(), lr=1e-3)
    with PretendedDevice():
        loss, _ = training_step.step(seam.method, optimizer, seam.views, INDEX, CLOCKS["later"])
        state = {"loss": loss, **seam.method.state_dict()}
        return {n: getattr(t, "here", t).detach() for n, t in state.items()}
