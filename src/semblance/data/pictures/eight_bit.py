"""Pictures of any kind made grey or RGB with 8 bits, a tile at a time, so that what that takes is a tile's."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from PIL import Image

from semblance.data.pictures.deep_colour import is_deep_colour, joined, largest, other_half
from semblance.data.pictures.grey_levels import LADDER, declared, extent, is_deep, outside, scale
from semblance.data.pictures.opened import Remark, unheard

BY_ITS_OWN = "Of more than 8 bits, unlike the files looked at, and scaled by each picture's own values"
FIRST_BITS = "Colour of 16 bits a channel of which the first 8 are taken, since its layout is not known"
_TILE = 1 << 20  # pixels

Box = tuple[int, int, int, int]  # left, upper, right, lower


def eight_bit(image: Image.Image, top: float | None, data: bytes, remark: Remark = unheard) -> "EightBit":
    """A loaded picture as it will be when it is made. top: the largest of deep values, where the file does not say
    its own; where neither is known, that of the smallest usual scale that holds the picture, which is remarked.

    Raises ValueError for deep values beyond it.
    """
    if not has_deep_values(image, data):
        return EightBit(image, 0)
    deep = DeepValues(image, data)
    if deep.unknown:
        remark(FIRST_BITS)
        return EightBit(image, 0)
    if not deep.said and not top:
        remark(BY_ITS_OWN)
    floats = image.mode == "F"
    top = deep.said or top or scale(deep.low, deep.high, floats=floats) or (1 if floats else LADDER[-1])
    if problem := outside(deep.low, deep.high, top, floats=floats):
        raise ValueError(problem)
    if is_deep(image):
        return EightBit(image, top)
    return EightBit(image, 0) if top == LADDER[-1] else EightBit(image, top, deep.last)


def has_deep_values(image: Image.Image, data: bytes) -> bool:
    """Whether a picture has values of more than 8 bits that have to be scaled."""
    return is_deep(image) or is_deep_colour(image, data)


class DeepValues:
    """low, high: the smallest and the largest value of a loaded picture of more than 8 bits, without its alpha. said:
    the largest that its file says there can be. last: of colour the last 8 bits, where they matter. unknown: whether
    these would matter and cannot be told."""

    def __init__(self, image: Image.Image, data: bytes) -> None:
        self.image, self.said, self.last, self.unknown = image, None, None, False
        if not is_deep(image):
            self.low, self.high = 0.0, float(largest(image))
            if scale(self.low, self.high, floats=False) == LADDER[-1]:
                return
            self.last = other_half(data)
            if self.last is None:
                self.unknown = True
                return
        self.low, self.high = extent(self._pieces())
        self.said = declared(image, data, self.high, self._pieces())

    def _pieces(self) -> Iterator[np.ndarray]:
        """The values, some at a time."""
        for tile in _tiles(self.image, 1, 1):
            part = self.image.crop(tile)
            yield joined(part, self.last.crop(tile))[..., :3] if self.last else np.asarray(part)


class EightBit:
    """A loaded picture in mode L or RGB, alpha composited on white, deep values scaled from 0 to `top`; of colour
    `last` has the last 8 bits."""

    def __init__(self, image: Image.Image, top: float, last: Image.Image | None = None) -> None:
        self.image, self.top, self.last = image, top, last

    def made(self, factors: tuple[int, int] = (1, 1)) -> Image.Image:
        """The whole of it, each `factors` (across, down) pixels averaged to one."""
        plain = self.image.mode in ("L", "RGB") and self.last is None
        if factors == (1, 1) and (self.image.width * self.image.height <= _TILE or plain):
            return self._converted(self.image, self.last)
        across, down = factors
        made = None
        for left, top, right, bottom in _tiles(self.image, across, down):
            box = (left, top, right, bottom)
            part = self._converted(self.image.crop(box), self.last and self.last.crop(box))
            part = part if factors == (1, 1) else part.reduce(factors)
            if made is None:
                made = Image.new(part.mode, (-(-self.image.width // across), -(-self.image.height // down)))
            made.paste(part, (left // across, top // down))
        assert made is not None
        return made

    def _converted(self, image: Image.Image, last: Image.Image | None) -> Image.Image:
        if last is not None:
            tops = np.array([self.top] * 3 + ([self._alpha_top] if image.mode == "RGBA" else []))
            image = Image.fromarray((joined(image, last) * (255 / tops)).round().astype(np.uint8))
        elif self.top:
            return Image.fromarray((np.asarray(image) * (255 / self.top)).round().astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        if image.mode == "1":
            return image.convert("L")
        return image if image.mode in ("L", "RGB") else image.convert("RGB")

    @cached_property
    def _alpha_top(self) -> float:
        """Opaque: as colours have it, or all 16 bits, which is what many write beside 10 or 12 bits of colour."""
        end = self.image.getchannel("A").getextrema()[1]
        return self.top if isinstance(end, (int, float)) and end * 256 <= self.top else LADDER[-1]


def _tiles(image: Image.Image, across: int, down: int) -> Iterator[Box]:
    """Boxes that cover a picture, of about _TILE pixels, that begin at multiples of (across, down)."""
    columns = -(-min(image.width, _TILE) // across) * across
    rows = -(-max(1, _TILE // columns) // down) * down
    for top in range(0, image.height, rows):
        for left in range(0, image.width, columns):
            yield left, top, min(left + columns, image.width), min(top + rows, image.height)
