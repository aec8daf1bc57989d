"""Which pictures the encoder finds alike."""

from dataclasses import dataclass

import numpy as np
import torch

from semblance.evaluation.knn import neighbours
from semblance.report.contact_sheets import address
from semblance.report.gallery import Gallery

QUERIES = 12
NEIGHBOURS = 8


@dataclass
class Embedded:
    """A gallery as numpy arrays, rows with non-finite features left out and features scaled to unit length."""

    pictures: np.ndarray
    features: np.ndarray
    labels: np.ndarray | None
    classes: list[str]
    warnings: list[str]

    @classmethod
    def of(cls, gallery: Gallery) -> "Embedded":
        """The gallery, with `warnings` of what is wrong with its features."""
        features = gallery.features.detach().float().cpu().numpy()
        good = np.isfinite(features).all(axis=1)
        features = features[good]
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        labels = gallery.labels.cpu().numpy()[good] if gallery.labels is not None else None
        warnings = []
        if not good.all():
            warnings.append(f"{(~good).sum():,} of {len(good):,} gallery pictures have features that are not finite.")
        embedded = cls(gallery.pictures.cpu().numpy()[good], features, labels, gallery.classes, warnings)
        if len(features) > 1 and embedded.collapsed:
            warnings.append(
                "The encoder has collapsed: it gives every gallery picture the same direction, so the neighbours below "
                "are arbitrary and no map is drawn."
            )
        return embedded

    @property
    def collapsed(self) -> bool:
        """Whether all features point the same way, up to rounding."""
        return bool(np.linalg.norm(self.features.std(axis=0)) < 1e-4)

    def name(self, index: int) -> str:
        """The class name of a picture; empty without a label."""
        label = -1 if self.labels is None else int(self.labels[index])
        if label < 0:
            return ""
        return self.classes[label] if label < len(self.classes) else str(label)


@dataclass
class Neighbour:
    """A picture beside a query: `verdict` is "same", "other" or, without both labels, empty."""

    image: str
    name: str
    similarity: float
    verdict: str


@dataclass
class Search:
    """Rows of a query followed by its neighbours; `agreement` is over all pictures, not the rows alone."""

    rows: list[tuple[Neighbour, list[Neighbour]]]
    agreement: float | None
    count: int


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
        return Neighbour(address(seen.pictures[index], 80), seen.name(index), float(similarity), verdict)

    rows = [
        (shown(q), [shown(n, s, q) for n, s in zip(nearest[q], similarity[q], strict=True)])
        for q in _queries(seen.labels, count)
    ]
    return Search(rows, _agreement(seen.labels, nearest), count)


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
