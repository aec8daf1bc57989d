"""Weighted nearest neighbours by cosine: what features tell without any training."""

import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.errors import UserError

CHUNK = 4096


def check_features(features: Tensor, width: int | None = None) -> None:
    """Raise UserError unless features are finite (N, D) with N >= 1 and, where given, D = width."""
    if features.ndim != 2 or not features.numel() or width not in (None, features.shape[1]):
        raise UserError(f"Features must be (N, {width or 'D'}) with N >= 1, got {tuple(features.shape)}.")
    if not torch.stack(torch.aminmax(features)).isfinite().all():  # extremes propagate NaN, and need no copy
        raise UserError(
            "Features contain NaN or infinity: the network that made them has diverged, or overflows in half precision."
        )


def check_labels(labels: Tensor, features: Tensor, classes: int) -> None:
    """Raise UserError unless there is a label in [0, classes) for each row of the features."""
    if classes < 2:
        raise UserError(f"Evaluation needs at least 2 classes, got {classes}. Use data with more labelled classes.")
    if labels.shape != features.shape[:1]:
        raise UserError(f"{len(features)} rows of features need as many labels, got {tuple(labels.shape)}.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise UserError(f"Labels must lie between 0 and {classes - 1}, got {low} to {high}.")


@torch.no_grad()
def knn(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    *,
    classes: int,
    k: int = 200,
    temperature: float = 0.1,
    chunk: int = CHUNK,
) -> Tensor:
    """Class of each test row by the weighted vote of its k nearest training rows: (N, D), (N,), (M, D) -> int64 (M,).

    A neighbour of cosine similarity s votes with weight exp(s / temperature); k is reduced to N where it is larger.
    Computed in float32. Beyond the result, memory is O(chunk * (chunk + k + D + classes)). 0.1 is the authors'
    temperature for CIFAR-10, 0.07 the one for ImageNet (Wu et al. 2018; zhirongw/lemniscate.pytorch: test.py).
    Raises UserError for unusable input.
    """
    check_features(train)
    check_labels(train_labels, train, classes)
    check_features(test, train.shape[1])
    predictions = []
    for query in test.split(chunk):
        near = neighbours(query, train, k, chunk=chunk)
        predictions.append(_elected(*near, train_labels, classes, temperature))
    return torch.cat(predictions)


@torch.no_grad()
def leave_one_out(features: Tensor, labels: Tensor, *, classes: int, k: int, temperature: float = 0.1) -> Tensor:
    """Class of each row by the vote of its k nearest other rows, as in `knn`: (N, D), (N,) -> int64 (N,). It says how
    good features are while held-out labels stay unseen."""
    check_features(features)
    check_labels(labels, features, classes)
    return _elected(*neighbours(features, features, k, exclude_self=True), labels, classes, temperature)


def _elected(similarity: Tensor, index: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    # Relative to the nearest, so that nothing overflows; the winner is the same.
    weight = ((similarity - similarity[:, :1]) / temperature).exp()
    labels = labels.to(index.device, torch.int64)
    return weight.new_zeros(len(index), classes).scatter_add_(1, labels[index], weight).argmax(1)


@torch.no_grad()
def neighbours(
    query: Tensor, gallery: Tensor, k: int, *, exclude_self: bool = False, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """The k most similar gallery rows of each query by cosine, best first; k is reduced to what the gallery has.

    (M, D), (N, D) -> similarity float32 (M, k) in [-1, 1] and index int64 (M, k). With `exclude_self` query i is
    gallery row i and is not its own neighbour. A row of zeros has similarity 0 with everything; the order among equal
    similarities is arbitrary. Beyond the result, memory is O(chunk * (chunk + k + D)), whatever M and N.
    Raises UserError where there is no neighbour.
    """
    k = min(k, len(gallery) - exclude_self)
    if k < 1:
        raise UserError("Neighbours need k >= 1 and a gallery with at least one other row.")
    if exclude_self and len(query) != len(gallery):
        raise UserError(f"exclude_self needs the gallery as the query, got {len(query)} and {len(gallery)} rows.")
    similarity = torch.empty(len(query), k, device=query.device)
    index = torch.empty(len(query), k, dtype=torch.int64, device=query.device)
    for row in range(0, len(query), chunk):
        q = _unit(query[row : row + chunk])
        best, where = q.new_empty(len(q), 0), index.new_empty(len(q), 0)
        for column in range(0, len(gallery), chunk):
            g = _unit(gallery[column : column + chunk])
            with torch.autocast(q.device.type, enabled=False):
                s = q @ g.T
            if exclude_self and row == column:
                s.fill_diagonal_(-torch.inf)
            s, i = s.topk(min(k, len(g)))
            best, order = torch.cat([best, s], 1).topk(min(k, best.shape[1] + s.shape[1]))
            where = torch.cat([where, i + column], 1).gather(1, order)
        similarity[row : row + chunk], index[row : row + chunk] = best, where
    return similarity, index


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=1)
