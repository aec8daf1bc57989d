"""Label-free numbers against closed forms and other implementations."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from semblance.errors import UserError
from semblance.evaluation.label_free import spread
from semblance.evaluation.label_free.dimension import distances, tree_dimension, tree_length, two_nn
from semblance.evaluation.label_free.interval import interval
from semblance.evaluation.label_free.lidar import lidar
from semblance.evaluation.label_free.of_the_log import at_the_end
from semblance.evaluation.label_free.two_views import alignment, find_other_view, repeatability, uniformity


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_deviation_of_a_known_spread() -> None:
    z = normal(20000, 4) * torch.tensor([1.0, 2.0, 3.0, 4.0]) + 100
    assert spread.deviation(z) == pytest.approx(2.5, rel=0.01)
    assert spread.deviation(torch.ones(5, 3)) == 0


def test_deviation_is_of_a_sample() -> None:
    assert spread.deviation(torch.tensor([[0.0], [1.0], [5.0]])) == pytest.approx(np.std([0, 1, 5], ddof=0))


def test_unit_deviation_is_1_on_the_sphere_and_0_where_all_are_one_direction() -> None:
    assert spread.unit_deviation(normal(5000, 64)) == pytest.approx(1, abs=0.01)
    one = normal(1, 64) * torch.rand(100, 1, generator=torch.Generator().manual_seed(1))
    assert spread.unit_deviation(one) < 1e-6


def test_normalising_hides_what_deviation_sees() -> None:
    z = 1e-4 * normal(1000, 32)
    assert spread.unit_deviation(z) > 0.9 and spread.deviation(z) < 1e-3


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_the_spectrum_is_that_of_an_svd(shape: tuple[int, int]) -> None:
    z = normal(*shape)
    torch.testing.assert_close(spread.spectrum(z), torch.linalg.svdvals(z.double()), rtol=1e-9, atol=0)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_rankme_of_equal_singular_values_is_their_number(rank: int) -> None:
    z = torch.linalg.qr(normal(50, rank))[0] @ torch.linalg.qr(normal(20, rank, seed=1))[0].T
    assert spread.rankme(z) == pytest.approx(rank, rel=1e-6)


def test_rankme_of_known_shares() -> None:
    z = torch.diag(torch.tensor([3.0, 1.0]))
    assert spread.rankme(z) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert spread.rankme(torch.zeros(4, 3)) == 0


def test_lidar_is_that_of_its_definition() -> None:
    """By the matrices of the paper, W^-1/2 by a root of its own."""
    views = (normal(30, 1, 6) * torch.tensor([5.0, 4.0, 3.0, 1.0, 1.0, 1.0]) + normal(30, 7, 6, seed=1)).double()
    means = views.mean(1)
    centred = means - means.mean(0)
    between = centred.T @ centred / len(means)
    within = torch.stack([torch.cov(v.T, correction=0) for v in views]).mean(0) + 1e-4 * torch.eye(6)
    values, vectors = np.linalg.eigh(within.numpy())
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    shares = np.linalg.eigvalsh(root @ between.numpy() @ root)
    shares = shares / shares.sum()
    assert lidar(views.float()) == pytest.approx(float(np.exp(-(shares * np.log(shares)).sum())), rel=1e-4)


def test_lidar_is_of_the_views_of_one_picture() -> None:
    """Shuffled over pictures, views say less: what tells pictures apart is now within the groups."""
    views = 3 * normal(100, 1, 4).repeat(1, 5, 16) + normal(100, 5, 64, seed=1)
    mixed = views.flatten(0, 1)[torch.randperm(500, generator=torch.Generator().manual_seed(0))].view(100, 5, 64)
    assert lidar(views) < 8 < 30 < lidar(mixed)
    assert lidar(torch.ones(10, 3, 4)) == 0


@pytest.mark.parametrize("dimension", [1, 2, 5])
@pytest.mark.parametrize("estimate", [two_nn, tree_dimension])
def test_dimension_of_a_cube_in_a_larger_space(estimate, dimension: int) -> None:  # type: ignore[no-untyped-def]
    cube = torch.rand(1000, dimension, generator=torch.Generator().manual_seed(0))
    between = distances(cube @ torch.linalg.qr(normal(40, dimension))[0].T)
    assert estimate(between) == pytest.approx(dimension, rel=0.15)


def test_two_nn_is_the_fit_of_its_paper() -> None:
    """-log(1 - F) over log of the ratio, by least squares of numpy."""
    between = distances(normal(200, 3))
    near = np.sort(between.numpy(), axis=1)
    ratio = np.sort(np.log(near[:, 2] / near[:, 1]))[:180]
    height = -np.log(1 - np.arange(200)[:180] / 200)
    assert two_nn(between) == pytest.approx(np.linalg.lstsq(ratio[:, None], height, rcond=None)[0][0])


def test_the_tree_is_the_shortest() -> None:
    between = distances(normal(60, 3)).numpy()
    assert tree_length(between) == pytest.approx(minimum_spanning_tree(between).sum())


def test_dimension_of_what_has_none() -> None:
    assert all(math.isnan(estimate(distances(torch.ones(100, 3)))) for estimate in (two_nn, tree_dimension))


def test_the_other_view_is_found() -> None:
    one = normal(50, 32)
    found = find_other_view(one, one + 0.1 * normal(50, 32, seed=1))
    assert found.percentile.mean() == found.first.mean() == 1
    unlike = find_other_view(one, -one)
    assert unlike.percentile.mean() == 0 and unlike.first.sum() == 0


def test_unrelated_views_are_at_chance() -> None:
    found = find_other_view(normal(400, 32), normal(400, 32, seed=1))
    assert found.percentile.mean().item() == pytest.approx(0.5, abs=0.06)
    assert found.first.mean().item() == pytest.approx(1 / 400, abs=0.005)


def test_a_collapsed_encoder_finds_nothing() -> None:
    one = normal(1, 32) + 1e-7 * normal(100, 32, seed=1)
    found = find_other_view(one, one)
    assert found.percentile.mean().item() == pytest.approx(0.5) and found.first.sum() == 0


def test_places_are_counted_both_ways() -> None:
    """Of three pictures on a circle: by the angles between their views."""
    angles = [torch.tensor(a).deg2rad() for a in ([0.0, 40.0, 90.0], [5.0, 100.0, 85.0])]
    one, other = (torch.stack([a.cos(), a.sin()], 1) for a in angles)
    similar = one @ other.T
    places = [1 + int((row > row[i]).sum()) for matrix in (similar, similar.T) for i, row in enumerate(matrix)]
    assert find_other_view(one, other).percentile.tolist() == pytest.approx([1 - (p - 1) / 2 for p in places])


def test_repeatability_is_the_share_of_variance_between_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    picture, *views = (torch.randn(60, 200, generator=generator) for _ in range(3))
    one, other = (picture + 0.5 * view for view in views)
    a, b = (F.normalize(rows.double(), dim=1) for rows in (one, other))
    far = torch.cdist(a, b).square()
    off = ~torch.eye(60, dtype=torch.bool)
    found = repeatability(one, 7 * other)
    assert found == pytest.approx(1 - (far.diagonal().mean() / far[off].mean()).item(), abs=1e-9)
    assert found == pytest.approx(1 / 1.25, abs=0.02)  # variances 1 between pictures, 0.25 between views
    assert repeatability(one, one) == pytest.approx(1, abs=1e-9)
    assert repeatability(torch.ones(9, 3), torch.ones(9, 3)) == repeatability(torch.zeros(9, 3), torch.zeros(9, 3)) == 0


def test_alignment_and_uniformity_are_those_of_the_authors() -> None:
    """Written as in ssnl/align_uniform."""
    x, y = (F.normalize(normal(30, 8, seed=s), dim=1) for s in (0, 1))
    assert alignment(3 * x, y) == pytest.approx((x - y).norm(p=2, dim=1).pow(2).mean().item(), rel=1e-5)
    assert uniformity(3 * x) == pytest.approx(torch.pdist(x, p=2).pow(2).mul(-2).exp().mean().log().item(), rel=1e-5)
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0)


def test_an_interval_is_that_of_a_mean() -> None:
    rows = normal(400, 1)
    value, low, high = interval(lambda r: r.mean().item(), rows)
    assert value == pytest.approx(rows.mean().item())
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.5)
    assert interval(lambda r: r.mean().item(), rows) == (value, low, high)


@pytest.mark.parametrize(
    "number",
    [
        spread.unit_deviation, spread.rankme, uniformity, lambda z: two_nn(distances(z)),
        lambda z: tree_dimension(distances(z)), lambda z: find_other_view(*z.chunk(2)).percentile.mean().item(),
    ],
)  # fmt: skip
def test_scale_does_not_matter(number) -> None:  # type: ignore[no-untyped-def]
    z = normal(200, 16)
    assert number(4096 * z) == pytest.approx(number(z), rel=1e-9)


@pytest.mark.parametrize("bad", [torch.zeros(0, 3), torch.full((4, 3), math.nan), torch.zeros(4)])
def test_bad_input_is_explained(bad: Tensor) -> None:
    for number in (spread.deviation, spread.rankme, distances, uniformity, lambda x: find_other_view(x, x)):
        with pytest.raises(UserError, match=r"Features"):
            number(bad)


def test_what_is_logged_at_the_end_has_an_interval_over_batches() -> None:
    lines = [{"step": 0, "knn_top1": 0.3}]
    lines += [
        {"step": step, "loss": 1.0, "lr": 0.1, "teacher_entropy": 2 + (-1) ** step / 10} for step in range(1, 101)
    ]
    lines += [{"step": 100, "knn_top1": 0.5}]
    found = at_the_end(lines)
    assert set(found) == {"loss", "teacher_entropy"} and found["loss"] == [1.0, 1.0, 1.0]
    value, low, high = found["teacher_entropy"]
    assert value == pytest.approx(2.0) and 0.02 < high - value < 0.08 and value - low == pytest.approx(high - value)
    assert at_the_end(lines[:4]) == at_the_end([]) == {}  # 0.1 / sqrt(20) * 1.96 = 0.044
