"""One process trains in a folder; the lock of one that was killed is free."""

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from ranks import processes

from semblance.errors import UserError
from semblance.runtime.lock import locked


def _hold(path: Path, line: Connection) -> None:
    with locked(path, "the run"):
        line.send(os.getpid())
        line.recv()


def test_a_lock_is_told_and_freed_by_a_kill(tmp_path: Path) -> None:
    ours, theirs = processes.Pipe()
    holder = processes.Process(target=_hold, args=(tmp_path / "new" / ".lock", theirs))
    holder.start()
    assert ours.poll(60)
    told = f"the run is in use by process {ours.recv()} on .*: wait for its end, or stop it first"
    with pytest.raises(UserError, match=told), locked(tmp_path / "new" / ".lock", "the run"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    for _ in range(2):
        with locked(tmp_path / "new" / ".lock", "the run") as known:
            assert known
