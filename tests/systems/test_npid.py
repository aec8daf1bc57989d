"""NPID as published: bank, partition constant, exact softmax, and its one guard."""

from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.systems import Clock, memory_bank
from semblance.systems.contrastive.npid import NPID

CLOCK = Clock(0, 10, 5)


def small(backbone: nn.Module, without=(), samples: int = 50, **hyper) -> NPID:
    model = NPID(backbone, without, **{"dim": 4, "negatives": 16, **hyper})
    model.prepare(samples)
    return model


def wave(n: int, d: int, phase: float = 0.0) -> Tensor:
    return torch.sin(torch.outer(torch.arange(1.0, n + 1), torch.arange(1.0, d + 1)).double() + phase)


def test_published_constants(defaults):
    assert defaults(NPID) == {"temperature": 0.07, "negatives": 4096, "momentum": 0.5, "dim": 128}
    assert NPID.recipes["small"].hyper == {"temperature": 0.1, "negatives": 0, "momentum": 0.0}  # theirs 0.5


def test_the_step_of_the_authors_code(tiny, monkeypatch):
    """NCEAverage and NCECriterion on ten rows of a bank, without their 1e-7: loss, partition constant, new rows."""
    index = torch.tensor([3, 0, 7, 5])
    drawn = (torch.arange(24).view(4, 6) * 7 + 2) % 10
    monkeypatch.setattr(memory_bank, "draw_outside", lambda *_: drawn[:, 1:])
    model = small(tiny, samples=10, negatives=5, dim=3).double()
    model.bank.rows.copy_(wave(10, 3, 1) / 3)
    z = {"z": F.normalize(wave(4, 3), dim=1)}
    loss, _ = model.objective(z, index, CLOCK)
    assert loss.item() == pytest.approx(5.369653077371558, rel=1e-10)
    assert 10 * model.log_partition.exp().item() == pytest.approx(538.3451652823497, rel=1e-10)
    model.update(z, index, CLOCK)
    expected = [
        [0.3661057627108604, 0.8932199867198158, 0.26100694595000934],
        [0.8137373307153533, -0.445558632240817, -0.3732412917081175],
        [0.3377250382822546, -0.7086104275564408, 0.619526480850922],
        [-0.34063034333118747, 0.8736928466680205, -0.34732085869295],
    ]
    torch.testing.assert_close(model.bank.rows[index], torch.tensor(expected).double())
    untouched = [i for i in range(10) if i not in index]
    torch.testing.assert_close(model.bank.rows[untouched], (wave(10, 3, 1) / 3)[untouched])


def test_the_partition_constant_is_estimated_once_and_saved(tiny, noise):
    model, index = small(tiny), torch.arange(8)
    model.objective({"z": F.normalize(noise(8, 4), dim=1)}, index, CLOCK)
    first = model.log_partition.clone()
    model.objective({"z": F.normalize(noise(8, 4, seed=1), dim=1)}, index, Clock(5, 10, 5))
    assert first.isfinite() and model.log_partition == first == model.state_dict()["log_partition"]


def test_probabilities_of_the_first_batch_average_to_one_over_n(tiny, noise, monkeypatch):
    """P = exp(score) / Z, with the Z of that batch."""
    model, seen = small(tiny), []
    nce = memory_bank.nce
    monkeypatch.setattr(memory_bank, "nce", lambda p, n, c: seen.append(torch.cat([p, n], 1)) or nce(p, n, c))
    model.objective({"z": F.normalize(noise(8, 4), dim=1)}, torch.arange(8), CLOCK)
    z = 50 * model.log_partition.exp()
    assert (seen[0].exp() / z).mean().item() == pytest.approx(1 / 50, rel=1e-5)


def test_the_first_loss_is_near_its_constant(tiny, noise):
    """With equal scores it is the constant; random ones cost a little more."""
    model = small(tiny, samples=5000, negatives=4096, dim=128, temperature=1.0)
    loss, _ = model.objective({"z": F.normalize(noise(16, 128), dim=1)}, torch.arange(16), CLOCK)
    (level,) = model.constants(16).values()
    assert level == pytest.approx(9.317888, abs=1e-6) == pytest.approx(loss.item(), abs=0.1)


def test_exact_softmax(tiny, noise):
    """Without draws: cross-entropy over the whole bank; ln N when all rows are alike."""
    model, index = small(tiny, negatives=0), torch.arange(8)
    z = F.normalize(noise(8, 4), dim=1)
    expected = F.cross_entropy(z @ model.bank.rows.T / 0.07, index)
    torch.testing.assert_close(model.objective({"z": z}, index, CLOCK)[0], expected)
    model.bank.rows.copy_(model.bank.rows[:1].expand(50, 4))
    assert model.objective({"z": z}, index, CLOCK)[0] == pytest.approx(log(50), abs=1e-5)
    assert list(model.constants(8).values()) == [pytest.approx(log(50))]


def test_exact_softmax_is_the_authors(tiny):
    """lib/LinearAverage.py and the cross-entropy of main.py, on the bank of the test above."""
    model = small(tiny, samples=10, negatives=0, dim=3).double()
    model.bank.rows.copy_(wave(10, 3, 1) / 3)
    loss, _ = model.objective({"z": F.normalize(wave(4, 3), dim=1)}, torch.tensor([3, 0, 7, 5]), CLOCK)
    assert loss.item() == pytest.approx(4.619962221928268, rel=1e-10)


def test_negatives_change_with_the_epoch_not_with_the_batch(tiny, monkeypatch):
    model, seen = small(tiny), []
    nce = memory_bank.nce
    monkeypatch.setattr(memory_bank, "nce", lambda p, n, c: seen.append(n) or nce(p, n, c))
    z, index = F.normalize(wave(8, 4).float(), dim=1), torch.arange(8)
    for rows, clock in ((slice(0, 8), CLOCK), (slice(4, 8), Clock(1, 10, 5)), (slice(0, 8), Clock(5, 10, 5))):
        model.objective({"z": z[rows]}, index[rows], clock)
    torch.testing.assert_close(seen[0][4:], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_rows_of_the_bank_start_with_unit_norm_on_average(tiny):
    rows = small(tiny, samples=4000, dim=128).bank.rows
    assert rows.abs().max() <= (3 / 128) ** 0.5 and rows.square().sum(1).mean() == pytest.approx(1, abs=0.01)


def test_without_negatives_only_attraction_is_left(tiny):
    model, index = small(tiny, ["negatives"]), torch.arange(8)
    z = F.normalize(model.bank.rows[index], dim=1)
    model.bank.rows.copy_(F.normalize(model.bank.rows, dim=1))
    assert model.objective({"z": z}, index, CLOCK)[0] == pytest.approx(-1 / 0.07, rel=1e-5)
    assert model.constants(8) == {}
