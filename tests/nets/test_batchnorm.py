"""Batch norm over all ranks is torch's batch norm over the whole batch: outputs, gradients, running statistics."""

from copy import deepcopy

import pytest
import torch
from ranks import Ranks
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from semblance.engine import gradients
from semblance.errors import UserError
from semblance.nets.batchnorm import GlobalBatchNorm, group_statistics, place, synchronise
from semblance.runtime.ranks import own_rows

SHAPES = [(6, 5), (7, 5), (7, 5, 3, 2)]


def example(shape: tuple[int, ...], affine: bool) -> tuple[nn.Module, Tensor, Tensor]:
    """A batch norm, a batch and the gradient of its output."""
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(2, *shape, generator=generator, dtype=torch.float64) * 3 + 1).unbind(0)
    norm = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(
        shape[1], momentum=0.3 if affine else None, affine=affine
    )
    norm = norm.double()
    if affine:
        nn.init.uniform_(norm.weight, generator=generator)
        nn.init.uniform_(norm.bias, generator=generator)
    return norm, x, gradient


def use(norm: nn.Module, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(gradient)
    gradients.reduce_gradients(norm)
    found = {"y": y.detach(), "x.grad": x.grad, **{n: p.grad for n, p in norm.named_parameters()}}
    found |= dict(norm.named_buffers())
    return found | {"evaluated": norm.eval()(x).detach()}


def on_rank(shape: tuple[int, ...], affine: bool) -> dict[str, Tensor]:
    norm, x, gradient = example(shape, affine)
    synchronise(norm)
    assert type(norm) is GlobalBatchNorm
    rows = own_rows(len(x))
    return use(norm, x[rows], gradient[rows])


@pytest.fixture(scope="module")
def one_rank():
    ranks = Ranks(1)
    yield ranks
    ranks.close()


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("world", [1, 2])
def test_ranks_normalise_as_one(world: int, shape: tuple, affine: bool, one_rank: Ranks, two_ranks: Ranks) -> None:
    expected = use(*example(shape, affine))
    results = (one_rank if world == 1 else two_ranks)(on_rank, shape, affine)
    for name, value in expected.items():
        per_sample = name in ("y", "x.grad", "evaluated")
        for found in [torch.cat([r[name] for r in results])] if per_sample else [r[name] for r in results]:
            torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def on_rank_with_activation(by: str | None) -> dict[str, Tensor]:
    norm, x, gradient = activated()
    synchronise(norm) if by is None else group_statistics(norm, 3, by)
    rows = own_rows(len(x))
    with place(rows.start, len(x)):
        return use(norm, x[rows], gradient[rows])


def activated() -> tuple[nn.Module, Tensor, Tensor]:
    """timm's batch norm, which holds its activation."""
    plain, x, gradient = example((7, 5, 3, 2), affine=True)
    norm = BatchNormAct2d(5, momentum=0.3, act_layer=nn.SiLU).double()
    norm.load_state_dict(plain.state_dict())
    return norm, x, gradient


@pytest.mark.parametrize("by", [None, "blocks"])
def test_an_activation_inside_is_kept(by: str | None, one_rank: Ranks, two_ranks: Ranks) -> None:
    expected = use(*activated()) if by is None else one_rank(on_rank_with_activation, by)[0]
    results = two_ranks(on_rank_with_activation, by)
    for name in ("y", "x.grad", "evaluated"):
        torch.testing.assert_close(torch.cat([r[name] for r in results]), expected[name], rtol=1e-12, atol=1e-12)


def test_synchronise_keeps_parameters_and_state() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)), nn.Flatten(), nn.BatchNorm1d(4))
    both = deepcopy(plain)
    synchronise(both)
    assert [type(m) for m in both.modules()].count(GlobalBatchNorm) == 2
    torch.testing.assert_close(both.state_dict(), plain.state_dict(), rtol=0, atol=0)
    both.eval(), plain.eval()
    x = torch.ones(2, 3, 1, 1)
    assert torch.equal(both(x), plain(x))


def test_unknown_norms_are_refused() -> None:
    class Special(nn.BatchNorm2d):
        pass

    with pytest.raises(UserError, match="Special"):
        synchronise(nn.Sequential(Special(3)))
    with pytest.raises(UserError, match="Special"):
        group_statistics(nn.Sequential(Special(3)), 2, "blocks")


def grouped(shape: tuple[int, ...], by: str, affine: bool) -> dict[str, Tensor]:
    """The rows of this rank, normalised in three groups of the whole batch."""
    norm, x, gradient = example(shape, affine)
    group_statistics(norm, 3, by)
    rows = own_rows(len(x))
    with place(rows.start, len(x)):
        return use(norm, x[rows], gradient[rows])


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("by", ["blocks", "residues"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("world", [0, 2])
def test_groups_are_normalised_apart(world: int, shape: tuple, by: str, affine: bool, two_ranks: Ranks) -> None:
    """As torch's batch norm on each group; the running statistics are the means over groups. Zero ranks: no process."""
    results = two_ranks(grouped, shape, by, affine) if world else [grouped(shape, by, affine)]
    n = shape[0]
    group = torch.arange(n) * 3 // n if by == "blocks" else torch.arange(n) % 3
    norm, x, gradient = example(shape, affine)
    parts = [use(deepcopy(norm), x[group == g], gradient[group == g]) for g in range(3)]
    for name in ("y", "x.grad"):
        found = torch.cat([r[name] for r in results])
        for g, part in enumerate(parts):
            torch.testing.assert_close(found[group == g], part[name], rtol=1e-10, atol=1e-10)
    for name in ("running_mean", "running_var"):
        for found in results:
            expected = torch.stack([part[name] for part in parts]).mean(0)
            torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-10)


def test_blocks_and_residues_meet_in_one_sample() -> None:
    """What shuffling is for: of those that share statistics with a query, only it does so with its key."""
    rows = torch.arange(64)
    meet = torch.zeros(8, 8).index_put((rows * 8 // 64, rows % 8), torch.ones(64), accumulate=True)
    assert (meet == 1).all()


def test_too_few_samples_for_the_groups_are_one_group() -> None:
    norm, x, gradient = example((3, 5), True)
    expected = use(deepcopy(norm), x, gradient)
    group_statistics(norm, 3, "blocks")
    torch.testing.assert_close(use(norm, x, gradient), expected)
