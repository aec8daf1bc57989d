"""The gradient that crosses the seam is the gradient of the loss of the whole batch, with and without every guard."""

import pytest
import torch
from promises import Keep
from ranks import alone
from tiny import assert_close, gradients_of

from semblance import systems
from semblance.checking.promises import EXACT, ROUNDING
from semblance.checking.seam import CLOCKS, N, Seam, exactness, left_behind, row_dependence
from semblance.systems import Clock

CASES = [(m, guard) for m in systems.names() for guard in (None, *systems.get(m).guards)]


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize(("method", "guard"), CASES)
def test_gradient_is_exact(method: str, guard: str | None, clock: Clock, keep: Keep) -> None:
    keep("gradient", exactness(alone, method, guard, clock), EXACT)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_the_loss_is_a_function_of_what_it_is_handed(method: str, clock: Clock, keep: Keep) -> None:
    keep("gradient", left_behind(alone, method, clock), EXACT)


def test_an_embedding_is_of_its_sample_alone(method: str) -> None:
    """But for batch norms."""
    assert row_dependence(method) <= ROUNDING


def test_gradient_reaches_what_is_trained_only(method: str) -> None:
    """Targets, frozen parameters and buffers have no gradient; every trained parameter has one."""
    seam = Seam.of(method)
    _, _, z = seam.cross()
    assert not any(t.requires_grad for t in [*z.values(), *seam.method.buffers()])
    assert all(b.grad is None for b in seam.method.buffers())
    for name, p in seam.method.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name


def test_objective_is_a_scalar_with_named_numbers(method: str) -> None:
    loss, numbers, z = Seam.of(method).cross()
    assert loss.shape == () and torch.isfinite(loss)
    assert all(torch.isfinite(v).item() for v in numbers.values())  # item: each is one number
    assert all(len(t) == N for t in z.values())


def test_micro_batches_are_one_batch(method: str) -> None:
    """Without batch norm, in parts of unequal size."""
    clock = CLOCKS["later"]
    assert_close(Seam.of(method, norms=False).crossed(clock, 5), Seam.of(method, norms=False).crossed(clock), 1e-9)


def test_second_look_leaves_running_statistics_alone(method: str) -> None:
    """Micro-batches are embedded twice, but batch norms count them once."""
    seam, once = Seam.of(method), Seam.of(method)
    seam.cross(micro_batch=N // 2)
    with torch.no_grad():
        for rows in (slice(0, N // 2), slice(N // 2, N)):
            once.method.embed([v[rows] for v in once.views])
    assert_close(*({n: b for n, b in s.method.named_buffers() if "running" in n} for s in (seam, once)), 0.0)
    assert all(torch.isfinite(g).all() for g in gradients_of(seam.method).values())
