"""Cards in rows of which none is half empty."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def in_pairs(items: Sequence[object]) -> int:
    """How many rows items take of which each holds two, or three where one would be left."""
    return min(len(items), max(1, len(items) // 2))


def in_threes(items: Sequence[object]) -> int:
    """How many rows items take of which each holds three at most."""
    return -(-len(items) // 3)


def even_rows(items: Sequence[T], count: int) -> list[list[T]]:
    """So many rows of the items, in order, none longer than another by more than one."""
    return [list(items[row * len(items) // count : (row + 1) * len(items) // count]) for row in range(count)]
