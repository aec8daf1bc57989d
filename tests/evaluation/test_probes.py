"""semblance.knn and semblance.linear_probe on arrays and tensors from anywhere."""

import numpy as np
import pytest
import torch

import semblance as sb
from semblance.errors import UserError

DRAW = np.random.default_rng(0)
LABELS = np.arange(60) % 3
FEATURES = DRAW.normal(size=(60, 4)) + 3 * np.eye(4)[LABELS]
PARTS = (FEATURES[:40], LABELS[:40], FEATURES[40:], LABELS[40:])


def by_hand(train, train_labels, test, test_labels, k: int, temperature: float) -> float:
    right = 0
    for row, label in zip(test, test_labels, strict=True):
        cosine = train @ row / np.linalg.norm(train, axis=1) / np.linalg.norm(row)
        nearest = np.argsort(-cosine)[:k]
        votes = [np.exp(cosine[nearest][train_labels[nearest] == c] / temperature).sum() for c in range(3)]
        right += np.argmax(votes) == label
    return right / len(test)


@pytest.mark.parametrize("k, temperature", [(1, 0.1), (7, 0.07), (40, 0.5)])
def test_knn_is_the_vote_of_the_nearest(k: int, temperature: float) -> None:
    assert sb.knn(*PARTS, k=k, temperature=temperature) == pytest.approx(by_hand(*PARTS, k, temperature))
    assert 1 / 3 < sb.knn(*PARTS, k=k, temperature=temperature) <= 1


def test_a_tenth_votes_by_default() -> None:
    assert sb.knn(*PARTS) == sb.knn(*PARTS, k=4)


@pytest.mark.parametrize("measure", [sb.knn, lambda *parts: sb.linear_probe(*parts).top1])
def test_arrays_and_tensors_of_any_kind_are_the_same(measure) -> None:
    expected = measure(*(torch.tensor(part) for part in PARTS))
    train, train_labels, test, test_labels = PARTS
    assert measure(*PARTS) == measure(*(part.tolist() for part in PARTS)) == expected
    assert measure(train[::-1], train_labels[::-1].astype(np.uint8), test, test_labels) == pytest.approx(
        expected, abs=0.1
    )
    assert measure(torch.tensor(train, requires_grad=True), train_labels, test, test_labels) == expected
    assert measure(train, train_labels + 10**9, test, test_labels + 10**9) == expected


def test_linear_probe_says_what_it_chose() -> None:
    probe = sb.linear_probe(*PARTS)
    assert probe.top1 > 0.7 and probe.mean_per_class > 0.7 and probe.lr > 0 and 0 <= probe.validation_top1 <= 1
    assert sb.linear_probe(*PARTS, lrs=[1.0], weight_decays=np.array([0.5])).weight_decay == 0.5


@pytest.mark.parametrize("measure", [sb.knn, sb.linear_probe])
@pytest.mark.parametrize(
    "place, given, told",
    [
        (0, FEATURES[:40, None], r"train: Features must be \(N, D\)"),
        (0, FEATURES[0], r"train: Features must be \(N, D\)"),
        (0, FEATURES[:0], r"train: Features must be \(N, D\)"),
        (2, FEATURES[40:, :3], r"test: Features must be \(N, 4\)"),
        (0, np.where(FEATURES[:40] > 3, np.nan, 0.0), "train: Features contain NaN"),
        (2, np.full((20, 4), np.inf), "test: Features contain NaN or infinity"),
        (0, FEATURES[:40] + 1j, "train: features are real numbers"),
        (0, "features.npy", "train: an array or tensor of numbers is wanted"),
        (1, LABELS[:39], "train_labels: 40 rows of features need as many labels"),
        (3, LABELS, "test_labels: 20 rows of features need as many labels"),
        (1, LABELS[:40] - 1, "train_labels: labels count from 0, and the least here is -1"),
        (1, LABELS[:40] / 2, "train_labels: labels are whole numbers, not float64"),
        (1, np.array(["cat", "dog"] * 20), "train_labels: .*numpy.unique"),
    ],
)
def test_what_cannot_be_measured_is_told(measure, place: int, given, told: str) -> None:
    parts = [given if i == place else part for i, part in enumerate(PARTS)]
    with pytest.raises(UserError, match=told):
        measure(*parts)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lr": 0.1}, "Unknown setting 'lr'. Did you mean 'lrs'"), ({"batch_size": 0}, "batch_size: a whole number"),
        ({"epochs": 2.5}, "epochs: a whole number"), ({"epochs": 0}, "epochs: a whole number"),
        ({"lrs": []}, "lrs: one finite number"), ({"weight_decays": [-1.0]}, "weight_decays: one finite number"),
        ({"lrs": 0.1}, "lrs: one finite number"), ({"lrs": [np.inf]}, "lrs: one finite number"),
    ],
)  # fmt: skip
def test_settings_of_the_probe_are_told(settings, told: str) -> None:
    with pytest.raises(UserError, match=told):
        sb.linear_probe(*PARTS, **settings)


def test_settings_and_classes_are_held_to_their_range() -> None:
    assert sb.knn(*PARTS, k=np.int64(4)) == sb.knn(*PARTS, k=4)
    for settings in ({"k": 0}, {"k": 2.5}, {"temperature": 0}):
        with pytest.raises(UserError, match=f"{next(iter(settings))}: a"):
            sb.knn(*PARTS, **settings)
    with pytest.raises(UserError, match="two classes or more are wanted, and all are 2"):
        sb.knn(PARTS[0], np.full(40, 2), PARTS[2], np.full(20, 2))
