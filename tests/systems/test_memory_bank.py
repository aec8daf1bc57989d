"""The memory bank: what an update does to its rows."""

import pytest
import torch
import torch.nn.functional as F

from semblance.systems.memory_bank import MemoryBank

INDEX = torch.tensor([7, 0, 4])


@pytest.fixture
def bank(wave) -> MemoryBank:
    return MemoryBank(wave(10, 6, 0.3))


def test_momentum_1_keeps_rows_and_0_replaces_them(bank, wave):
    before, z = bank.rows.clone(), wave(3, 6, 1.0)
    bank.update(z, INDEX, 1.0)
    torch.testing.assert_close(bank.rows, before)
    bank.update(z, INDEX, 0.0)
    torch.testing.assert_close(bank.rows[INDEX], z)


def test_half_way_to_an_orthogonal_embedding(bank):
    """A unit row with a cosine of 1 / sqrt(2) to both; rows of other pictures stay."""
    before = bank.rows.clone()
    z = F.normalize(before[INDEX].roll(1, 1) * torch.tensor([1.0, -1, 1, -1, 1, -1]), dim=1)
    z = F.normalize(z - (z * before[INDEX]).sum(1, keepdim=True) * before[INDEX], dim=1)
    bank.update(z, INDEX, 0.5)
    new = bank.rows[INDEX]
    for end in (z, before[INDEX]):
        torch.testing.assert_close((new * end).sum(1), torch.full((3,), 0.5**0.5).double())
    others = [i for i in range(10) if i not in INDEX]
    assert torch.equal(bank.rows[others], before[others])


def test_an_equal_embedding_is_a_fixed_point_and_an_opposite_one_is_survived(bank):
    before = bank.rows.clone()
    bank.update(before[INDEX], INDEX, 0.5)
    torch.testing.assert_close(bank.rows, before)
    bank.update(-before[INDEX], INDEX, 0.5)
    assert bank.rows.isfinite().all()


def test_similarities_do_not_depend_on_how_they_are_computed(bank, wave, monkeypatch):
    z, rows = wave(3, 6, 1.0).requires_grad_(), torch.tensor([[0, 9, 9], [1, 1, 4], [7, 3, 2]])
    ways = []
    for few in (0, 16):
        monkeypatch.setattr("semblance.systems.memory_bank.FEW", few)
        similarity = bank.chosen(z, rows)
        ways.append((similarity, *torch.autograd.grad(similarity.square().sum(), z)))
    torch.testing.assert_close(ways[0], ways[1])
