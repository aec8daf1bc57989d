"""Half precision stays near float32, and finite whatever goes in."""

from copy import deepcopy

import pytest
import torch
from promises import Keep
from test_gradients import CLOCKS, INDEX, N, cross, setup
from tiny import gradients_of
from torch import Tensor

from semblance import systems

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
LARGEST = torch.finfo(torch.float16).max
EXTREMES = {
    "all-zero": torch.zeros_like,
    "all-equal": torch.ones_like,
    "opposite": lambda z: (
        torch.ones_like(z) * torch.tensor([1.0, -1.0]).repeat(len(z) // 2).view(-1, *[1] * (z.ndim - 1))
    ),
    "largest": lambda z: z.sign() * LARGEST,
    "smallest": lambda z: z.sign() * 6e-8,
    "one-out": lambda z: torch.cat([z[:1] * 0 + LARGEST, z[1:] * 0]),
}


def flat(model: torch.nn.Module) -> Tensor:
    return torch.cat([g.double().flatten() for g in gradients_of(model).values() if g is not None])


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_gradients_follow_float64(method: str, keep: Keep) -> None:
    """From the same weights and views, in float32 and under autocast."""
    exact, crops = setup(method)
    single, _ = setup(method, precision="32")
    single.load_state_dict(exact.state_dict())
    views = [c.float() for c in crops]
    cross(exact, crops, N)
    for name, allowed in (("bf16", 0.5), ("fp16", 0.1)) if systems.get(method).of_pictures() else ():
        half = deepcopy(single)
        _, _, z = cross(half, views, N, half=HALVES[name])
        assert {t.dtype for t in z.values() if t.is_floating_point()} == {torch.float32}
        keep(name, relative(flat(half), flat(exact)), allowed)
    cross(single, views, N)
    keep("float32", relative(flat(single), flat(exact)), 1e-3)


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
def test_objective_is_finite_at_extremes(method: str, half: torch.dtype, extreme) -> None:
    """Of embeddings at the ends of what fp16 holds, far beyond what networks give, at the first step and later."""
    model, crops = setup(method, precision="32")
    with torch.no_grad():
        z = model.embed(crops)
    for clock in CLOCKS.values():
        leaves = {n: extreme(t).to(half).float().requires_grad_() if t.is_floating_point() else t for n, t in z.items()}
        loss, _ = model.objective(leaves, INDEX, clock)
        loss.backward()
        assert loss.isfinite()
        assert all(t.grad is None or t.grad.isfinite().all() for t in leaves.values())


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("views", ["black", "equal", "extreme"])
def test_a_step_is_finite_at_extremes(method: str, half: torch.dtype, views: str) -> None:
    """On views without content, that are all one, and of the largest contrast."""
    if not systems.get(method).of_pictures():
        pytest.skip("networks of clips are float32 on a CPU")
    model, crops = setup(method, precision="32")
    worst = {
        "black": [torch.full_like(c, -2.2) for c in crops],
        "equal": [c[:1].expand_as(c) for c in crops],
        "extreme": [c.sign() * 100 for c in crops],
    }
    loss, _, _ = cross(model, worst[views], N, half=half)
    assert loss.isfinite()
    assert flat(model).isfinite().all()
