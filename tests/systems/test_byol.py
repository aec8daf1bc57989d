"""BYOL as published, and its three guards."""

import pytest
import torch
from torch import Tensor, nn

from semblance.systems import Clock
from semblance.systems.distillation.byol import BYOL
from semblance.systems.method import ema

CLOCK = Clock(0, 100, 10)


def small(backbone: nn.Module, without=(), **hyper) -> BYOL:
    return BYOL(backbone, without, **{"hidden": 16, "dim": 4, **hyper})


def loss_of(model: BYOL, views: list[Tensor]) -> Tensor:
    return model.objective(model.embed(views), torch.arange(len(views[0])), CLOCK)[0]


def test_published_constants(defaults):
    assert defaults(BYOL) == {"momentum": 0.996, "hidden": 4096, "dim": 256}


def test_projector_and_predictor_are_the_authors(tiny):
    """A biased linear layer, batch norm, ReLU, a linear layer without bias (byol/utils/networks.py, MLP)."""
    for head, width in ((small(tiny).projector, 8), (small(tiny).predictor, 4)):
        assert [type(m) for m in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
        assert head[0].in_features == width and head[0].bias is not None and head[3].bias is None


def test_the_first_loss_is_near_its_constant(tiny, noise):
    """Random directions: 2 from each of the two predictions."""
    names = ("p1", "p2", "target1", "target2")
    z = {name: noise(64, 256, seed=s) for s, name in enumerate(names)}
    loss, numbers = small(tiny).objective(z, torch.arange(64), CLOCK)
    assert loss == pytest.approx(max(small(tiny).constants(64).values()), abs=0.1) == pytest.approx(4, abs=0.1)
    assert numbers["target_momentum"] == pytest.approx(0.996)


def test_each_prediction_is_of_the_other_view(tiny, noise):
    """0 when they agree crosswise, 8 when they are opposite."""
    a, b = noise(6, 4), noise(6, 4, seed=1)
    for sign, expected in ((1, 0), (-1, 8)):
        z = {"p1": a, "target2": sign * a, "p2": b, "target1": sign * b}
        assert small(tiny).objective(z, torch.arange(6), CLOCK)[0] == pytest.approx(expected, abs=1e-5)


def test_the_target_starts_as_a_copy_and_sees_one_view_at_a_time(tiny, crops):
    model, views = small(tiny), crops(16, 8, 8)
    z = model.embed(views)
    torch.testing.assert_close(z["p1"], model.predictor(model.projector(model.backbone(views[0]))))
    torch.testing.assert_close(z["target1"], model.projector(model.backbone(views[0])))
    assert z["target1"].shape == (16, 4)


@pytest.mark.parametrize("start", [0.97, 0.996])
def test_the_momentum_rises_to_1_by_half_a_cosine(tiny, start):
    """google-deepmind/deepmind-research: byol/utils/schedules.py, target_ema."""
    model = small(tiny, momentum=start)
    tau = [model.tau(Clock(step, 100, 10)) for step in range(101)]
    assert (tau[0], tau[50], tau[100]) == (pytest.approx(start), pytest.approx((1 + start) / 2), pytest.approx(1))
    assert tau[25] == pytest.approx(1 - (1 - start) * 0.853553390593)  # (1 + cos(pi / 4)) / 2
    assert tau == sorted(tau)


def test_the_momentum_is_the_authors(tiny):
    """byol/utils/schedules.py, target_ema run on four steps of 100."""
    tau = [small(tiny).tau(Clock(step, 100, 10)) for step in (0, 1, 37, 99)]
    assert tau == pytest.approx([0.996, 0.9960009868792685, 0.9972057042187304, 0.9999990131207315], rel=1e-12)


def test_with_constant_weights_the_distance_falls_as_a_power_of_the_momentum():
    target, online = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    before = [t - o for t, o in zip(target.parameters(), online.parameters(), strict=True)]
    for _ in range(7):
        ema(target, online, 0.9)
    for t, o, d in zip(target.parameters(), online.parameters(), before, strict=True):
        torch.testing.assert_close(t - o, 0.9**7 * d)


def test_the_target_follows_the_updated_online_weights_and_keeps_its_buffers(tiny, crops):
    model = small(tiny, momentum=0.75)
    model.embed(crops(8, 8, 8))  # moves the statistics of the batch norms of both
    with torch.no_grad():
        for p in (*model.backbone.parameters(), *model.projector.parameters()):
            p += 1
    for b in model.backbone.buffers():
        b += 5
    weights = [p.clone() for p in model.target.parameters()]
    buffers = [b.clone() for b in model.target.buffers()]
    model.update({}, torch.arange(8), CLOCK)
    for new, old in zip(model.target.parameters(), weights, strict=True):
        torch.testing.assert_close(new.detach(), old + 0.25)
    assert all(torch.equal(new, old) for new, old in zip(model.target.buffers(), buffers, strict=True))
    assert buffers


def test_no_gradient_reaches_the_target(tiny, crops):
    model = small(tiny)
    z = model.embed(crops(8, 8, 8))
    assert not z["target1"].requires_grad and not z["target2"].requires_grad
    loss_of(model, crops(8, 8, 8)).backward()
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())
    online = (*model.backbone.parameters(), *model.projector.parameters(), *model.predictor.parameters())
    assert all(p.grad is not None for p in online)


def test_without_stop_gradient_the_targets_are_the_online_projections(tiny, crops):
    model, views = small(tiny, ["stop_gradient"]), crops(8, 8, 8)
    z = model.embed(views)
    assert z["target1"].requires_grad and z["target2"].requires_grad
    torch.testing.assert_close(z["target1"], model.projector(model.backbone(views[0])))


def test_without_predictor_the_projections_are_compared(tiny, crops):
    model, views = small(tiny, ["predictor"]), crops(8, 8, 8)
    assert not list(model.predictor.parameters())
    torch.testing.assert_close(model.embed(views)["p1"], model.projector(model.backbone(views[0])))


def test_without_ema_the_target_is_the_online_network(tiny):
    model = small(tiny, ["ema"])
    with torch.no_grad():
        model.projector[0].weight += 1
    model.update({}, torch.arange(8), CLOCK)
    assert torch.equal(model.target[1][0].weight, model.projector[0].weight)
