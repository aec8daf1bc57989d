"""LeJEPA: the regulariser of the authors, and the agreement of views."""

import pytest
import torch
import torch.nn.functional as F

from semblance.losses import sigreg
from semblance.systems import Clock
from semblance.systems.redundancy_reduction.lejepa import LeJEPA

CLOCK, INDEX = Clock(3, 10, 5), torch.arange(8)


def test_published_constants(defaults):
    assert defaults(LeJEPA) == {"lambda_": 0.02, "directions": 256, "hidden": 2048, "dim": 128}


@pytest.fixture
def directions(wave) -> torch.Tensor:
    return F.normalize(wave(6, 5, 0.3).T * torch.arange(1, 7), dim=0)


def test_sigreg_is_the_authors(wave, directions):
    """rbalestr-lab/lejepa: MINIMAL.md, SIGReg run in float64 with these directions."""
    first, second = 2 * wave(8, 5, 0.0), 2 * wave(8, 5, 1.0)
    assert sigreg(first, directions).item() == pytest.approx(0.4816226334206482, abs=1e-12)
    both = (sigreg(first, directions) + sigreg(second, directions)) / 2
    assert both.item() == pytest.approx(0.8090076594685054, abs=1e-12)


def test_loss_is_the_authors(wave, directions, tiny, monkeypatch):
    """MINIMAL.md: lambda SIGReg + (1 - lambda) of the squared distances from the mean of the views."""
    monkeypatch.setattr(torch, "randn", lambda *shape, generator: directions)
    model = LeJEPA(tiny, hidden=16, dim=5)
    z = torch.stack([2 * wave(8, 5, 0.0), 2 * wave(8, 5, 1.0)], 1)
    loss, _ = model.objective({"large": z, "small": z[:, :0]}, INDEX, CLOCK)
    assert loss.item() == pytest.approx(0.2693561854172122, abs=1e-7)


def test_sigreg_of_points_and_of_gaussians(noise):
    directions = F.normalize(noise(4, 50), dim=0).double()
    assert sigreg(torch.zeros(10, 4).double(), directions).item() == pytest.approx(4.02048, abs=1e-4)
    draws = [sigreg(noise(256, 4, seed=s).double(), directions).item() for s in range(100)]
    assert sum(draws) / 100 == pytest.approx(1.052464, abs=0.1)


def test_a_point_at_the_origin_feels_no_force_elsewhere_it_does(noise):
    """All sines vanish there; embeddings that differ a little are driven apart."""
    directions = F.normalize(noise(4, 50), dim=0).double()
    for z, moved in ((torch.zeros(10, 4).double(), False), (0.1 * noise(10, 4).double(), True)):
        z.requires_grad_()
        sigreg(z, directions).backward()
        assert z.grad.any() == moved
    assert (z.grad * z).sum() < 0


def test_with_two_views_agreement_is_a_quarter_of_their_distance(tiny, noise):
    model = LeJEPA(tiny, ["gaussian"], hidden=16, dim=5)
    z = noise(8, 2, 5)
    loss, _ = model.objective({"large": z, "small": z[:, :0]}, INDEX, CLOCK)
    torch.testing.assert_close(loss, F.mse_loss(z[:, 0], z[:, 1]) / 4)


def test_directions_change_from_step_to_step_only(tiny, noise):
    model, z = LeJEPA(tiny, hidden=16, dim=5), noise(8, 2, 5)
    losses = [model.objective({"large": z, "small": z[:, :0]}, INDEX, Clock(s, 10, 5))[0] for s in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]


def test_small_crops_agree_with_the_large_ones(tiny, crops):
    model = LeJEPA(tiny, hidden=16, dim=5).eval()
    z = model.embed(crops(8, 6, 12, 12))
    assert z["large"].shape == (8, 2, 5) and z["small"].shape == (8, 1, 5)
    _, numbers = model.objective(z, INDEX, CLOCK)
    views = torch.cat([z["large"], z["small"]], 1)
    torch.testing.assert_close(numbers["invariance"], (views - z["large"].mean(1, True)).square().mean())
    _, without = model.objective({"large": z["large"], "small": z["small"][:, :0]}, INDEX, CLOCK)
    _, alone = model.objective({"large": z["small"], "small": z["small"][:, :0]}, INDEX, CLOCK)
    torch.testing.assert_close(numbers["gaussian"], (2 * without["gaussian"] + alone["gaussian"]) / 3)
