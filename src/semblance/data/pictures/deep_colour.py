"""Colour of 16 bits a channel, in PNG and TIFF: of each Pillow keeps the first 8, which 10-bit data leave nearly 0."""

import io
import sys
from typing import Any

import numpy as np
from PIL import Image

from semblance.data.pictures.formats import FORMATS

_BITS_PER_SAMPLE = 258  # a tag of TIFF
# How Pillow names the layout that it decodes, and the one that yields the other 8 bits.
_OTHER_HALF = {
    f"{mode}{order}": f"{mode}{other}"
    for mode in ("RGB;16", "RGBX;16", "RGBA;16")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
_GREY_WITH_ALPHA = "LA;16B"  # which Pillow makes RGBA


def is_deep_colour(image: Image.Image, data: bytes) -> bool:
    """Whether a picture, opened or loaded, has 16 bits a channel and more channels than one."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    if image.format == "PNG":
        return data[24:25] == b"\x10"
    return image.format == "TIFF" and set(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())) == {16}


def largest(image: Image.Image) -> int:
    """The largest value of 16 bits that the colours of a loaded picture may have, by their first 8."""
    ends = [image.getchannel(band).getextrema()[1] for band in range(3)]
    return max(int(end) for end in ends if isinstance(end, (int, float))) * 256 + 255


def other_half(data: bytes) -> Image.Image | None:
    """The last 8 bits of each channel, in the mode of the picture; None where Pillow cannot tell them."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        layouts = {_layout(tile.args) for tile in image.tile}
        if layouts == {_GREY_WITH_ALPHA}:
            image.tile = [tile._replace(args="RGBA") for tile in image.tile]
            image.load()
            _, grey, _, alpha = image.split()
            return Image.merge("RGBA", (grey, grey, grey, alpha))
        if not layouts or not layouts <= set(_OTHER_HALF):
            return None
        for i, tile in enumerate(image.tile):
            other = _OTHER_HALF[_layout(tile.args)]
            image.tile[i] = tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
        image.load()
        return image


def _layout(arguments: tuple[Any, ...] | str | None) -> str:
    return arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else ""


def joined(first: Image.Image, last: Image.Image) -> np.ndarray:
    """The values of both halves: uint16 (H, W, 3 | 4)."""
    return np.asarray(first).astype(np.uint16) << 8 | np.asarray(last)
