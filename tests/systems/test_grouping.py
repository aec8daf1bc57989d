"""Groups of a whole set: the authors' results, and what holds for any data."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from semblance.errors import UserError
from semblance.systems import grouping
from semblance.systems.grouping import (
    balanced_labels,
    count_used,
    kmeans,
    mean_entropy,
    nearest,
    same_group,
    spherical_kmeans,
    whiten,
)  # fmt: skip


def blobs(noise, centres: int = 4, each: int = 50) -> torch.Tensor:
    return torch.cat([0.1 * noise(each, 5, seed=i) + 3 * noise(1, 5, seed=100 + i) for i in range(centres)])


@pytest.fixture(params=[2**24, 16], ids=["one-block", "many-blocks"])
def block(request, monkeypatch) -> None:
    monkeypatch.setattr(grouping, "SCORES_AT_ONCE", request.param)


@pytest.mark.parametrize(
    ("sharpness", "labels"),
    [(10, "0133401432102012343012340043240243214401"), (25, "0133421432102012343012340013240243214401")],
)
def test_balanced_labels_are_the_authors(wave, block, sharpness, labels):
    """yukimasano/self-label: sinkhornknopp.py, optimize_L_sk run in float64 on the softmax of the same numbers."""
    found = balanced_labels(3 * wave(40, 6, 0.2), partial(F.linear, weight=wave(5, 6, 0.7)), sharpness, 0.1)
    assert "".join(map(str, found.tolist())) == labels


def test_balanced_labels_are_balanced_whatever_the_bias_of_a_class(noise):
    x, weight = noise(400, 6), noise(8, 6, seed=1)
    plain, biased = (
        balanced_labels(x, partial(F.linear, weight=weight, bias=bias), 10, 1e-3)
        for bias in (None, torch.tensor([3.0, -1, 0, 0, 0, 0, 0, 2]))
    )
    assert plain.bincount(minlength=8).tolist() == pytest.approx([50] * 8, abs=3)
    assert (plain == biased).float().mean() > 0.98
    alone = nearest(x, weight, torch.tensor([3.0, -1, 0, 0, 0, 0, 0, 2]))
    assert alone.bincount().max() > 80


def test_spherical_kmeans_is_the_authors(wave, block, monkeypatch):
    """facebookresearch/swav: main_deepclusterv2.py, cluster_memory run on the same numbers from the first five rows."""
    monkeypatch.setattr(grouping.random, "permutation", lambda key, n: torch.arange(n))
    centroids, labels = spherical_kmeans(wave(40, 6, 0.2), 5, 10, key=0)
    assert "".join(map(str, labels.tolist())) == "0123400123403113413013340012340212341301"
    sums = (centroids * torch.arange(1, 7)).sum(1).tolist()
    expected = [-7.060982794464117, 0.724607398617063, -0.5671518605501156, 4.481951624859358, -0.6590512520971911]
    assert sums == pytest.approx(expected, abs=1e-10)


def test_spherical_kmeans_gets_no_worse_and_an_empty_cluster_keeps_its_centroid(noise):
    x = F.normalize(noise(300, 8), dim=1)
    similarity = [(x @ spherical_kmeans(x, 7, i, key=3)[0].T).amax(1).sum() for i in range(6)]
    assert all(b >= a - 1e-4 for a, b in zip(similarity, similarity[1:], strict=False))
    same = F.normalize(noise(1, 8), dim=1).repeat(20, 1)
    centroids, labels = spherical_kmeans(same, 3, 5, key=0)
    torch.testing.assert_close(centroids, same[:3])
    assert len(labels.unique()) == 1


@pytest.mark.parametrize(
    ("iterations", "labels", "sums"),
    [
        (1, "0123400123403013433013340012340012341301",
         [-2.5691953524947166, 0.12322983145713806, -1.2357059344649315, 1.7542885914444923, 0.8690545316785574]),
        (3, "0123400123403113413013340012340312341311",
         [-4.643971726298332, 0.3997659385204315, -1.2357059344649315, 2.5758899077773094, -0.4721180647611618]),
    ],
)  # fmt: skip
def test_kmeans_is_the_authors(wave, block, monkeypatch, iterations, labels, sums):
    """faiss.Clustering with the settings of facebookresearch/deepcluster: clustering.py, run_kmeans, in float32, from
    the first five rows; sums of the centroids by their dimensions' numbers."""
    monkeypatch.setattr(grouping.random, "permutation", lambda key, n: torch.arange(n))
    x = wave(40, 6, 0.2)
    found = kmeans(x, 5, iterations, key=0)
    assert "".join(map(str, found.tolist())) == labels
    before = kmeans(x, 5, iterations - 1, key=0)
    centroids = torch.stack([x[before == c].mean(0) for c in range(5)])
    assert (centroids * torch.arange(1, 7)).sum(1).tolist() == pytest.approx(sums, abs=1e-5)


def test_kmeans_finds_blobs_and_fills_every_cluster(noise, block):
    """With more clusters than blobs none stays empty: the largest are split."""
    x = blobs(noise)
    for k in (4, 9):
        labels = kmeans(x, k, 20, key=1)
        assert labels.bincount(minlength=k).min() > 0
    owners = [set(labels[i * 50 : i * 50 + 50].tolist()) for i in range(4)]
    assert sum(map(len, owners)) == len(set().union(*owners)) == 9  # no cluster reaches over two blobs


