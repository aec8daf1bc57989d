"""The scale of values that have more than 8 bits: cameras and microscopes put 10, 12 or 14 bits into 16."""

import re
from collections.abc import Iterable
from math import isfinite

import numpy as np
from PIL import Image

LADDER = (255, 1023, 4095, 16383, 65535)  # the largest values of 8 to 16 bits
_MAX_SAMPLE_VALUE, _S_MAX_SAMPLE_VALUE, _BITS_PER_SAMPLE = 281, 341, 258  # tags of TIFF


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey with more than 8 bits, or of floats."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def scale(low: float, high: float, *, floats: bool) -> int | None:
    """The largest value of the smallest usual scale that holds values; None where none does."""
    steps = (1, *LADDER) if floats else LADDER
    return next((top for top in steps if high <= top), None) if low >= 0 else None  # none for NaN


def common_scale(extents: Iterable[tuple[float, float, bool]]) -> int | None:
    """The largest value of the scale that holds all files, by (smallest value, largest value, whether floats) of each;
    those that no scale holds do not count. None where none is left."""
    scales = [scale(low, high, floats=floats) for low, high, floats in extents]
    return max((top for top in scales if top), default=None)


def outside(low: float, high: float, top: float, *, floats: bool) -> str:
    """Why values do not lie on the scale from 0 to top; "" where they do."""
    if not (isfinite(low) and isfinite(high)):
        return "values that are not finite numbers"
    if not (low >= 0 and high <= top):
        return f"values from {low:g} to {high:g}, outside 0 to {top:g}: their scale is unknown"
    if floats and 0 < high <= 1 < top:
        return f"values from {low:g} to {high:g}, where others of the set go to {top:g}: their scale is unknown"
    return ""


def extent(pieces: Iterable[np.ndarray]) -> tuple[float, float]:
    """The smallest and the largest value; NaN where there is one."""
    ends = [(piece.min(), piece.max()) for piece in pieces]
    return float(np.min([low for low, _ in ends])), float(np.max([high for _, high in ends]))


def declared(image: Image.Image, data: bytes, high: float, pieces: Iterable[np.ndarray]) -> int | None:
    """The largest value by the file's own word: what its bits can hold, or what it says they do. None where it is
    silent, as 16 bits are, which hold any less. Pillow scales JPEG 2000 and PGM of less to 16 bits itself.

    high: the largest value in it. pieces: its values.
    """
    if image.format in ("JPEG2000", "PPM"):
        return None if image.mode == "F" or _fills_16_bits(image, data) else 65535
    if image.format == "PNG" and (bits := _significant_bits(data)) and 8 <= bits < 16:
        # As PNG has it, values fill 16 bits and repeat their first bits in the last; many leave them as they are.
        spare = (1 << (16 - bits)) - 1
        plain = high < 1 << bits and any((piece & spare).any() for piece in pieces)
        return (1 << bits) - 1 if plain else 65535
    if image.format == "TIFF" and image.mode != "F":
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
        said = tags.get(_S_MAX_SAMPLE_VALUE, tags.get(_MAX_SAMPLE_VALUE))
        said = said[0] if isinstance(said, tuple) else said
        if bits < 16:
            return (1 << bits) - 1
        if isinstance(said, (int, float)) and 0 < high <= said:
            return scale(0, said, floats=False)
    return None


def _fills_16_bits(image: Image.Image, data: bytes) -> bool:
    """Whether a PGM or a JPEG 2000 file has 16 bits by its head."""
    if image.format == "JPEG2000":
        size = data.find(b"\xff\x4f\xff\x51")  # the start of a codestream; 42 bytes on are the bits, less one
        return data[size + 42 : size + 43] == b"\x0f"
    head = re.match(rb"P[25](?:(?:\s|#[^\n]*\n)+(\d+)){3}", data)
    return head is not None and int(head[1]) == 65535


def _significant_bits(data: bytes) -> int | None:
    """What the sBIT chunk of a PNG says, of colours the most."""
    at = 8
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"sBIT" and 1 <= length <= 4:  # of grey or red, green and blue, then of alpha
            return max(data[at + 8 : at + 8 + (3 if length > 2 else 1)])
        if kind in (b"IDAT", b"IEND"):
            return None
        at += 12 + length
    return None
