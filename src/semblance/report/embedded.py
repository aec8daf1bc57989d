"""The gallery as arrays, and its pictures as the page shows them."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from semblance.report.gallery import Gallery, file_name
from semblance.report.thumbnails import address

LARGEST = 256  # pixels of the longer side of a picture, at most
PICTURES = 260  # on the map and among the neighbours together, at most
SAMPLED = 12  # pictures that tell how large all are


@dataclass
class Embedded:
    """A gallery as numpy arrays, rows with non-finite features left out and features scaled to unit length.

    kept: which rows of the gallery these are. room: bytes that the page has for pictures of it, all together.
    """

    gallery: Gallery
    kept: np.ndarray
    pictures: np.ndarray
    features: np.ndarray
    labels: np.ndarray | None
    warnings: list[str]
    room: int

    @classmethod
    def of(cls, gallery: Gallery, room: int = 2_600_000) -> "Embedded":
        """The gallery, with `warnings` of what is wrong with its features."""
        features = gallery.features.detach().float().cpu().numpy()
        good = np.isfinite(features).all(axis=1)
        features = features[good]
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        labels = gallery.labels.cpu().numpy()[good] if gallery.labels is not None else None
        warnings = []
        if not good.all():
            warnings.append(f"{(~good).sum():,} of {len(good):,} gallery pictures have features that are not finite.")
        pictures = gallery.pictures.cpu().numpy()[good]
        embedded = cls(gallery, good.nonzero()[0], pictures, features, labels, warnings, room)
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
        label, classes = -1 if self.labels is None else int(self.labels[index]), self.gallery.classes
        if label < 0:
            return ""
        return classes[label] if label < len(classes) else str(label)

    def file(self, index: int) -> str:
        """The name of a picture's file; of a row without one its number."""
        row = int(self.kept[index])
        return file_name(self.gallery.names[row] if len(self.gallery.names) else row)

    def address(self, index: int) -> str:
        """A picture for the page, as large as its file and the page allow."""
        return address(*self._look(index, self._side))

    @cached_property
    def detail(self) -> int:
        """Pixels of the longer side that most pictures have to show."""
        return int(np.median([max(picture.shape) for picture, _, _ in self._some]))

    @cached_property
    def _side(self) -> int:
        """At most so many pixels of each picture, that those of the page together take no more than their room."""
        mean = float(np.mean([len(address(*look)) for look in self._some]))
        return int(min(LARGEST, self.detail) * min(1.0, (self.room / PICTURES / mean) ** 0.5))

    @cached_property
    def _some(self) -> list[tuple[np.ndarray, int, tuple[int, int]]]:
        return [self._look(index, LARGEST) for index in range(0, len(self.kept), -(-len(self.kept) // SAMPLED))]

    def _look(self, index: int, side: int) -> tuple[np.ndarray, int, tuple[int, int]]:
        """What `address` takes: a picture, a side that it is shrunk to, and the shape that it has."""
        row, picture, look = int(self.kept[index]), self.pictures[index], self.gallery.look
        shape = picture.shape[1:] if self.gallery.sizes is None else self.gallery.sizes[row].tolist()
        if look is not None and max(shape) > picture.shape[1]:
            with suppress(OSError, ValueError):  # a file may have gone since
                picture = look(row, min(side, max(shape))).numpy()
        return picture, side, (shape[0], shape[1])
