"""The gallery as a 2-D map: dots coloured by class, with pictures where there is room for them."""

from dataclasses import dataclass

import numpy as np

from semblance.report.embedded import Embedded
from semblance.report.thumbnails import BLOCKY

WIDTH, HEIGHT, MARGIN = 1000, 620, 36  # units of the drawing
THUMBNAIL = 40, 72  # the side of a picture on the map, by how large the pictures are
MOST_POINTS = 1000
MOST_THUMBNAILS = 150
FEWEST_FOR_TSNE = 50
# Petroff, "Accessible Color Sequences for Data Visualization" (2021): ten colours told apart in all common
# colour-vision deficiencies. Its greys come last: they are given up where grey has to stand for "any other class".
COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#92dadd", "#717581", "#94a4a2")
GREYS = 2


@dataclass
class Mark:
    """One picture on the map, its centre in units of the drawing; `image` is empty for a plain dot."""

    x: float
    y: float
    name: str
    file: str
    image: str


@dataclass
class Group:
    """The marks of one class, or of all the classes that have no colour of their own."""

    name: str
    colour: str
    marks: list[Mark]

    @property
    def size(self) -> int:
        """How many pictures it holds."""
        return len(self.marks)


@dataclass
class Map:
    """Groups to draw and the method, "t-SNE" or "PCA", that placed them.

    thumbnail: the side of its pictures in units of the drawing; blocky: whether their pixels are shown as squares.
    """

    groups: list[Group]
    method: str
    thumbnail: int
    blocky: bool
    width: int = WIDTH
    height: int = HEIGHT


def project(seen: Embedded) -> Map | None:
    """Place at most 1,000 pictures of the gallery by likeness; None where there is no likeness to show."""
    count = len(seen.features)
    if count < 3 or seen.collapsed:
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(count)[:MOST_POINTS])
    points, method = _embed(seen.features[chosen])
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([WIDTH, HEIGHT]) - 2 * MARGIN
    points = MARGIN + (points - low) / np.maximum(high - low, 1e-12) * room
    thumbnail = min(max(seen.detail, THUMBNAIL[0]), THUMBNAIL[1])
    pictured = _without_overlap(points, thumbnail)
    marks = [
        Mark(x, y, seen.name(index), seen.file(index), seen.address(index) if place in pictured else "")
        for place, (index, (x, y)) in enumerate(zip(chosen.tolist(), points.round(1).tolist(), strict=True))
    ]
    groups = _groups(marks, None if seen.labels is None else seen.labels[chosen])
    return Map(groups, method, thumbnail, seen.detail <= BLOCKY)


def _embed(features: np.ndarray) -> tuple[np.ndarray, str]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    features = features - features.mean(axis=0)
    if len(features) < FEWEST_FOR_TSNE or min(features.shape) < 3:
        flat = PCA(min(2, *features.shape), random_state=0).fit_transform(features)
        return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1]))), "PCA"
    features = PCA(min(50, *features.shape), random_state=0).fit_transform(features)
    # 500 iterations, half of them exaggerated, settle 1,000 points; the default of 1,000 takes twice the time.
    # One thread: on so few points, several mostly wait for each other, and take ten times as long on shared cores.
    with threadpool_limits(1):
        return TSNE(init="pca", max_iter=500, random_state=0).fit_transform(features), "t-SNE"


def _without_overlap(points: np.ndarray, thumbnail: int) -> set[int]:
    """Positions of the points that can carry a thumbnail, taken in order, none covering another."""
    taken: list[int] = []
    for place, point in enumerate(points):
        if len(taken) == MOST_THUMBNAILS:
            break
        if (np.abs(points[taken] - point).max(axis=1) > thumbnail + 2).all():
            taken.append(place)
    return set(taken)


def _groups(marks: list[Mark], labels: np.ndarray | None) -> list[Group]:
    """Marks by class; when there are more classes than colours the commonest are coloured."""
    if labels is None:
        return [Group("", "var(--accent)", marks)]
    found, counts = np.unique(labels, return_counts=True)
    room = len(COLOURS) if len(found) <= len(COLOURS) else len(COLOURS) - GREYS
    coloured = sorted(found[np.argsort(-counts, kind="stable")][:room].tolist())
    groups = []
    for label, colour in zip(coloured, COLOURS, strict=False):
        members = [mark for mark, other in zip(marks, labels, strict=True) if other == label]
        groups.append(Group(members[0].name if label >= 0 else "no label", colour, members))
    if rest := [mark for mark, label in zip(marks, labels, strict=True) if label not in coloured]:
        number = len(found) - len(coloured)
        groups.insert(0, Group(f"{number} other class{'es' if number > 1 else ''}", "var(--muted)", rest))
    return groups
