"""Ranks that watch each other: where one fails, dies or stands still, all end within seconds, and one says why.

Every rank has a thread with a connection to rank 0, over which each says once a second that it lives. That goes on
while the main thread computes or waits for the others, so work between two collectives may take as long as it needs.
A process that dies closes its connection, which is known at once. The thread also hears signals that reach a process
while it waits in a collective, where Python's handlers have to wait too.
"""

import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from semblance.errors import UserError

TICK = 1.0  # seconds between signs of life
PATIENCE = 60.0  # seconds without one, unless SEMBLANCE_TIMEOUT says otherwise
GRACE = 2.0  # seconds that the main thread has to end by itself once another rank has failed
UNSURE = 5.0  # seconds without a sign of life after which a signal no longer waits for the step's end


def patience() -> float:
    """Seconds after which a rank that gives no sign of life is taken for lost."""
    given = os.environ.get("SEMBLANCE_TIMEOUT", str(PATIENCE))
    with suppress(ValueError):
        if 3 * TICK <= float(given) < float("inf"):
            return float(given)
    raise UserError(f"SEMBLANCE_TIMEOUT={given}: give seconds, {3 * TICK:g} or more.")


class Watch(threading.Thread):
    """The thread of one rank. peers: a connection to rank 0 or, on rank 0, to each other rank."""

    def __init__(self, rank: int, peers: Mapping[int, socket.socket], end: Callable[[int], None]) -> None:
        """end: ends this process, and those that it has started, with an exit status."""
        super().__init__(daemon=True, name="semblance-watch")
        self.rank, self.peers, self.end, self.patience = rank, dict(peers), end, patience()
        self.remedy = ""  # what is said beside an error that no exception can tell
        self.silent = dict.fromkeys(peers, 0)  # ticks since each was heard
        self.begun = dict.fromkeys(peers, b"")  # the beginning of a line from each
        self.first: int | None = None  # the rank that failed first
        self.status = 0  # and what its process ends with
        self.decided, self.closing, self.lock = threading.Event(), threading.Event(), threading.Lock()
        self.ends_at = float("inf")
        self.stops: list[float] = []  # when signals came
        self.ready = selectors.DefaultSelector()
        for peer, line in self.peers.items():
            line.setblocking(False)
            self.ready.register(line, selectors.EVENT_READ, peer)
        self.woken, self.wakes = os.pipe()
        os.set_blocking(self.wakes, False)
        self.ready.register(self.woken, selectors.EVENT_READ, None)
        self.main = threading.current_thread() is threading.main_thread()
        self.before = signal.set_wakeup_fd(self.wakes, warn_on_full_buffer=False) if self.main else -1

    def run(self) -> None:
        due = time.monotonic() + TICK
        while not self.closing.is_set() or (self.peers and time.monotonic() < self.ends_at):
            for key, _ in self.ready.select(max(0.0, min(due, self.ends_at) - time.monotonic())):
                self._signalled() if key.data is None else self._hear(key.data)
            if time.monotonic() >= self.ends_at and not self.closing.is_set():
                self._end(self.status)
            if time.monotonic() >= due:  # counted, so that a process that was stopped itself suspects no other
                due = time.monotonic() + TICK
                self._tick()

    def claim(self, status: int, wait: float = 0.0) -> bool:
        """Note that this rank has failed; whether it is the first, and so the one that says why.

        wait: seconds in which an error may turn out to follow from that of another.
        """
        self.decided.wait(wait)
        if self.rank == 0:
            self._decide(self.rank, status)
        elif not self.decided.is_set():
            self._send(0, {"failed": status})
            self.decided.wait(3.0)
        return self.first in (None, self.rank)

    def close(self) -> None:
        """Stop watching: all ranks have done their part, and are about to say so."""
        if self.main:
            signal.set_wakeup_fd(self.before)
        self.ends_at = time.monotonic() + GRACE
        self.closing.set()
        for line in [*self.peers.values()]:
            with suppress(OSError):
                line.shutdown(socket.SHUT_WR)  # and closed once the other has done so too, so that neither is cut off
        os.write(self.wakes, b"\0")
        self.join()
        for line in self.peers.values():
            line.close()
        self.ready.close()
        os.close(self.woken)
        os.close(self.wakes)

    def _tick(self) -> None:
        for peer in [*self.peers]:
            self._send(peer, {})
            self.silent[peer] += 1
            if self.silent[peer] * TICK > self.patience:
                self._lost(peer, f"has not answered for {self.patience:g} s.")
        quiet = [(ticks * TICK, peer) for peer, ticks in self.silent.items() if peer in self.peers]
        longest, peer = max(quiet, default=(0.0, 0))
        if self.stops and longest >= UNSURE:
            self._say(f"stopped at once: rank {peer} has not answered for {longest:g} s. {self.remedy}")
            self._end(130)
        again = [stop for stop in self.stops[1:] if stop - self.stops[0] > 0.2]
        if again and time.monotonic() - again[0] > GRACE and not self.decided.is_set():
            self._say(f"stopped at once. {self.remedy}")
            self._end(130)

    def _signalled(self) -> None:
        for number in os.read(self.woken, 100):
            if number == signal.SIGINT or (number == signal.SIGTERM and not self.stops):
                self.stops.append(time.monotonic())

    def _hear(self, peer: int) -> None:
        try:
            data = self.peers[peer].recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            gone = self.peers.pop(peer)
            self.ready.unregister(gone)
            gone.close()
            if not self.closing.wait(1.0):  # else it ended because the run did
                self._lost(peer, "has ended without a word: was it killed?")
            return
        self.silent[peer] = 0
        *lines, self.begun[peer] = (self.begun[peer] + data).split(b"\n")
        for message in map(json.loads, lines):
            if "failed" in message:
                self._decide(peer, message["failed"])
            if "first" in message:
                given_up = message["first"] == self.rank == 0  # by one that heard nothing of this rank, and has said so
                self._decide(peer if given_up else message["first"], message["status"])

    def _lost(self, peer: int, what: str) -> None:
        """Another rank is gone. Of those that see that, rank 0 or else rank 1 says so."""
        speaks = self.rank in (0, 1)
        self._decide(peer, 1, f"rank {peer} {what} All processes of the run end. {self.remedy}" if speaks else "")

    def _decide(self, first: int, status: int, told: str = "") -> None:
        """Note which rank failed first, if that is not known already, say so, and tell the others."""
        with self.lock:
            if self.first is not None:
                return
            self.first, self.status = first, status
        if told:
            self._say(told)
        if first != self.rank:
            self.ends_at = time.monotonic() + GRACE
        for peer in [*self.peers]:
            self._send(peer, {"first": first, "status": status})
        self.decided.set()

    def _send(self, peer: int, message: dict[str, Any]) -> None:
        with suppress(OSError, KeyError):  # what it did not hear, it will see by our silence
            self.peers[peer].send(json.dumps(message).encode() + b"\n")

    def _say(self, text: str) -> None:
        shown = "\x1b[?25h\r" if sys.stderr.isatty() else ""  # a progress bar hides the cursor
        print(f"{shown}semblance: {text.strip()}", file=sys.stderr, flush=True)

    def _end(self, status: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        self.end(status)
