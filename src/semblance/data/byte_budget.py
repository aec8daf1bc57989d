"""A bound on the bytes that are being decoded at once: a file of kilobytes may decode to gigabytes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from ctypes import c_int64
from multiprocessing import get_context
from multiprocessing.context import BaseContext

AT_ONCE = 768 << 20  # bytes
_PAUSE = 0.01  # seconds; only files that have to wait look again
_HELD = 5.0  # seconds after which who holds the lock was killed: nobody does more than add and compare under it


class ByteBudget:
    """Lets threads, and worker processes, decode while what they decode takes at most `total` bytes together.

    total: bytes. processes: the context of the worker processes that parts of it are handed to, if any.

        with budget.taken(width * height * 4):  # waits until so many bytes are free
            ...

    What takes more than the whole budget waits until nothing else is being decoded and then goes alone; whether
    something may be so large is for others to say. One call for a file: a thread that holds bytes while it waits for
    more could wait for ever. No order is promised to those who wait.
    """

    def __init__(self, total: int, processes: BaseContext | None = None) -> None:
        self.total, self.processes = total, processes
        self._lock = threading.Lock() if processes is None else processes.Lock()
        self._used, self._own = self._count(), self._count()  # by all parts, and by this one

    def part(self) -> "ByteBudget":
        """The same budget for some processes, whose bytes are known apart; to be handed to them when they start."""
        part = copy(self)
        part._own = self._count()
        part.processes = None  # which cannot be handed over
        return part

    def forget(self) -> None:
        """Give back what processes that were ended while they decoded have taken of this part."""
        with self._alone():
            self._used.value -= self._own.value
            self._own.value = 0

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Within, `count` bytes of the budget are this thread's."""
        while not self._fits(count):  # polled: who waits for a signal of a process that is killed would wait for ever
            time.sleep(_PAUSE)
        try:
            yield
        finally:
            with self._alone():
                held = min(count, self._own.value)  # 0 where it was forgotten
                self._own.value -= held
                self._used.value -= held

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within, no other thread or process counts."""
        self._lock.acquire(timeout=_HELD)
        try:
            yield
        finally:
            with suppress(RuntimeError, ValueError):  # another one that has waited so long has released it
                self._lock.release()

    def _fits(self, count: int) -> bool:
        with self._alone():
            if self._used.value and self._used.value + count > self.total:
                return False
            self._own.value += count
            self._used.value += count
            return True

    def _count(self) -> c_int64:
        return c_int64(0) if self.processes is None else self.processes.RawValue(c_int64, 0)


_own = ByteBudget(AT_ONCE)


def decoding() -> ByteBudget:
    """The budget of what this process decodes, all sets, pictures and clips."""
    return _own


def decoding_of_workers() -> ByteBudget:
    """A part of the same for worker processes that are to be started, which pass it to `share`."""
    if _own.processes is None:
        share(ByteBudget(AT_ONCE, get_context()))
    return _own.part()


def share(budget: ByteBudget) -> None:
    """Let this process decode within a budget that others have too."""
    global _own
    _own = budget
