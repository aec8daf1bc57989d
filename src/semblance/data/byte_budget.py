"""A bound on the bytes that are being decoded at once: a file of kilobytes may decode to gigabytes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_int64
from multiprocessing.context import BaseContext

AT_ONCE = 768 << 20  # bytes
_PAUSE = 0.01  # seconds; only files that have to wait look again


class ByteBudget:
    """Lets threads, and worker processes, decode while what they decode takes at most `total` bytes together.

    total: bytes. processes: the context of the processes that it is handed to when they are started, if any.

        with budget.taken(width * height * 4):  # waits until so many bytes are free
            ...

    What takes more than the whole budget waits until nothing else is being decoded and then goes alone; whether
    something may be so large is for others to say. One call for a file: a thread that holds bytes while it waits for
    more could wait for ever. No order is promised to those who wait.
    """

    def __init__(self, total: int, processes: BaseContext | None = None) -> None:
        self.total = total
        self._lock = threading.Lock() if processes is None else processes.Lock()
        self._used = c_int64(0) if processes is None else processes.RawValue(c_int64, 0)

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Within, `count` bytes of the budget are this thread's."""
        while not self._fits(count):  # polled: who waits for a signal of a process that is killed would wait for ever
            time.sleep(_PAUSE)
        try:
            yield
        finally:
            with self._lock:
                self._used.value -= count

    def _fits(self, count: int) -> bool:
        with self._lock:
            fits = self._used.value == 0 or self._used.value + count <= self.total
            self._used.value += count * fits
            return fits


_own = ByteBudget(AT_ONCE)


def decoding() -> ByteBudget:
    """The budget of what this process decodes, all sets, pictures and clips."""
    return _own


def share(budget: ByteBudget) -> None:
    """Let this process decode within a budget that it shares with others from now on."""
    global _own
    _own = budget
