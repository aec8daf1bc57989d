"""A method held to its contract by a process of its own, which forks one for each run.

So nothing that a method does can reach who asks, and all of it ends at once when that is wanted.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from math import inf
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from semblance import systems
from semblance.checking import seam, small
from semblance.checking.mistakes import Mistake
from semblance.checking.processes import FORK, Failed, Processes
from semblance.checking.promises import PROMISES, Finding, Subject, judged
from semblance.errors import UserError
from semblance.runtime import named
from semblance.systems import Method

SECONDS = {False: 300.0, True: 600.0}  # of all; --thorough
MOST, LARGER = 60.0, 200.0  # of one run; where it is not small
BROKEN = ("fails", "fails too")
Numbers = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Checked:
    """What came of a check: a finding for each promise, the likely mistakes behind those that break, and what is to be
    said beside."""

    method: str
    findings: list[Finding]
    mistakes: list[Mistake]
    note: str = ""

    @property
    def broken(self) -> list[str]:
        """The promises that break, the first of each likely mistake: the others follow from it."""
        return [f.promise for f in self.findings if f.state == "fails"]

    @property
    def holds(self) -> bool:
        """Whether no promise breaks, and all were judged."""
        return all(f.state in ("holds", "does not apply") for f in self.findings)

    @property
    def verdict(self) -> str:
        name = self.method.rpartition(":")[2]
        count = sum(f.state in BROKEN for f in self.findings)
        open_ = sum(f.state == "not judged" for f in self.findings)
        left = f" {_many(open_, 'promise was', 'promises were')} not judged." if open_ else ""
        if count:
            by = "one likely mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} likely mistakes"
            return f"{name} breaks {_many(count, 'promise', 'promises')}, by {by}.{left}"
        kept = sum(f.state == "holds" for f in self.findings)
        return f"{name} keeps {'all' if not open_ else ''} {_many(kept, 'promise', 'promises')}.{left}".replace(
            "  ", " "
        )

    def as_json(self) -> dict[str, Any]:
        """For programs; a deviation without bounds is null, with the promise failing."""
        rows = []
        for promise, finding in ((p, f) for f in self.findings for p in PROMISES if p.name == f.promise):
            about = {"meaning": promise.meaning, "allowed": promise.allowed, "built_in": built_in(promise.name)}
            rows.append({**asdict(finding), "number": _finite(finding.number), **about})
        mistakes = [{**asdict(m), "title": m.title, "remedy": m.remedy} for m in self.mistakes]
        return {
            "method": self.method, "verdict": self.verdict, "holds": self.holds, "broken": self.broken,
            "promises": rows, "mistakes": mistakes, "note": self.note,
        }  # fmt: skip


def check(
    method: str | os.PathLike[str] | type[Method], thorough: bool = False,
    tell: Callable[[Finding], None] = lambda finding: None,
) -> Checked:  # fmt: skip
    """Hold a method to the contract that this project's own tests hold every method to.

    Some fifty drawn samples and small networks, on the CPU, in processes of their own: at most five minutes of two
    cores, ten with four ranks. What the method prints there is not shown.

    method: a name, FILE.py:CLASS, or a class of a file. thorough: on four ranks too. tell: called with each finding.
    Raises UserError for a method that there is not, or whose file cannot be imported.
    """
    name = systems.canonical(_name(method))
    systems.get(name)  # what is wrong with its name or file is told at once
    if FORK is None:
        raise UserError("semblance check needs an operating system that forks processes: Linux, or macOS.")
    ours, theirs = Pipe()
    own = {n: v for n, v in os.environ.items() if not n.startswith(("SLURM_", "TORCHELASTIC_", "SEMBLANCE_STARTED"))}
    own |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with TemporaryDirectory(prefix="semblance-check-") as folder:
        coordinator = subprocess.Popen(
            [sys.executable, "-m", "semblance.checking", str(theirs.fileno())], env=own, pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            theirs.close()
            ours.send((sys.path, name, thorough, folder))
            findings: list[Finding] = []
            while True:
                said = pickle.loads(ours.recv_bytes())
                if isinstance(said, UserError):
                    raise said
                if not isinstance(said, Finding):
                    return Checked(name, findings, *said)
                findings.append(said)
                tell(said)
        except EOFError as error:
            raise UserError("The process that checks has ended without a word: was it killed?") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(coordinator.pid, signal.SIGKILL)  # and all that it has started
            coordinator.wait()
            ours.close()


def coordinate(line: Connection) -> None:
    """The process in between: it imports all that runs need, forks one for each, and computes nothing itself."""
    sys.path[:], method, thorough, folder = line.recv()
    import timm  # noqa: F401
    import torch
    import torch._dynamo
    import torchvision  # noqa: F401

    import semblance.modalities.clips
    import semblance.modalities.pictures  # noqa: F401

    torch.set_num_threads(1)
    subject = Subject(method, Processes(SECONDS[thorough], MOST), Path(folder))
    try:
        note = _sized(subject)
        for finding in judged(subject, thorough):
            line.send_bytes(pickle.dumps(finding))
    except UserError as error:
        line.send_bytes(pickle.dumps(error))
        return
    line.send_bytes(pickle.dumps((subject.mistakes, note)))


def _sized(subject: Subject) -> str:
    """Have a method that takes no step where all is made small checked with less of it small, as far as it wants; what
    is to be said of it."""
    try:
        subject.one(seam.takes_a_step, subject.method)
    except Failed as failure:
        for kept in ({"views"}, {"widths"}, set[str]()):
            small.made_small = kept
            with suppress(Failed):
                subject.one(seam.takes_a_step, subject.method)
                subject.processes.most = LARGER
                what = " and ".join(sorted({"views", "widths"} - kept))
                return f"Its {what} are those of its recipe: made small, it takes no step ({failure})."
        small.made_small = {"views", "widths"}
    return ""


def built_in(promise: str) -> dict[str, float | None]:
    """What the built-in methods measured (tests/checking/test_built_in.py writes it)."""
    stored: Numbers = json.loads(files("semblance.checking").joinpath("built_in.json").read_text())
    return {method: numbers[promise] for method, numbers in stored.items() if promise in numbers}


def _name(method: str | os.PathLike[str] | type[Method]) -> str:
    """As `train` takes it; of a class, its file and name."""
    if not isinstance(method, type):
        return os.fspath(method)
    known = next((name for name in systems.names() if systems.get(name) is method), None)
    if (found := known or named.name_of(method)) is None:
        raise UserError(f"{method.__name__} is in no file, which fresh processes need: put it into one, FILE.py:CLASS.")
    return found


def _many(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _finite(number: float | None) -> float | None:
    return None if number in (None, inf) else number
