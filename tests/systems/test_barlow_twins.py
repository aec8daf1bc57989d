"""Barlow Twins as published, and its one guard."""

import pytest
import torch
from torch import nn

from semblance.systems import Clock
from semblance.systems.redundancy_reduction.barlow_twins import BarlowTwins

CLOCK, INDEX = Clock(0, 10, 5), torch.arange(64)


def test_published_constants(defaults):
    assert defaults(BarlowTwins) == {"lambda_": 0.0051, "dim": 8192}


def test_the_projector_is_the_authors(tiny):
    layers = list(BarlowTwins(tiny, dim=16).projector)
    assert [type(m) for m in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    assert all(m.bias is None and m.out_features == 16 for m in layers[::3])


def test_the_first_loss_is_near_its_constant(tiny, noise):
    """Unrelated embeddings: D, and a little from chance correlations."""
    model = BarlowTwins(tiny, dim=128)
    loss, numbers = model.objective({"z1": noise(64, 128), "z2": noise(64, 128, seed=1)}, INDEX, CLOCK)
    levels = model.constants(64).values()
    assert sorted(levels) == [0, 128]
    assert loss == pytest.approx(128 * (1 + 1 / 63) + 0.0051 * 128 * 127 / 63, rel=0.05) == pytest.approx(128, rel=0.1)
    assert abs(numbers["on_diagonal"]) < 0.05


def test_each_view_has_its_own_batch_statistics(tiny, crops):
    model, views = BarlowTwins(tiny, dim=16), crops(8, 8, 8)
    z = model.embed(views)
    torch.testing.assert_close(z["z1"], model.projector(model.backbone(views[0])))
    torch.testing.assert_close(z["z2"], model.projector(model.backbone(views[1])))


def test_without_decorrelation_all_dimensions_may_say_the_same(tiny, noise):
    z = noise(64, 1).expand(64, 16)
    whole, bare = (
        BarlowTwins(tiny, without, dim=16).objective({"z1": z, "z2": z}, INDEX, CLOCK)[0]
        for without in ([], ["decorrelation"])
    )
    assert bare == pytest.approx(0, abs=1e-6) and whole == pytest.approx(0.0051 * 16 * 15, rel=1e-3)


def test_both_views_get_gradient(tiny, noise):
    z = {name: noise(8, 4, seed=s).requires_grad_() for s, name in enumerate(("z1", "z2"))}
    BarlowTwins(tiny, dim=4).objective(z, INDEX[:8], CLOCK)[0].backward()
    assert all(t.grad.abs().sum() > 0 for t in z.values())
