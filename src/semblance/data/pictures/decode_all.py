"""Decoding a whole set of pictures into one tensor."""

from bisect import bisect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from semblance.data.decode_in_threads import decode_in_threads
from semblance.data.samples import Skipped, reason

Decoded = tuple[Tensor, tuple[int, int]]

_STRETCH = 16  # pictures per task: for small ones handing over a task takes as long as decoding


def decode_all(
    title: str, items: Sequence[Any], decode: Callable[[Any, int], Decoded], canvas: int, workers: int
) -> tuple[Tensor, Tensor, Skipped]:
    """Decode every item in threads, showing progress on a terminal.

    Returns uint8 pixels (n, 3, canvas, canvas), int32 sizes (n, 2), and (name, reason) of each item that could not be
    read. Where one could not, the next readable one stands in, as in `Images.read`.
    """
    pixels = torch.empty((len(items), 3, canvas, canvas), dtype=torch.uint8)

    def place(i: int) -> tuple[int, int]:
        pixels[i], size = decode(items[i], canvas)
        return size

    sizes = torch.zeros(len(items), 2, dtype=torch.int32)
    readable: list[int] = []
    skipped: dict[int, tuple[str, str]] = {}
    for i, size in enumerate(decode_in_threads(title, len(items), place, workers, _STRETCH)):
        if isinstance(size, Exception):
            skipped[i] = (str(items[i]), reason(size))
        else:
            sizes[i] = torch.tensor(size)
            readable.append(i)
    for i in skipped if readable else ():
        stand_in = readable[bisect(readable, i) % len(readable)]
        pixels[i], sizes[i] = pixels[stand_in], sizes[stand_in]
    return pixels, sizes, list(skipped.values())
