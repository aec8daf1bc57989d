"""Half precision stays near float32, and finite whatever goes in."""

import pytest
import torch
from promises import Keep
from ranks import alone

from semblance import systems
from semblance.checking.promises import PROMISES
from semblance.checking.seam import CLOCKS, HALVES, INDEX, Seam, flat, precisions

ALLOWED = {promise.name: promise.allowed for promise in PROMISES}
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


def test_gradients_follow_float64(method: str, keep: Keep) -> None:
    """From the same weights and views, in float32 and under autocast."""
    for name, deviation in precisions(alone, method, systems.get(method).of_pictures()).items():
        keep(name, deviation, ALLOWED[name])


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
def test_objective_is_finite_at_extremes(method: str, half: torch.dtype, extreme) -> None:
    """Of embeddings at the ends of what fp16 holds, far beyond what networks give, at the first step and later."""
    seam = Seam.of(method, precision="32")
    with torch.no_grad():
        z = seam.method.embed(seam.views)
    for clock in CLOCKS.values():
        leaves = {n: extreme(t).to(half).float().requires_grad_() if t.is_floating_point() else t for n, t in z.items()}
        loss, _ = seam.method.objective(leaves, INDEX, clock)
        loss.backward()
        assert loss.isfinite()
        assert all(t.grad is None or t.grad.isfinite().all() for t in leaves.values())


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("views", ["black", "equal", "extreme"])
def test_a_step_is_finite_at_extremes(method: str, half: torch.dtype, views: str) -> None:
    """On views without content, that are all one, and of the largest contrast."""
    if not systems.get(method).of_pictures():
        pytest.skip("networks of clips are float32 on a CPU")
    seam = Seam.of(method, precision="32")
    worst = {
        "black": [torch.full_like(c, -2.2) for c in seam.views],
        "equal": [c[:1].expand_as(c) for c in seam.views],
        "extreme": [c.sign() * 100 for c in seam.views],
    }
    loss, _, _ = Seam(seam.method, worst[views]).cross(half=half)
    assert loss.isfinite()
    assert flat(seam.method).isfinite().all()
