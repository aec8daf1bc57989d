"""SimCLR as published, and its one guard."""

from math import log

import pytest
import torch
from torch import nn

from semblance.systems import Clock
from semblance.systems.contrastive.simclr import SimCLR

CLOCK, INDEX = Clock(0, 10, 5), torch.arange(64)


def test_published_constants(defaults):
    assert defaults(SimCLR) == {"temperature": 0.1, "hidden": 2048, "layers": 3, "dim": 128}


def test_the_projector_is_the_authors(tiny):
    """No linear bias; every layer normalised, the last without a shift and without ReLU (model_util.py)."""
    layers = list(SimCLR(tiny, hidden=16, dim=4).projector)
    assert [type(m) for m in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear, nn.BatchNorm1d]
    linear = [m for m in layers if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features, m.bias) for m in linear] == [(8, 16, None), (16, 16, None), (16, 4, None)]
    assert [m.bias.requires_grad for m in layers if isinstance(m, nn.BatchNorm1d)] == [True, True, False]
    assert (layers[-1].bias == 0).all()


def test_the_first_loss_is_near_its_constant(tiny, noise):
    """Random directions in 128 dimensions: a little above 2 ln(2N - 1)."""
    loss, numbers = SimCLR(tiny).objective({"z1": noise(64, 128), "z2": noise(64, 128, seed=1)}, INDEX, CLOCK)
    (level,) = SimCLR(tiny).constants(64).values()
    assert level == pytest.approx(2 * log(127))
    assert level < loss < level + 1.6
    assert numbers["embedding_std"] == pytest.approx(1, abs=0.02) and abs(numbers["positive_similarity"]) < 0.05


def test_the_views_share_batch_statistics(tiny, crops):
    """One forward: normalised over both views, each dimension of the two together has mean 0."""
    z = SimCLR(tiny, hidden=16, dim=4).embed(crops(32, 8, 6)[:1] + [crops(32, 8)[0] + 3])
    assert z["z1"].shape == z["z2"].shape == (32, 4)
    assert torch.cat([z["z1"], z["z2"]]).mean(0).abs().max() < 1e-5
    assert z["z1"].mean(0).abs().max() > 0.1


def test_without_negatives_only_attraction_is_left(tiny, noise):
    """Equal views are the best there is, also when all images are alike; with negatives that costs 2 ln(2N - 1)."""
    z = noise(1, 8).expand(64, 8)
    bare, whole = (
        SimCLR(tiny, without).objective({"z1": z, "z2": z}, INDEX, CLOCK)[0] for without in (["negatives"], [])
    )
    assert bare == pytest.approx(-20) and whole == pytest.approx(2 * log(127), abs=1e-4)
    assert SimCLR(tiny, ["negatives"]).constants(64) == {}


def test_both_views_get_gradient(tiny, noise):
    z = {name: noise(8, 4, seed=s).requires_grad_() for s, name in enumerate(("z1", "z2"))}
    SimCLR(tiny).objective(z, INDEX[:8], CLOCK)[0].backward()
    assert all(t.grad.abs().sum() > 0 for t in z.values())