def test_whitened_rows_are_uncorrelated_and_of_unit_length(noise):
    x = noise(2000, 10).double() @ noise(10, 10, seed=1).double()
    w = whiten(x, 4)
    torch.testing.assert_close(w.norm(dim=1), torch.ones(2000, dtype=torch.float64))
    correlation = torch.corrcoef(w.T)
    assert (correlation - torch.eye(4)).abs().max() < 0.1
    torch.testing.assert_close(whiten(5 * x + 3, 4), w)


def test_whitening_is_the_authors(wave, block):
    """clustering.py, preprocess_features with faiss.PCAMatrix in float32: products of rows, since the sign of a
    component is nobody's choice."""
    scale = torch.tensor([3.0, 1, 0.5, 2, 1, 0.3, 0.7, 1]).double()
    w = whiten(wave(60, 8, 0.2) * scale + torch.arange(8), 2)
    products = w @ w.T
    first = [-0.027109744027256966, 0.5258494019508362, -0.3408358097076416, -0.9980746507644653, 0.5682903528213501]
    assert products[0, 1:6].tolist() == pytest.approx(first, abs=2e-5)
    assert products.square().sum().item() == pytest.approx(1800.970458984375, rel=1e-5)


@pytest.mark.parametrize("block", [1, 2**24])
def test_rows_in_half_precision_are_grouped_as_the_numbers_they_are(noise, block, monkeypatch):
    monkeypatch.setattr(grouping, "SCORES_AT_ONCE", block)
    x, centroids = noise(60, 8).bfloat16(), noise(5, 8, seed=1)
    torch.testing.assert_close(whiten(x, 4), whiten(x.float(), 4), rtol=0, atol=0)
    assert whiten(x, 4).dtype == torch.float32
    assert torch.equal(nearest(x, centroids), nearest(x.float(), centroids))


def test_before_the_length_is_taken_out_whitened_rows_have_unit_covariance(noise, monkeypatch):
    monkeypatch.setattr(grouping.F, "normalize", lambda x, dim: x)
    w = whiten(noise(500, 10).double() @ noise(10, 10, seed=1).double(), 4)
    torch.testing.assert_close(torch.cov(w.T, correction=0), torch.eye(4).double(), rtol=0, atol=1e-12)


def test_repeated_unit_vectors_are_a_fixed_point_of_spherical_kmeans(wave, monkeypatch):
    monkeypatch.setattr(grouping.random, "permutation", lambda key, n: torch.arange(n))
    once = wave(4, 6, 0.4)
    centroids, labels = spherical_kmeans(once.repeat(5, 1), 4, 10, key=0)
    torch.testing.assert_close(centroids, once)
    assert labels.tolist() == list(range(4)) * 5


def test_sharp_transport_is_the_best_balanced_assignment(noise):
    """Labels of the largest total log-probability among all that give every group as many rows."""
    x, weight = noise(24, 6).double(), noise(4, 6, seed=1).double()
    labels = balanced_labels(x, partial(F.linear, weight=weight), 40, 1e-6)
    costs = -F.linear(x, weight).log_softmax(1)
    rows, places = linear_sum_assignment(costs.repeat_interleave(6, 1).numpy())  # six places in each group
    assert labels.tolist() == (torch.tensor(places)[torch.tensor(rows).argsort()] // 6).tolist()


def test_transport_ignores_what_a_row_or_a_group_has_in_common(noise):
    x, weight = noise(60, 6).double(), noise(5, 6, seed=1).double()
    plain = balanced_labels(x, partial(F.linear, weight=weight), 10, 1e-8)
    for shift in (torch.arange(5.0), torch.full((5,), 3.0)):
        assert torch.equal(balanced_labels(x, partial(F.linear, weight=weight, bias=shift.double()), 10, 1e-8), plain)


def test_more_clusters_than_pictures_is_told(noise):
    with pytest.raises(UserError, match="--hyper.clusters"):
        kmeans(noise(10, 3), 11, 2, key=0)


def test_an_empty_cluster_takes_half_of_the_largest_on_its_other_side():
    """faiss: Clustering.cpp, split_clusters, whose EPS is 1/1024; it draws the one to split, here the largest."""
    centroids, counts = torch.tensor([[1.0, 2], [4, 8], [0, 0]]), torch.tensor([3, 9, 0])
    grouping._split_largest(centroids, counts)
    shift = torch.tensor([1 / 1024, -1 / 1024])
    expected = torch.tensor([4.0, 8])
    torch.testing.assert_close(centroids[1:], torch.stack([expected * (1 - shift), expected * (1 + shift)]))
    assert counts.tolist() == [3, 5, 4]


def test_what_is_told_of_groups() -> None:
    assert count_used(torch.tensor([3, 3, 0]), 5).item() == 2
    uniform, sure = torch.full((2, 4), 0.25), torch.eye(4)[:2]
    assert mean_entropy(uniform).item() == pytest.approx(math.log(4)) and mean_entropy(sure).item() == 0
    assert mean_entropy(torch.cat([uniform, sure])).item() == pytest.approx(math.log(4) / 2)
    assert same_group(sure, torch.eye(4)[[0, 3]]).item() == 0.5
