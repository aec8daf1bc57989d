"""Grouping a whole training set: whitening, k-means, optimal transport; in blocks, so memory grows with the set alone.

Each rank holds all rows and works on its share of them; all end with the same groups and labels.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.errors import UserError
from semblance.runtime import random
from semblance.runtime.ranks import gather, own_rows, total, world

SCORES_AT_ONCE = 2**24  # scores (rows times groups) held at once
HELD = 2**27  # at most so many scores of a rank's rows are kept over the iterations of a transport
Track = Callable[[Sequence[Any]], Iterable[Any]]  # shows the progress of a loop


@torch.no_grad()
def whiten(x: Tensor, components: int, track: Track = iter) -> Tensor:
    """The first principal components, each of unit variance, in rows of unit length: (N, D) -> (N, components).

    x may be in half precision, the result is in float32 or better (facebookresearch/deepcluster: clustering.py,
    preprocess_features).
    """
    exact, dim = torch.promote_types(x.dtype, torch.float32), x.shape[1]
    mean = x.mean(0, dtype=exact)
    products = x.new_zeros(dim, dim, dtype=torch.float64)
    for rows in track(_blocks(x[own_rows(len(x))], dim)):
        centred = (rows.to(exact) - mean).double()
        products += centred.T @ centred
    variances, directions = torch.linalg.eigh(total(products) / len(x))
    scale = variances.clamp(min=variances[-1] * 1e-7).rsqrt()  # directions without variance hold only rounding errors
    varies = variances[-1] > 1e-12 * mean.double().square().sum()
    scale = torch.where(varies, scale, 0)  # rows that are all alike become 0
    chosen = (directions * scale)[:, -components:].flip(1).to(exact)
    white = x.new_empty(len(x), chosen.shape[1], dtype=exact)
    for rows, out in zip(_blocks(x, dim), _blocks(white, dim), strict=True):
        out.copy_(F.normalize(rows.to(exact) @ chosen - mean @ chosen, dim=1))
    return white


def kmeans(x: Tensor, k: int, iterations: int, key: int | Tensor, track: Track = iter) -> Tensor:
    """Euclidean k-means from k random rows: (N, D) -> labels (N,). Empty clusters take half of the largest ones, as in
    faiss (facebookresearch/deepcluster: clustering.py, run_kmeans).

    key: draws the rows; or their numbers, int64 (k,).
    """
    centroids = _random_rows(x, k, key)
    for _ in track(range(iterations)):
        labels = nearest(x, centroids, -centroids.square().sum(1) / 2)
        sums, counts = _totals(x, labels, k)
        centroids = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centroids)
        _split_largest(centroids, counts)
    return nearest(x, centroids, -centroids.square().sum(1) / 2)


def spherical_kmeans(
    x: Tensor, k: int, iterations: int, key: int | Tensor, track: Track = iter
) -> tuple[Tensor, Tensor]:
    """k-means by cosine of unit rows (N, D), from k random rows: unit centroids (k, D) and labels (N,).

    An empty cluster keeps its centroid (facebookresearch/swav: main_deepclusterv2.py, cluster_memory). key: as in
    `kmeans`.
    """
    centroids = _random_rows(x, k, key)
    for _ in track(range(iterations)):
        sums, counts = _totals(x, nearest(x, centroids), k)
        centroids = torch.where(counts[:, None] > 0, F.normalize(sums, dim=1), centroids)
    return centroids, nearest(x, centroids)


def balanced_labels(
    x: Tensor, head: Callable[[Tensor], Tensor], sharpness: float, tolerance: float = 0.1, track: Track = iter
) -> Tensor:
    """Labels (N,) that spread rows (N, D) equally over K groups: optimal transport by Sinkhorn and Knopp.

    head: logits (n, K) of some rows; P is their softmax. Factors r of groups and c of rows make Q = r P^sharpness c sum
    to 1/K per group and 1/N per row; a row's label is its largest entry. Stops once the sum of |c / c_new - 1|, checked
    every 10 iterations, is below the tolerance, or after 1,000 (Asano et al. 2020; yukimasano/self-label:
    sinkhornknopp.py, optimize_L_sk).

    In float64. Every 10 iterations r is moved into a log, so that nothing over- or underflows. P^sharpness is kept if
    it is small, else recomputed, block by block, in every iteration.
    """
    own = x[own_rows(len(x))]
    k = head(own[:1]).shape[1]

    def log_q(rows: Tensor) -> Tensor:
        """Logs of r P^sharpness: (n, K)."""
        return head(rows).double().log_softmax(1) * sharpness + log_r

    def kernels() -> Iterator[Tensor]:
        """r P^sharpness block by block, each row divided by its largest entry, which c makes up for."""
        for rows in _blocks(own, k):
            q = log_q(rows)
            yield (q - q.amax(1, keepdim=True)).exp_()

    log_r = torch.zeros(k, dtype=torch.float64, device=x.device)
    totals = torch.stack([log_q(rows).logsumexp(0) for rows in _blocks(own, k)])  # with all c equal
    log_r, r = -gather(totals.logsumexp(0)[None], world()[1]).logsumexp(0), torch.ones_like(log_r)
    c = torch.ones(len(own), dtype=torch.float64, device=x.device)
    for i in track(range(1000)):
        if i < 2 or i % 10 == 1:
            log_r, r = log_r + r.log(), torch.ones_like(r)
            held = list(kernels()) if len(own) * k <= HELD else None
        last, parts, sums = c, [], torch.zeros_like(r)
        for q in held or kernels():
            parts.append(1 / (q @ r))
            sums += parts[-1] @ q
        c = torch.cat(parts)
        if i and i % 10 == 0 and total((last / c - 1).abs().sum()) < tolerance:
            break
        r = len(x) / k / total(sums).clamp(min=1e-300)
    labels = [(log_q(rows) + r.log()).argmax(1) for rows in _blocks(own, k)]
    return gather(torch.cat(labels), len(x))


def nearest(x: Tensor, centroids: Tensor, offset: Tensor | float = 0.0) -> Tensor:
    """The group whose centroid has the largest dot product with each row, plus an offset (K,): (N, D), (K, D) -> (N,).

    Computed in the dtype of the centroids; rows may have another.
    """
    own = x[own_rows(len(x))]
    labels = [(rows.to(centroids.dtype) @ centroids.T + offset).argmax(1) for rows in _blocks(own, len(centroids))]
    return gather(torch.cat(labels), len(x))


def group_sizes(labels: Tensor, groups: int) -> Tensor:
    """How many of the labels (N,) name each group: int64 (groups,); unlike bincount, does not wait for a GPU."""
    return labels.new_zeros(groups).index_add_(0, labels, torch.ones_like(labels))


def count_used(labels: Tensor, groups: int) -> Tensor:
    """How many of the groups the labels (N,) name."""
    return (group_sizes(labels, groups) > 0).sum()


def mean_entropy(shares: Tensor) -> Tensor:
    """Of rows of probabilities (N, K), in [0, ln K]: 0 where each is sure, ln K where none tells anything apart."""
    return torch.special.entr(shares).sum(1).mean()


def same_group(one: Tensor, other: Tensor) -> Tensor:
    """The share of rows whose largest is the same: scores or probabilities (N, K), (N, K) -> [0, 1]."""
    return (one.argmax(1) == other.argmax(1)).to(one.dtype).mean()


def _blocks(x: Tensor, k: int) -> Sequence[Tensor]:
    return x.split(max(1, SCORES_AT_ONCE // k))


def _random_rows(x: Tensor, k: int, key: int | Tensor) -> Tensor:
    if isinstance(key, Tensor):
        return x[key.to(x.device)]
    if k > len(x):
        few = max(2, len(x) // 10)
        raise UserError(f"{len(x):,} pictures cannot make {k:,} clusters. Try --hyper.clusters {few}.")
    return x[random.permutation(key, len(x))[:k].to(x.device)]


def _totals(x: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Sum and number of the rows of each group: (k, D), (k,)."""
    own = own_rows(len(x))
    sums = x.new_zeros(k, x.shape[1]).index_add_(0, labels[own], x[own])
    return total(sums), group_sizes(labels, k)


def _split_largest(centroids: Tensor, counts: Tensor, shift: float = 1 / 1024) -> None:
    """Each empty cluster takes half of the largest: both get its centroid, moved a little to opposite sides."""
    for empty in (counts == 0).nonzero()[:, 0].tolist():
        largest = int(counts.argmax())
        sides = torch.ones_like(centroids[0])
        sides[1::2] = -1
        centroids[empty] = centroids[largest] * (1 + shift * sides)
        centroids[largest] *= 1 - shift * sides
        counts[empty] = counts[largest] // 2
        counts[largest] -= counts[empty]
