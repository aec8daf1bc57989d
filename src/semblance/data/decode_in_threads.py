"""Decoding many files in threads, with progress."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from semblance.errors import UserError
from semblance.runtime.progress import with_progress

T = TypeVar("T")
Unreadable = OSError | ValueError


def decode_in_threads(
    title: str, count: int, decode: Callable[[int], T], workers: int, stretch: int = 1
) -> Iterator[T | Unreadable]:
    """decode(0), decode(1), ... in order, or why one could not be read; threads are handed stretches of them."""

    def attempt(i: int) -> T | Unreadable:
        try:
            return decode(i)
        except UserError:  # of the machine, not of the file: a full disk, a library that is missing
            raise
        except (OSError, ValueError) as error:
            error.__traceback__ = error.__cause__ = error.__context__ = None  # they hold what was being decoded
            return error

    def some(start: int) -> list[T | Unreadable]:
        return [attempt(i) for i in range(start, min(start + stretch, count))]

    pool = ThreadPoolExecutor(workers)
    try:
        found = chain.from_iterable(pool.map(some, range(0, count, stretch)))
        yield from with_progress(f"Reading {title}", found, count)
    finally:
        pool.shutdown(cancel_futures=True)  # an error or Ctrl-C waits for no more than what is being decoded
