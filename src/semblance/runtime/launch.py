"""The processes of a run: this one alone, others started beside it, or those that torchrun or srun started."""

import atexit
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist

from semblance.errors import Stopped, UserError
from semblance.runtime import ranks
from semblance.runtime.place import WITHOUT, Place, started_with_others
from semblance.runtime.watch import Watch

ARRIVAL = 600.0  # seconds that processes may take to come, and to say so
MOST = 8  # processes on a machine without a GPU and of fewer cores


class Launch:
    """Within, a run has its processes: they watch each other, and an exception of one ends all (runtime/watch.py)."""

    def __init__(self) -> None:
        self.watch: Watch | None = None

    def __enter__(self) -> "Launch":
        """Joins the processes that this one was started with, if it was."""
        if not dist.is_initialized() and (place := started_with_others()) is not None:
            self._join(place)
        elif _STATE.place is not None:
            self._watch(_STATE.place)
        return self

    def start(self, devices: int) -> torch.device:
        """The device of this process, once those that --devices asks for are there; others were started before."""
        if devices > 1 and not dist.is_initialized():
            self._join(_start(devices))
        if not torch.cuda.is_available():
            return torch.device("cpu")
        place = _STATE.place
        device = torch.device("cuda", place.local_rank % torch.cuda.device_count() if place else 0)
        torch.cuda.set_device(device)
        return device

    def first_to_tell(self, error: BaseException) -> bool:
        """Whether what ends this rank is for it to tell, and not for another that failed before."""
        follows = isinstance(error, RuntimeError)  # as what a collective raises where another rank is gone
        return self.watch is None or self.watch.claim(_status(error), wait=2.0 if follows else 0.0)

    def advise(self, remedy: str) -> None:
        """What is to be said beside the loss of a rank."""
        if self.watch is not None:
            self.watch.remedy = remedy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.watch is None:
            return
        if error is None or isinstance(error, Stopped):
            ranks.any_rank(False)  # none leaves while another may still fail
            self.watch.close()
            return
        told = self.first_to_tell(error)
        status = self.watch.status or _status(error)
        atexit.register(_leave_at_once, status)
        if not told:
            raise SystemExit(status) from None

    def _join(self, place: Place) -> None:
        if place.world == 1:
            return
        _STATE.place = place
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // place.on_machine))
        if torch.cuda.is_available():
            torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
        _STATE.store = _meet(place)
        self._watch(place)
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        store = dist.PrefixStore("ranks", _STATE.store)
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world, timeout=ranks.UNANSWERED)
        atexit.register(_leave)

    def _watch(self, place: Place) -> None:
        _STATE.watches += 1
        self.watch = Watch(place.rank, _connect(place, f"watch/{_STATE.watches}"), _end)
        self.watch.start()


class _State:
    """Of this process: its place among the ranks, the processes it started, where it meets the others."""

    place: Place | None = None
    store: dist.Store
    children: list[subprocess.Popen[bytes]] = []
    watches = 0


_STATE = _State()


def _status(error: BaseException) -> int:
    return 2 if isinstance(error, UserError) else 130 if isinstance(error, KeyboardInterrupt) else 1


def _start(devices: int) -> Place:
    """Start this program again for every further device, which makes this process the first rank."""
    if torch.cuda.is_available() and torch.cuda.device_count() < devices:
        raise UserError(f"--devices {devices}: this machine has {torch.cuda.device_count()}.")
    if not torch.cuda.is_available() and devices > (most := max(MOST, os.cpu_count() or 1)):
        raise UserError(f"--devices {devices}: without a GPU at most {most} processes start here.")
    if hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules:
        raise UserError(f"--devices {devices} starts the program again for each: it needs a script, not a shell.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {name: str(devices) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for rank in map(str, range(1, devices)):
        own = os.environ | {"RANK": rank, "LOCAL_RANK": rank, "SEMBLANCE_STARTED_BY": str(os.getpid())}
        command = [sys.executable, *sys.orig_argv[1:]]
        _STATE.children.append(subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL))
    atexit.register(_reap)
    return Place(0, devices, 0, devices, "127.0.0.1", port, "--devices")


