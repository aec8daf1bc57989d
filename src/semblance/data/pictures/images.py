"""Pictures as square uint8 canvases, decoded once or on demand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar

import torch
from torch import Tensor

from semblance.data.pictures.decode import Cuts, Draw
from semblance.data.samples import Attribute, Skipped, reason
from semblance.errors import UserError
from semblance.shown import as_bytes

T = TypeVar("T")


@dataclass
class Images:
    """A set of N pictures, read in the same way whether they lie in memory or on disk.

    Every picture is stored resized to a square canvas of `canvas` pixels, whatever its aspect; `sizes` keeps the
    original height and width, so that crops are drawn on the true shape (resampling stays separable, each axis only
    being rescaled).

    pixels: uint8 (M, 3, canvas, canvas), or None when pictures are decoded on demand by `decode(item, canvas)`,
        which returns the uint8 (3, canvas, canvas) picture and its (height, width).
    rows: int64 (N,), which of the pixels are each picture's, so that a subset shares them; None for all in order.
    items: what `decode` takes, one per picture (a path, a member of a tar, ...); also the names shown to people.
    sizes: int32 (M, 2) heights and widths, known when `pixels` is.
    cut: cuts crops from an item's own pixels, as decode.cut_file does; None where the canvases are those.
    exact: whether the canvases are the pictures as they are, as far as a sample of sizes tells.
    attributes: what the pictures are labelled by; "class" where each has one label.
    grey_levels: the value that is white in deep grey whose files do not say it; None where there is no such.
    skipped: the files that turned out unreadable so far. Each keeps its place, so that the order of samples does not
        depend on whether a set fits in memory: the next readable picture stands in, for training only.
    """

    name: str
    canvas: int
    items: Sequence[Any]
    pixels: Tensor | None = None
    sizes: Tensor | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    decode: Callable[[Any, int], tuple[Tensor, tuple[int, int]]] | None = None
    cut: Callable[[Any, Draw], list[Tensor]] | None = None
    exact: bool = True
    grey_levels: int | None = None
    skipped: Skipped = field(default_factory=list)
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def at_hand(self) -> bool:
        """Whether the pictures lie in memory."""
        return self.pixels is not None

    def read(self, index: Sequence[int] | Tensor, key: int | None = None) -> tuple[Tensor, Tensor]:
        """Pictures of the given indices: uint8 (n, 3, canvas, canvas) and int32 sizes (n, 2); key is unused."""
        index = torch.as_tensor(index)
        if self.pixels is not None and self.sizes is not None:
            rows = index if self.rows is None else self.rows[index]
            return self.pixels[rows], self.sizes[rows]
        decode, canvas = self.decode, self.canvas
        assert decode is not None
        read = [self.or_next(i, lambda item: decode(item, canvas)) for i in index.tolist()]
        pictures, sizes = zip(*read, strict=True)
        return torch.stack(pictures), torch.tensor(sizes, dtype=torch.int32)

    def look(self, i: int, side: int) -> Tensor:
        """The whole of picture i from its own file, resized to a square: uint8 (3, side, side); only where `cut` is.
        Raises OSError or ValueError where the file is gone."""
        assert self.cut is not None
        return self.cut(self.items[i], partial(_whole, side))[0][0]

    @property
    def readable(self) -> Tensor:
        """Indices of the pictures that have not been found unreadable so far: int64 (n,)."""
        names = {name for name, _ in self.skipped}
        return torch.tensor([i for i, item in enumerate(self.items) if not names or str(item) not in names])

    def fingerprint(self) -> str:
        """A hash of the names in order and of some pictures, to tell whether state stored by index belongs to them."""
        digest = blake2b(digest_size=8)
        digest.update(self.read(range(0, len(self), -(-len(self) // 16)))[0].numpy().tobytes())
        for item in self.items:
            digest.update(as_bytes(str(item)) + b"\0")
        return digest.hexdigest()

    def or_next(self, i: int, read: Callable[[Any], T]) -> T:
        """What is read of picture i; where its file is unreadable, which is noted, the next readable one stands in."""
        for step in range(len(self)):
            item = self.items[(i + step) % len(self)]
            try:
                return read(item)
            except UserError:  # of the whole set
                raise
            except (OSError, ValueError) as error:
                if (why := (str(item), reason(error))) not in self.skipped:
                    self.skipped.append(why)
        told = ": ".join(self.skipped[-1])
        raise UserError(f"None of the {len(self)} pictures of {self.name} can be read; {told}.")

    def subset(self, index: Sequence[int] | Tensor) -> "Images":
        """The pictures of the given indices as a set of their own."""
        index = torch.as_tensor(index)
        chosen = {name: Attribute(a.values[index], a.classes) for name, a in self.attributes.items()}
        items = [self.items[i] for i in index.tolist()]
        return replace(self, items=items, rows=index if self.rows is None else self.rows[index], attributes=chosen)


def _whole(side: int, height: int, width: int) -> list[Cuts]:
    return [Cuts(torch.tensor([[0, 0, height, width]]), side, bicubic=True)]
