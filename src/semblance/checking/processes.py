"""Functions in fresh processes, so that what a method leaves in a module, a class or a generator is gone with them.

They are forked from one that has imported everything and computed nothing. Several are the ranks of a run, joined as
`train` joins them.
"""

import importlib.util
import multiprocessing
import os
import pickle
import re
import signal
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from semblance.runtime.launch import Launch
from semblance.shown import shown

FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
OURS = str(Path(__file__).parents[1])
TORCHS = str(Path(str(importlib.util.find_spec("torch").origin)).parent)  # type: ignore[union-attr]


class Failed(Exception):
    """A process failed: with what, and at which line of the method's own code."""

    def __init__(self, told: str, where: str = "") -> None:
        super().__init__(told, where)
        self.told, self.where = told, where

    @classmethod
    def of(cls, error: BaseException) -> "Failed":
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not f.filename.startswith((OURS + os.sep, TORCHS + os.sep, "<"))]
        last = (own or frames)[-1]
        told = re.split(r"[.;] |\n", str(error))[0]  # what follows is advice for others
        told = f"{type(error).__name__}: {shown(told)[:200]}"
        return cls(told, f"{Path(last.filename).name}, line {last.lineno}" if own else "")

    def __str__(self) -> str:
        return f"{self.told} ({self.where})" if self.where else self.told


class TookTooLong(Failed):
    """A process had not ended in time."""


class Processes:
    """one(function, *args) runs a function in a fresh process, many(world, function, *args) in several ranks."""

    def __init__(self, seconds: float, most: float) -> None:
        """seconds: for all of what is to come; most: for a call."""
        self.until, self.most = time.monotonic() + seconds, most

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self.until

    def one(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.many(1, function, *args)[0]

    def many(self, world: int, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What each of `world` ranks returns; Failed where one of them raises, dies, or takes too long."""
        assert FORK is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        members = []
        for rank in range(world):
            ours, theirs = FORK.Pipe(duplex=False)
            process = FORK.Process(target=_work, args=(rank, world, port, theirs, function, args), daemon=True)
            process.start()
            theirs.close()
            members.append((process, ours))
        try:
            return self._answers([line for _, line in members])
        finally:
            for process, line in members:
                line.close()
                process.join(0.5)  # of ranks that are about to leave each other
                process.kill()
                process.join()

    def _answers(self, lines: list[Connection]) -> list[Any]:
        until = min(time.monotonic() + self.most, self.until)
        answers: dict[Connection, Any] = {}
        failures: list[Failed] = []
        while len(answers) < len(lines):
            ready = wait([line for line in lines if line not in answers], max(0.0, until - time.monotonic()))
            if not ready:
                raise failures[0] if failures else TookTooLong(f"had not ended after {self.most:g} s")
            for line in ready:
                assert isinstance(line, Connection)
                try:
                    answers[line] = pickle.loads(line.recv_bytes())
                except EOFError:
                    answers[line] = Failed("a process ended without a word")
                if isinstance(answers[line], Failed):
                    failures.append(answers[line])
                    until = min(until, time.monotonic() + 10)  # the others end by themselves
        if failures:
            raise next((f for f in failures if f.where), failures[0])
        return [answers[line] for line in lines]


def _work(rank: int, world: int, port: int, line: Connection, function: Callable[..., Any], args: Any) -> None:
    """One process: what it returns, or how it failed, and not a word on the terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    torch.set_num_threads(1)
    if world > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {name: str(world) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
        os.environ["SEMBLANCE_STARTED_BY"] = str(os.getppid())
    reply: Any
    try:
        with Launch():
            reply = function(*args)
            line.send_bytes(pickle.dumps(reply))
    except BaseException as error:  # whatever a method does
        if not (isinstance(error, SystemExit) and world > 1):  # which follows from another rank's
            line.send_bytes(pickle.dumps(Failed.of(error)))
    finally:
        line.close()
