"""Arrays as pictures: (N, H, W, C) uint8, whatever their layout and type of number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semblance.data.pictures.grey_levels import LADDER, extent, outside, scale
from semblance.data.sources.npy import NpyFile
from semblance.data.sources.npz import NpzArray
from semblance.errors import UserError
from semblance.shown import shown

_MOST = 100_000_000  # pictures of a set
_PIXELS = 178_956_970  # of a picture, as Pillow has it
_AT_ONCE = 1 << 20  # values
_LOOKED_AT = 200  # rows of an array on disk


def as_array(tensor: Tensor) -> np.ndarray | None:
    """A tensor as an array; bfloat16, which NumPy does not know, as float32. None of a sparse one and the like."""
    try:
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(force=True)
    except (RuntimeError, TypeError):
        return None


@dataclass(frozen=True)
class ArrayPictures:
    """array: (N, H, W), (N, H, W, 1 | 3 | 4) or (N, 1 | 3, H, W). channels_first: the last. top: the value that is
    white, 255 for uint8."""

    array: np.ndarray | NpyFile | NpzArray
    name: str
    channels_first: bool = False
    top: int = 255

    @classmethod
    def of(cls, array: np.ndarray | NpyFile | NpzArray, name: Path | str) -> "ArrayPictures":
        """A UserError that says what to give where the array is no pictures."""
        shape = array.shape
        if array.dtype.kind not in "uifb" or array.dtype == np.longdouble:
            raise UserError(f"{shown(name)} holds {array.dtype} values, which are no pictures; give uint8, 0 to 255.")
        if len(shape) == 3 and shape[-1] in (3, 4):
            raise UserError(f"{shown(name)} has shape {shape}, one picture; give many, (N, H, W, {shape[-1]}).")
        first = len(shape) == 4 and shape[-1] not in (1, 3, 4) and shape[1] in (1, 3)
        if not (len(shape) == 3 or first or len(shape) == 4 and shape[-1] in (1, 3, 4)) or 0 in shape:
            raise UserError(
                f"{shown(name)} has shape {shape}; give pictures as (N, H, W), (N, H, W, 1 | 3 | 4) or "
                "(N, 1 | 3, H, W)."
            )
        found = cls(array, str(name), first)
        if len(array) > _MOST or found.size[0] * found.size[1] > _PIXELS:
            raise UserError(
                f"{shown(name)} has shape {shape}: at most {_MOST:,} pictures of {_PIXELS:,} pixels are read."
            )
        return found

    def held(self) -> "ArrayPictures":
        """The same, in memory if they come out of an archive, which is read in order only."""
        return replace(self, array=self.array.whole()) if isinstance(self.array, NpzArray) else self

    def __len__(self) -> int:
        return len(self.array)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.array.shape[2:4] if self.channels_first else self.array.shape[1:3]
        return height, width

    @property
    def channels(self) -> int:
        return 1 if len(self.array.shape) == 3 else self.array.shape[1 if self.channels_first else 3]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """uint8 (n, H, W, C). Raises ValueError for values that are not on the scale."""
        found = self._rows(rows)
        if found.dtype == np.uint8:
            return found
        if problem := outside(*extent([found]), self.top, floats=False):
            raise ValueError(problem)
        return (found * (255 / self.top)).round().astype(np.uint8)

    def blocks(self) -> Iterator[slice]:
        """All rows, some at a time."""
        height, width = self.size
        step = max(1, _AT_ONCE // (height * width * self.channels))
        return (slice(start, min(start + step, len(self))) for start in range(0, len(self), step))

    def _rows(self, rows: slice) -> np.ndarray:
        found = np.asarray(self.array[rows])
        if found.ndim == 3:
            return found[..., None]
        return np.moveaxis(found, 1, -1) if self.channels_first else found

    def extent(self, *, whole: bool) -> tuple[float, float]:
        """The smallest and the largest value: of all rows, or of rows spread over the array."""
        step = -(-len(self) // _LOOKED_AT)
        rows = self.blocks() if whole else (slice(i, i + 1) for i in range(0, len(self), step))
        return extent(self._rows(some) for some in rows)


def on_one_scale(
    parts: Sequence[ArrayPictures], grey_levels: int | None, *, whole: bool
) -> tuple[list[ArrayPictures], int | None, list[str]]:
    """The parts of a set with the value that is white in all of them, that value where it had to be found or was
    given, and a note that tells it. whole: look at all rows. A UserError where their scale cannot be told."""
    deep = [part for part in parts if part.array.dtype != np.uint8]  # uint8 has its own
    if not deep:
        return list(parts), None, []
    name, kinds = deep[0].name, [part.array.dtype for part in deep]
    if grey_levels is None:
        ends = [part.extent(whole=whole) for part in deep]
        low, high = extent([np.array(ends)])
        floats = any(kind.kind in "fb" for kind in kinds)
        grey_levels = scale(low, high, floats=floats)
        if grey_levels is None:
            raise UserError(f"{shown(name)} holds {kinds[0]} values from {low:g} to {high:g}. {_advice(low, high)}")
        if problem := next((told for end in ends if (told := outside(*end, grey_levels, floats=floats))), ""):
            raise UserError(f"A part of {shown(name)} holds {problem}. Give all parts on one scale, or as uint8.")
    told = (
        f"{shown(name)} holds {kinds[0]} values, which are scaled from 0 to {grey_levels:,}; --grey-levels overrules."
    )
    return [replace(part, top=grey_levels) for part in parts], grey_levels, [told]


def _advice(low: float, high: float) -> str:
    """How to make uint8 of values that no scale holds."""
    if not np.isfinite([low, high]).all():
        return "Replace what is not finite, then give uint8, 0 to 255."
    if low >= -1 and high <= 1:
        return "Give uint8, 0 to 255: ((x + 1) * 127.5).round().astype('uint8')."
    # A float, since what is left of narrow numbers may not hold the difference.
    told = f"((x.astype('float64') - {low:g}) * {255 / (high - low):g}).round().astype('uint8')" if high > low else ""
    beyond = f"beyond {LADDER[-1]:,}" if low >= 0 else "below 0"
    return f"Values {beyond} have no usual scale: give uint8, 0 to 255, e.g. {told}."
