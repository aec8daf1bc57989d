"""The gradient that crosses the seam is the gradient of the loss of the whole batch, with and without every guard."""

from copy import deepcopy

import pytest
import torch
from promises import Keep
from tiny import assert_close, deviation, gradients_of, tiny_config, tiny_method, tiny_samples
from torch import Tensor

from semblance import systems
from semblance.engine import gradients
from semblance.systems import Clock, Method
from semblance.systems.method import Embeddings
from semblance.views.view import make_views

N = 16
INDEX = torch.arange(N)
CASES = [(m, guard) for m in systems.names() for guard in (None, *systems.get(m).guards)]
CLOCKS = {"first-step": Clock(0, 10, 3), "later": Clock(5, 10, 3)}


def setup(name: str, *, norms: bool = True, precision: str = "64", guard: str | None = None):
    config = tiny_config(name, precision=precision, without=[guard] if guard else [])
    method = tiny_method(config, norms=norms).train()
    crops = make_views(config.views, tiny_samples(name).read(INDEX), INDEX, seed=0, step=0)
    return method, [c.to(next(method.parameters()).dtype) for c in crops]


def cross(
    method: Method,
    crops: list[Tensor],
    micro_batch: int,
    clock: Clock = CLOCKS["later"],
    half: torch.dtype | None = None,
):
    """Loss, numbers and embeddings of a step up to its gradients; half: what embeddings are computed in."""

    def embed(rows: slice) -> Embeddings:
        with torch.autocast("cpu", half, enabled=half is not None):
            return method.embed([c[rows] for c in crops])

    return gradients.backward(embed, lambda z: method.objective(z, INDEX, clock), method, micro_batch, N)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize(("method", "guard"), CASES)
def test_gradient_is_exact(method: str, guard: str | None, clock: Clock, keep: Keep) -> None:
    model, crops = setup(method, guard=guard)
    plain = deepcopy(model)
    loss, _, _ = cross(model, crops, N, clock)
    expected, _ = plain.objective(plain.embed(crops), INDEX, clock)
    expected.backward()
    ours, autograds = ({"loss": v, **gradients_of(m)} for v, m in ((loss, model), (expected.detach(), plain)))
    keep("gradient", deviation(ours, autograds), 1e-12)


def test_gradient_reaches_what_is_trained_only(method: str) -> None:
    """Targets, frozen parameters and buffers have no gradient; every trained parameter has one."""
    model, crops = setup(method)
    _, _, z = cross(model, crops, N)
    assert not any(t.requires_grad for t in [*z.values(), *model.buffers()])
    assert all(b.grad is None for b in model.buffers())
    for name, p in model.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name


def test_objective_is_a_scalar_with_named_numbers(method: str) -> None:
    model, crops = setup(method)
    loss, numbers, z = cross(model, crops, N)
    assert loss.shape == () and torch.isfinite(loss)
    assert all(torch.isfinite(v).item() for v in numbers.values())  # item: each is one number
    assert all(len(t) == N for t in z.values())


def test_micro_batches_are_one_batch(method: str) -> None:
    """Without batch norm, in parts of unequal size."""
    model, crops = setup(method, norms=False)
    whole = deepcopy(model)
    loss, _, z = cross(model, crops, 5)
    expected, _, expected_z = cross(whole, crops, N)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    assert_close(z, expected_z, 1e-9)
    assert_close(gradients_of(model), gradients_of(whole), 1e-9)


def test_second_look_leaves_running_statistics_alone(method: str) -> None:
    """Micro-batches are embedded twice, but batch norms count them once."""
    model, crops = setup(method)
    once = deepcopy(model)
    cross(model, crops, N // 2)
    with torch.no_grad():
        for rows in (slice(0, N // 2), slice(N // 2, N)):
            once.embed([c[rows] for c in crops])
    assert_close(*({n: b for n, b in m.named_buffers() if "running" in n} for m in (model, once)), 0.0)
    assert all(torch.isfinite(g).all() for g in gradients_of(model).values() if g is not None)
