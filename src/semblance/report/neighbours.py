"""Which pictures the encoder finds alike."""

from dataclasses import dataclass

import numpy as np
import torch

from semblance.evaluation.knn import neighbours
from semblance.report.embedded import Embedded
from semblance.report.thumbnails import BLOCKY

QUERIES = 12
NEIGHBOURS = 8


@dataclass
class Neighbour:
    """A picture beside a query: `verdict` is "same", "other" or, without both labels, empty."""

    image: str
    name: str
    file: str
    similarity: float
    verdict: str


@dataclass
class Search:
    """Rows of a query followed by its neighbours; `agreement` is over all pictures, not the rows alone.

    blocky: whether the pictures are so small that pixels are shown as squares.
    """

    rows: list[tuple[Neighbour, list[Neighbour]]]
    agreement: float | None
    count: int
    blocky: bool


def search(seen: Embedded) -> Search | None:
    """The nearest pictures by cosine of a dozen queries; None where there is nothing to compare with."""
    count = len(seen.features)
    if count < 2:
        return None
    features = torch.from_numpy(seen.features)
    similarity, nearest = (t.numpy() for t in neighbours(features, features, NEIGHBOURS, exclude_self=True))

    def shown(index: int, similarity: float = 1.0, query: int | None = None) -> Neighbour:
        verdict = ""
        if seen.labels is not None and query is not None and min(seen.labels[[query, index]]) >= 0:
            verdict = "same" if seen.labels[query] == seen.labels[index] else "other"
        return Neighbour(seen.address(index), seen.name(index), seen.file(index), float(similarity), verdict)

    rows = [
        (shown(q), [shown(n, s, q) for n, s in zip(nearest[q], similarity[q], strict=True)])
        for q in _queries(seen.labels, count)
    ]
    return Search(rows, _agreement(seen.labels, nearest), count, seen.detail <= BLOCKY)


def _agreement(labels: np.ndarray | None, nearest: np.ndarray) -> float | None:
    """Share of neighbours with their picture's label, where both have one; None where none do."""
    if labels is None:
        return None
    known = (labels[nearest] >= 0) & (labels >= 0)[:, None]
    return float((labels[nearest] == labels[:, None])[known].mean()) if known.any() else None


def _queries(labels: np.ndarray | None, count: int) -> list[int]:
    """Indices spread evenly over the classes, or over the gallery without labels; the same on every call."""
    if labels is None:
        return sorted(set(np.linspace(0, count - 1, min(QUERIES, count)).astype(int).tolist()))
    rank = np.empty(count, dtype=int)  # of each picture within its class
    for label in np.unique(labels):
        members = labels == label
        rank[members] = np.arange(members.sum())
    first = np.lexsort((labels, rank))[: max(QUERIES, len(np.unique(labels)))]
    chosen = first[np.linspace(0, len(first) - 1, min(QUERIES, len(first))).astype(int)]
    return sorted(chosen.tolist(), key=lambda index: (labels[index], index))
