"""Groups of a whole set: the authors' results, and what holds for any data."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from semblance.errors import UserError
from semblance.systems import grouping
from semblance.systems.grouping import balanced_labels, kmeans, nearest, spherical_kmeans, whiten


def blobs(noise, centres: int = 4, each: int = 50) -> torch.Tensor:
    return torch.cat([0.1 * noise(each, 5, seed=i) + 3 * noise(1, 5, seed=100 + i) for i in range(centres)])


@pytest.fixture(params=[2**24, 16], ids=["one-block", "many-blocks"])
def block(request, monkeypatch) -> None:
    monkeypatch.setattr(grouping, "BLOCK", request.param)


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


def test_more_clusters_than_pictures_is_told(noise):
    with pytest.raises(UserError, match="--hyper.clusters"):
        kmeans(noise(10, 3), 11, 2, key=0)
