"""Ranks for tests: processes joined by gloo that run the same function and hand back what each returned."""

import multiprocessing
import pickle
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# Forked from a process that has imported torch but never computed with it: quick to start, and safe.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["torch", "torchvision", "timm", "semblance.commands.train", "semblance.__main__"])


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns in this process."""
    return function(*args)


class Ranks:
    """`world` processes that wait for work: ranks(function, *args) is a list of the ranks' results."""

    def __init__(self, world: int) -> None:
        self.world = world
        self.members: list[tuple[Any, Connection]] = []

    def __call__(self, function: Callable[..., Any], *args: Any, timeout: float = 60) -> list[Any]:
        if not self.members:
            self._start()
        for _, line in self.members:
            line.send((function, args))
        replies = []
        for rank, (_, line) in enumerate(self.members):
            if not line.poll(timeout):
                self.close()
                raise TimeoutError(f"rank {rank} of {self.world} waits for the others for ever")
            result, error = pickle.loads(line.recv_bytes())
            if error:
                self.close()
                raise RuntimeError(f"on rank {rank}: {error}")
            replies.append(result)
        return replies

    def _start(self) -> None:
        store = Path(tempfile.mkdtemp()) / "store"
        for rank in range(self.world):
            ours, theirs = processes.Pipe()
            member = processes.Process(target=_serve, args=(rank, self.world, store, theirs), daemon=True)
            member.start()
            theirs.close()
            self.members.append((member, ours))

    def close(self) -> None:
        for member, line in self.members:
            member.kill()
            member.join()
            line.close()
        self.members = []


def _serve(rank: int, world: int, store: Path, line: Connection) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(minutes=2)
    )
    while True:
        function, args = line.recv()
        try:
            reply = (function(*args), None)
        except BaseException:
            reply = (None, traceback.format_exc())
        line.send_bytes(pickle.dumps(reply))
