"""Decoding a whole set into one tensor, and whether there is memory for it."""

import os
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from semblance.data.images import Skipped, reason
from semblance.errors import UserError

Decoded = tuple[Tensor, tuple[int, int]]
T = TypeVar("T")

_STRETCH = 16  # pictures per task: for small ones handing over a task takes as long as decoding


@dataclass(frozen=True)
class Limits:
    """bytes: what a set may take in memory. workers: decoding threads."""

    bytes: int
    workers: int

    @classmethod
    def of_machine(cls, fraction: float, workers: int | None) -> "Limits":
        """The fraction of the memory now available, 8 GiB at most, and a thread for each processor."""
        return cls(int(min(8 << 30, fraction * _available())), workers or os.cpu_count() or 1)


def too_large(path: Path | str, needed: int, limits: Limits, remedy: str) -> UserError:
    gib = 1 << 30
    return UserError(
        f"{path} needs {needed / gib:.2f} GiB of memory; more than {limits.bytes / gib:.2f} GiB would leave too little "
        f"for training: {remedy}."
    )


def decode_all(
    title: str, items: Sequence[Any], decode: Callable[[Any, int], Decoded], canvas: int, workers: int
) -> tuple[Tensor, Tensor, Skipped]:
    """Decode every item in threads, showing progress on a terminal.

    Returns uint8 pixels (n, 3, canvas, canvas), int32 sizes (n, 2), and (name, reason) of each item that could not be
    read. Where one could not, the next readable one stands in, as in `Images.read`.
    """
    pixels = torch.empty((len(items), 3, canvas, canvas), dtype=torch.uint8)

    def fill(start: int) -> list[tuple[int, int] | OSError | ValueError]:
        """Sizes of a stretch of pictures, each put in its place, or why it could not be read."""
        found: list[tuple[int, int] | OSError | ValueError] = []
        for i in range(start, min(start + _STRETCH, len(items))):
            try:
                pixels[i], size = decode(items[i], canvas)
                found.append(size)
            except (OSError, ValueError) as error:
                found.append(error)
        return found

    sizes = torch.zeros(len(items), 2, dtype=torch.int32)
    readable: list[int] = []
    skipped: dict[int, tuple[str, str]] = {}
    with ThreadPoolExecutor(workers) as pool:
        found = chain.from_iterable(pool.map(fill, range(0, len(items), _STRETCH)))
        for i, size in enumerate(with_progress(f"Reading {title}", found, len(items))):
            if isinstance(size, Exception):
                skipped[i] = (str(items[i]), reason(size))
            else:
                sizes[i] = torch.tensor(size)
                readable.append(i)
    for i in skipped if readable else ():
        stand_in = readable[bisect(readable, i) % len(readable)]
        pixels[i], sizes[i] = pixels[stand_in], sizes[stand_in]
    return pixels, sizes, list(skipped.values())


def with_progress(title: str, results: Iterable[T], total: int) -> Iterable[T]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(results, title, total, console=console, transient=True, disable=not console.is_terminal)


def _available() -> int:
    """Bytes of memory that can still be taken; where the system does not tell, half of what the machine has."""
    try:
        meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(meminfo["MemAvailable"].split()[0]) << 10
    except OSError:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:  # a container may be allowed less than its machine has
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        return min(free, limit - used)
    except (OSError, ValueError):
        return free
