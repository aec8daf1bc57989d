"""Weighted kNN against its definition, and the properties that follow from it."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from semblance.errors import UserError
from semblance.evaluation.knn import knn, neighbours

CLASSES = 7


def blobs(n: int = 300, m: int = 90, d: int = 16, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Overlapping classes, so that votes are close: train (n, d), labels (n,), test (m, d)."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, d, generator=g)
    labels = torch.randint(CLASSES, (n + m,), generator=g)
    x = centres[labels] + 1.5 * torch.randn(n + m, d, generator=g)
    return x[:n], labels[:n], x[n:]


def naive(train: Tensor, labels: Tensor, test: Tensor, k: int, temperature: float) -> list[int]:
    """The weighted vote as it is written in the paper, in float64, one query after another."""
    predictions = []
    for q in test.double():
        scored = []
        for g, label in zip(train.double(), labels.tolist(), strict=True):
            scored.append((float(q @ g / (q.norm() * g.norm())), label))
        votes = [0.0] * CLASSES
        for s, label in sorted(scored, reverse=True)[:k]:
            votes[label] += math.exp(s / temperature)
        predictions.append(votes.index(max(votes)))
    return predictions


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (5, 0.07), (20, 0.1), (200, 1.0), (300, 0.07)])
def test_equals_the_definition(k: int, temperature: float) -> None:
    train, labels, test = blobs()
    predicted = knn(train, labels, test, classes=CLASSES, k=k, temperature=temperature)
    assert predicted.tolist() == naive(train, labels, test, k, temperature)
    assert predicted.dtype == torch.int64


def test_the_weights_matter() -> None:
    """A near neighbour outvotes two far ones when the temperature is low, and not when it is high."""
    train, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, 1])
    test = torch.tensor([[2.0, 1.0]])
    assert knn(train, labels, test, classes=2, temperature=0.1).tolist() == [0]
    assert knn(train, labels, test, classes=2, temperature=10.0).tolist() == [1]


def test_equals_scikit_learn() -> None:
    train, labels, test = blobs()
    reference = KNeighborsClassifier(15, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.1))
    expected = reference.fit(train.double().numpy(), labels.numpy()).predict(test.double().numpy())
    assert knn(train, labels, test, classes=CLASSES, k=15).tolist() == expected.tolist()


@pytest.mark.parametrize("chunk", [1, 7, 50, 79, 80, 81])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_chunks_change_nothing(chunk: int, exclude_self: bool) -> None:
    train, labels, test = blobs(n=80, m=30)
    query = train if exclude_self else test
    similarity, index = neighbours(query, train, 60, exclude_self=exclude_self)
    in_chunks = neighbours(query, train, 60, exclude_self=exclude_self, chunk=chunk)
    torch.testing.assert_close(in_chunks[0], similarity)
    assert torch.equal(in_chunks[1], index)
    whole = knn(train, labels, test, classes=CLASSES, k=60)
    assert torch.equal(knn(train, labels, test, classes=CLASSES, k=60, chunk=chunk), whole)


def test_neighbours_are_the_sorted_cosines() -> None:
    train, _, test = blobs()
    cosine = torch.cosine_similarity(test.double()[:, None], train.double()[None], dim=2)
    similarity, index = neighbours(test, train, 9, chunk=40)
    assert torch.equal(index, cosine.argsort(1, descending=True)[:, :9])
    torch.testing.assert_close(similarity, cosine.gather(1, index).float())


@pytest.mark.parametrize("chunk", [3, 4096])
def test_excluding_self_leaves_everything_else(chunk: int) -> None:
    train, _, _ = blobs(n=20)
    similarity, index = neighbours(train, train, 1000, exclude_self=True, chunk=chunk)
    others = [sorted(set(range(20)) - {i}) for i in range(20)]
    assert index.sort(1).values.tolist() == others
    assert similarity.isfinite().all()


@pytest.mark.parametrize("only", range(CLASSES))
def test_a_gallery_of_one_class_predicts_it(only: int) -> None:
    train, labels, test = blobs()
    assert (knn(train, torch.full_like(labels, only), test, classes=CLASSES) == only).all()


def test_the_gallery_is_its_own_nearest_neighbour() -> None:
    train, labels, _ = blobs()
    assert torch.equal(knn(train, labels, train, classes=CLASSES, k=1), labels)


def test_k_is_reduced_to_the_gallery() -> None:
    train, labels, test = blobs(n=30)
    few, many = (knn(train, labels, test, classes=CLASSES, k=k) for k in (30, 31_000))
    assert torch.equal(few, many)


def test_lengths_do_not_matter() -> None:
    train, labels, test = blobs()
    lengths = 10 ** torch.empty(len(train), 1).uniform_(-5, 5, generator=torch.Generator().manual_seed(1))
    scaled = knn(train * lengths, labels, test * 1e4, classes=CLASSES)
    assert torch.equal(scaled, knn(train, labels, test, classes=CLASSES))


def test_no_temperature_overflows() -> None:
    """exp(1 / 1e-4) is infinite in float32; with so low a temperature the nearest neighbour decides."""
    train, labels, test = blobs()
    nearest = knn(train, labels, test, classes=CLASSES, k=1)
    assert torch.equal(knn(train, labels, test, classes=CLASSES, temperature=1e-7), nearest)


def test_half_precision_is_left() -> None:
    """Products are of float32 even where the features are not, and under autocast."""
    train, _, test = (x if x.dtype == torch.int64 else x.bfloat16() for x in blobs())
    similarity, _ = neighbours(test.float(), train.float(), 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(neighbours(test, train, 5)[0], similarity)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "2 classes"),
        ({"classes": 3}, "between 0 and 2"),
        ({"train_labels": torch.full((300,), -1)}, "between 0 and 6"),
        ({"train_labels": torch.zeros(299, dtype=torch.int64)}, "300 rows"),
        ({"test": torch.zeros(4, 15)}, "(N, 16)"),
        ({"test": torch.zeros(0, 16)}, "N >= 1"),
        ({"test": torch.full((4, 16), math.nan)}, "NaN"),
        ({"train": torch.full((300, 16), math.inf)}, "infinity"),
        ({"k": 0}, "k >= 1"),
    ],
)
def test_bad_input_is_explained(change: dict, message: str) -> None:
    train, labels, test = blobs()
    with pytest.raises(UserError) as error:
        knn(**{"train": train, "train_labels": labels, "test": test, "classes": CLASSES} | change)
    assert message in str(error.value)


def test_excluding_self_needs_the_gallery_as_query() -> None:
    train, _, test = blobs()
    with pytest.raises(UserError, match="exclude_self"):
        neighbours(test, train, 3, exclude_self=True)
    with pytest.raises(UserError, match="other row"):
        neighbours(train[:1], train[:1], 3, exclude_self=True)