def _meet(place: Place) -> dist.Store:
    """Where the processes of a run leave each other word; that of the first, or the launcher's."""
    hosted = place.by == "torchrun" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    hosts = place.rank == 0 and not hosted
    if not hosts:
        _wait(lambda: _reaches(place), place, f"the first process, at {place.address}:{place.port}")
    try:
        store = dist.TCPStore(place.address, place.port, is_master=hosts, timeout=timedelta(seconds=ARRIVAL))
    except RuntimeError as error:
        why = str(error).splitlines()[0]
        raise UserError(f"The {place.world} processes cannot meet at {place.address}:{place.port}: {why}") from error
    return dist.PrefixStore(f"semblance/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _reaches(place: Place) -> bool:
    with suppress(OSError), socket.create_connection((place.address, place.port), timeout=1):
        return True
    return False


def _connect(place: Place, name: str) -> dict[int, socket.socket]:
    """The connections that ranks watch each other by: of rank 0 to all others, of the others to rank 0."""
    if place.rank > 0:
        _wait(lambda: _STATE.store.check([name]), place, "the first process")
        port, token = _STATE.store.get(name).decode().split()
        line = socket.create_connection((place.address, int(port)), timeout=ARRIVAL)
        line.sendall(f"{token} {place.rank:08d}".encode())
        return {0: line}
    here = "127.0.0.1" if place.by == "--devices" else ""
    lines: dict[int, socket.socket] = {}
    token = secrets.token_hex(16)
    with socket.create_server((here, 0), backlog=place.world) as server:
        server.settimeout(0.2)
        _STATE.store.set(name, f"{server.getsockname()[1]} {token}")

        def all_here() -> bool:
            with suppress(TimeoutError):
                line, _ = server.accept()
                line.settimeout(5)
                with suppress(OSError, ValueError):
                    said, rank = line.recv(41, socket.MSG_WAITALL).decode().split()
                    if secrets.compare_digest(said, token):
                        lines[int(rank)] = line
            return len(lines) == place.world - 1

        _wait(all_here, place, f"the other {place.world - 1} of {place.world} processes")
    return lines


def _wait(arrived: Callable[[], bool], place: Place, what: str) -> None:
    """Wait until something is there, in words, open to signals, and not for ever."""
    began, told = time.monotonic(), False
    why = f"as the variables of {place.by} announce. If {place.by} did not start this: {WITHOUT[place.by]}"
    while not arrived():
        waited = time.monotonic() - began
        if any(child.poll() is not None for child in _STATE.children):
            raise UserError("A process that --devices has started ended before it could join.")
        if place.by == "--devices" and place.rank > 0 and os.getenv("SEMBLANCE_STARTED_BY") != str(os.getppid()):
            raise SystemExit(1)
        if waited > ARRIVAL:
            raise UserError(f"Waited {ARRIVAL:g} s in vain for {what}, {why}.")
        if waited > 20 and not told:
            told = True
            print(f"Rank {place.rank} waits for {what}, {why}.", file=sys.stderr)
        time.sleep(0.02)


def leave(status: int) -> None:
    """End a process of several, once its work is done: threads of its connections would now and then abort an exit."""
    if _STATE.place is not None:
        _leave_at_once(status)


def _leave() -> None:
    """Close the process group: its threads sometimes abort a process that exits while they run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _leave_at_once(status: int) -> None:
    """The end of a rank, without what would wait for the others."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    _end(status)


def _end(status: int) -> None:
    _reap(seconds=2.0)
    os._exit(status)


def _reap(seconds: float = 30.0) -> None:
    """Wait for the processes that this one has started, and end those that stay."""
    until = time.monotonic() + seconds
    for child in _STATE.children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
