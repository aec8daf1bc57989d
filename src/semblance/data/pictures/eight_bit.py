"""Pictures of any kind made grey or RGB with 8 bits, a tile at a time, so that what that takes is a tile's."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from semblance.data.pictures.grey_levels import LADDER, declared, extent, is_deep, outside, scale
from semblance.data.pictures.opened import Remark, unheard

BY_ITS_OWN = "Grey of more than 8 bits, unlike the files looked at, is scaled by each picture's own values"
_TILE = 1 << 20  # pixels

Box = tuple[int, int, int, int]  # left, upper, right, lower


def eight_bit(image: Image.Image, top: float | None, data: bytes, remark: Remark = unheard) -> "EightBit":
    """A loaded picture as it will be when it is made. top: the largest value of deep grey, where the file does not say
    its own; where neither is known, that of the smallest usual scale that holds the picture, which is remarked.

    Raises ValueError for deep grey beyond it.
    """
    if not is_deep(image):
        return EightBit(image, 0)
    low, high, said = deep_grey(image, data)
    if not said and not top:
        remark(BY_ITS_OWN)
    floats = image.mode == "F"
    top = said or top or scale(low, high, floats=floats) or (1 if floats else LADDER[-1])
    if problem := outside(low, high, top, floats=floats):
        raise ValueError(problem)
    return EightBit(image, top)


def deep_grey(image: Image.Image, data: bytes) -> tuple[float, float, int | None]:
    """The smallest and the largest value of loaded deep grey, and the largest that its file says there can be."""
    low, high = extent(_pieces(image))
    return low, high, declared(image, data, high, _pieces(image))


class EightBit:
    """A loaded picture in mode L or RGB, alpha composited on white, deep grey scaled from 0 to `top`."""

    def __init__(self, image: Image.Image, top: float) -> None:
        self.image, self.top = image, top

    def made(self, factors: tuple[int, int] = (1, 1)) -> Image.Image:
        """The whole of it, each `factors` (across, down) pixels averaged to one."""
        if factors == (1, 1) and (self.image.width * self.image.height <= _TILE or self.image.mode in ("L", "RGB")):
            return self._converted(self.image)
        across, down = factors
        made = None
        for left, top, right, bottom in _tiles(self.image, across, down):
            part = self._converted(self.image.crop((left, top, right, bottom)))
            part = part if factors == (1, 1) else part.reduce(factors)
            if made is None:
                made = Image.new(part.mode, (-(-self.image.width // across), -(-self.image.height // down)))
            made.paste(part, (left // across, top // down))
        assert made is not None
        return made

    def _converted(self, image: Image.Image) -> Image.Image:
        if self.top:
            return Image.fromarray((np.asarray(image) * (255 / self.top)).round().astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        if image.mode == "1":
            return image.convert("L")
        return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _pieces(image: Image.Image) -> Iterator[np.ndarray]:
    """The values of a picture, some at a time."""
    return (np.asarray(image.crop(tile)) for tile in _tiles(image, 1, 1))


def _tiles(image: Image.Image, across: int, down: int) -> Iterator[Box]:
    """Boxes that cover a picture, of about _TILE pixels, that begin at multiples of (across, down)."""
    columns = -(-min(image.width, _TILE) // across) * across
    rows = -(-max(1, _TILE // columns) // down) * down
    for top in range(0, image.height, rows):
        for left in range(0, image.width, columns):
            yield left, top, min(left + columns, image.width), min(top + rows, image.height)
