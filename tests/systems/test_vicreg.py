"""VICReg as published, and its two guards."""

import pytest
import torch

from semblance.systems import Clock
from semblance.systems.redundancy_reduction.vicreg import VICReg

CLOCK, INDEX = Clock(0, 10, 5), torch.arange(32)


def loss(model: VICReg, z1, z2) -> float:
    return model.objective({"z1": z1, "z2": z2}, INDEX, CLOCK)[0].item()


def test_published_constants(defaults):
    assert defaults(VICReg) == {"invariance": 25.0, "variance": 25.0, "covariance": 1.0, "dim": 8192}


def test_collapse_costs_its_constant(tiny, noise):
    same = noise(1, 8).expand(32, 8)
    model = VICReg(tiny, dim=8)
    assert loss(model, same, same) == pytest.approx(max(model.constants(32).values()), abs=1e-4)
    assert loss(VICReg(tiny, ["variance"], dim=8), same, same) == pytest.approx(0, abs=1e-6)


def test_without_covariance_repeated_dimensions_are_free(tiny, noise):
    z = 2 * noise(32, 1).expand(32, 8)
    assert loss(VICReg(tiny, ["covariance"], dim=8), z, z) == pytest.approx(0, abs=1e-6)
    assert loss(VICReg(tiny, dim=8), z, z) > 1


def test_views_are_embedded_one_at_a_time(tiny, crops):
    model, views = VICReg(tiny, dim=8), crops(16, 8, 8)
    torch.testing.assert_close(model.embed(views)["z1"], model.projector(model.backbone(views[0])))
