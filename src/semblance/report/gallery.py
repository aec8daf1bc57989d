"""The pictures of a report with their features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from semblance.data.samples import Samples

Look = Callable[[int, int], Tensor]


@dataclass
class Gallery:
    """Pictures, held-out ones if there are any, with features by the trained backbone; a few thousand at most.

    pictures: uint8 (N, 3, S, S). features: float (N, D). labels: int64 (N,) or None.
    classes: the name of each label; a label without one is shown as its number, one below 0 not at all.
    names: of files, or the number of a row that has none. sizes: int (N, 2), heights and widths before the pictures
    were put on square canvases. look: of an index and a side the picture from its own file, where that is larger:
    uint8 (3, side, side).
    """

    pictures: Tensor
    features: Tensor
    labels: Tensor | None = None
    classes: list[str] = field(default_factory=list)
    names: Sequence[Any] = ()
    sizes: Tensor | None = None
    look: Look | None = None

    @classmethod
    def of(
        cls, samples: Samples, pictures: Tensor, features: Tensor, sizes: Tensor, look: Look | None = None
    ) -> "Gallery":
        """Pictures of samples, with the first of the labels that these have."""
        label = next(iter(samples.attributes.values()), None)
        values, classes = (None, []) if label is None else (label.values, label.classes)
        return cls(pictures, features, values, classes, samples.items, sizes, look)


def file_name(item: Any) -> str:
    """Of a sample its file's name; of a row of an array, or of a set that has no files, its number."""
    return f"no. {item}" if isinstance(item, int) else str(item)
