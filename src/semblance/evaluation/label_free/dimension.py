"""Intrinsic dimension: of how many directions a neighbourhood of features consists."""

import math

import numpy as np
import torch
from torch import Tensor

from semblance.evaluation.knn import check_features

SIZES = (1 / 8, 1 / 4, 1 / 2, 1)  # of the trees, as shares of the rows
KEPT = 0.9  # of the ratios of two_nn: the largest are of the border


def distances(z: Tensor) -> Tensor:
    """Euclidean distances between different rows of (N, D): float64 (n, n)."""
    check_features(z)
    z = z.double().unique(dim=0)
    return torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")


def two_nn(between: Tensor) -> float:
    """By the ratio of distances to the second and the first neighbour (Facco et al. 2017, TwoNN); nan below 10 rows.

    between: `distances`, (n, n). The slope through 0 of -log(1 - F) over the ratio's log, without the largest tenth.
    """
    if len(between) < 10:
        return math.nan
    near = between.topk(3, largest=False).values
    ratio = (near[:, 2] / near[:, 1]).log().sort().values
    share = torch.arange(len(ratio), dtype=torch.float64) / len(ratio)
    kept = slice(round(KEPT * len(ratio)))
    x, y = ratio.cpu()[kept], -(1 - share[kept]).log()
    return (x @ y / (x @ x)).item() if x.any() else math.nan


def tree_dimension(between: Tensor, seed: int = 0) -> float:
    """By the growth of the minimum spanning tree's length with the number of rows, n^(1 - 1/d) (Mordacq et al. 2026,
    IdEst); nan below 16 rows, inf where it grows as fast as they do.

    between: `distances`, (n, n). The lengths are those of trees over an eighth, a quarter, half and all of the rows, of
    eight, four, two draws and one.
    """
    n = len(between)
    if n < 16:
        return math.nan
    generator = torch.Generator().manual_seed(seed)
    matrix, sizes, lengths = between.cpu().numpy(), [], []
    for share in SIZES:
        size = round(share * n)
        draws = [torch.randperm(n, generator=generator)[:size].numpy() for _ in range(round(1 / share))]
        sizes.append(size)
        lengths.append(np.mean([tree_length(matrix[np.ix_(rows, rows)]) for rows in draws]))
    slope = np.polyfit(np.log(sizes), np.log(lengths), 1)[0]
    return float(1 / (1 - slope)) if slope < 1 else math.inf


def tree_length(between: np.ndarray) -> float:
    """The length of the minimum spanning tree: single linkage joins groups along its edges."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    return float(linkage(squareform(between, checks=False), "single")[:, 2].sum())
