"""All that is said of embeddings without labels, by name."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from semblance.evaluation.label_free.dimension import distances, tree_dimension, two_nn
from semblance.evaluation.label_free.interval import interval
from semblance.evaluation.label_free.lidar import lidar
from semblance.evaluation.label_free.spread import deviation, rankme, spectrum, unit_deviation
from semblance.evaluation.label_free.two_views import alignment, find_other_view, repeatability, uniformity

SHOWN = 64  # of the spectrum


def where_found(pairs: Tensor) -> dict[str, list[float]]:
    """Of features of two views of each sample (N, 2, D): `view_percentile` and `view_first`, each with its interval."""
    found = find_other_view(pairs[:, 0], pairs[:, 1])
    names = {"view_percentile": found.percentile, "view_first": found.first}
    ends = {name: interval(_mean, both.view(2, -1).T) for name, both in names.items()}
    return {name: [min(1.0, max(0.0, end)) for end in three] for name, three in ends.items()}  # shares


def numbers(pairs: Tensor, many: Tensor | None = None) -> dict[str, Any]:
    """The same, and how the features spread, each as [value, low, high], but for what so few rows do not give;
    "spectrum" are the shares of the first singular values. pairs: float (N, 2, D), N >= 4. many: (n, V, D) of more
    views of each, for `lidar`."""
    one, other = pairs[:, 0], pairs[:, 1]
    between = distances(one)
    rows = torch.arange(len(between))

    def of_distances(dimension: Callable[[Tensor], float]) -> list[float]:
        return list(interval(lambda index: dimension(between[index][:, index]), rows))

    found: dict[str, Any] = where_found(pairs) | {
        "unit_deviation": list(interval(unit_deviation, one)),
        "deviation": list(interval(deviation, one)),
        "rankme": list(interval(rankme, one)),
        "alignment": list(interval(alignment, one, other)),
        "repeatability": list(interval(repeatability, one, other)),
        "uniformity": list(interval(uniformity, one)),
        "two_nn": of_distances(two_nn),
        "tree_dimension": of_distances(tree_dimension),
    }
    if many is not None:
        found["lidar"] = list(interval(lidar, many))
    found = {name: ends for name, ends in found.items() if all(map(math.isfinite, ends))}
    values = spectrum(one)
    return found | {"spectrum": (values / values.sum().clamp(min=1e-300))[:SHOWN].tolist(), "samples": len(pairs)}


def points(pairs: Tensor) -> dict[str, float]:
    """The values alone, for the curves; but what is of more views."""
    one, other = pairs[:, 0], pairs[:, 1]
    found, between = find_other_view(one, other), distances(one)
    values = {
        "view_percentile": _mean(found.percentile), "view_first": _mean(found.first),
        "unit_deviation": unit_deviation(one), "deviation": deviation(one), "rankme": rankme(one),
        "alignment": alignment(one, other), "repeatability": repeatability(one, other), "uniformity": uniformity(one),
        "two_nn": two_nn(between), "tree_dimension": tree_dimension(between),
    }  # fmt: skip
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _mean(values: Tensor) -> float:
    return values.mean().item()
