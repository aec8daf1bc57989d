"""MoCo v3 as published, and its two guards."""

from math import exp, log

import pytest
import torch
from torch import nn

from semblance.systems import Clock
from semblance.systems.contrastive.moco_v3 import MoCoV3

CLOCK, INDEX = Clock(0, 100, 10), torch.arange(8)


def small(backbone: nn.Module, without=(), **hyper) -> MoCoV3:
    return MoCoV3(backbone, without, **{"hidden": 16, "dim": 4, **hyper})


def wave(phase: float) -> torch.Tensor:
    return torch.sin(torch.outer(torch.arange(1.0, 7), torch.arange(1.0, 5)).double() + phase)


def test_published_constants(defaults):
    assert defaults(MoCoV3) == {"temperature": 1.0, "momentum": 0.99, "hidden": 4096, "dim": 256}


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 8.359543398531208), (0.2, 3.7058121447480503)])
def test_the_loss_of_the_authors_code(tiny, temperature, expected):
    """ctr_loss of moco/builder.py in both directions, on waves of phase 0 to 3."""
    z = {name: wave(phase) for phase, name in enumerate(("q1", "q2", "k1", "k2"))}
    assert small(tiny, temperature=temperature).objective(z, INDEX, CLOCK)[0].item() == pytest.approx(
        expected, rel=1e-12
    )


def test_four_steps_of_the_authors_code(rows, sines, filled):
    """Their MoCo_ResNet without a trunk, with SGD and a momentum that rises over four steps."""
    model = small(rows(6), temperature=0.2, momentum=0.9, hidden=5, dim=3).double()
    for part in (model.projector, model.predictor):
        filled(part)
    model.target[1].load_state_dict(model.projector.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = [4.514440834947989, 2.2381124156929975, 1.161116931262005, 2.630954424164626]
    for step, expected in enumerate(losses):
        clock = Clock(step, 4, 1)
        z = model.embed([sines(6, 6, step), sines(6, 6, step + 0.5)])
        loss, _ = model.objective(z, INDEX, clock)
        assert loss.item() == pytest.approx(expected, rel=1e-8)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.update(z, INDEX, clock)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, None), (0.2, 4 * 0.0184348 / 2)])
def test_a_basis_costs_its_closed_form(tiny, temperature, expected):
    """Each direction 2 T ln(1 + (N - 1) exp(-1 / T))."""
    z = dict.fromkeys(("q1", "q2", "k1", "k2"), torch.eye(8).double())
    loss, _ = small(tiny, temperature=temperature).objective(z, INDEX, CLOCK)
    assert loss.item() == pytest.approx(4 * temperature * log(1 + 7 * exp(-1 / temperature)), rel=1e-9)
    assert expected is None or loss.item() == pytest.approx(expected, rel=1e-5)


def test_equal_embeddings_cost_the_constant(tiny, noise):
    z = dict.fromkeys(("q1", "q2", "k1", "k2"), noise(1, 4).expand(8, 4))
    loss, _ = small(tiny).objective(z, INDEX, CLOCK)
    (level,) = small(tiny).constants(8).values()
    assert loss == pytest.approx(level, rel=1e-6) == pytest.approx(4 * log(8))


def test_without_negatives_only_attraction_is_left(tiny, noise):
    z = dict.fromkeys(("q1", "q2", "k1", "k2"), noise(1, 4).expand(8, 4))
    assert small(tiny, ["negatives"]).objective(z, INDEX, CLOCK)[0] == pytest.approx(-4)


def test_heads_are_the_authors(tiny):
    model = small(tiny)
    assert [type(m) for m in model.projector] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert not model.projector[-1].affine
    assert [type(m) for m in model.predictor] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert all(m.bias is None for m in [*model.projector, *model.predictor] if isinstance(m, nn.Linear))


def test_keys_follow_slowly_and_carry_no_gradient(tiny, crops):
    model, views = small(tiny), crops(16, 8, 8)
    z = model.embed(views)
    assert z["q1"].requires_grad and not z["k1"].requires_grad
    before = model.target[1][0].weight.clone()
    with torch.no_grad():
        model.projector[0].weight.add_(1)
    model.update(z, INDEX, CLOCK)
    torch.testing.assert_close(model.target[1][0].weight, before + 0.01)
    assert (model.tau(Clock(50, 100, 10)), model.tau(Clock(100, 100, 10))) == (pytest.approx(0.995), 1.0)
    assert small(tiny, ["ema"]).tau(CLOCK) == 0.0
