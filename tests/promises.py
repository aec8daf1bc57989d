"""What the contract tests measured, written into docs/correctness.md and, in short, into the README."""

import platform
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from semblance import systems

ROOT = Path(__file__).parents[1]
PROMISES = {
    "authors": "losses, rates, weights and state of a recorded run of the authors' code, and of ours on its inputs",
    "gradient": "the gradient of a step, computed in the engine's two parts, is autograd's of the whole batch, float64",
    "float32": "gradients of a step in float32 and in float64; norm of the difference over the norm",
    "bf16": "the same under bf16 autocast, the objective in float32",
    "fp16": "the same under fp16 autocast",
    "2 ranks": "losses, gradients, weights and buffers of ten steps on two processes and on one, float64, even and not",
    "command": "`semblance train` to its end on two processes and on one: the same, and the table to 1e-9, float64",
    "4 ranks": "the same on four, uneven",
    "resume": "weights, optimiser, buffers and log after two stops and without, float32: equal bits",
    "moved": "two ranks, stopped, one rank, stopped, two ranks; and one rank throughout, float64",
    "micro-batches": "ten steps by gradient caching in micro-batches and on whole batches, no batch norm, float64",
}


Keep = Callable[[str, float, float], None]


class Measurement(NamedTuple):
    promise: str
    method: str
    deviation: float
    tolerance: float


@dataclass
class Record:
    """What a session of tests has measured so far, and counted."""

    measured: list[Measurement] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    exits: dict[tuple[str, int, int], float] = field(default_factory=dict)  # seconds, by fault, workers, ranks


RECORD = pytest.StashKey[Record]()


def write(record: Record, command: str) -> None:
    """Put both tables in their places, where every method has a number for every promise that is made of it."""
    made = {(p, m) for p in PROMISES for m in systems.names()}
    made -= {(p, m) for p in ("bf16", "fp16") for m in systems.names() if not systems.get(m).of_pictures()}
    if missing := made - {(m.promise, m.method) for m in record.measured}:
        print(f"\nThe table is left as it is: {len(missing)} of its numbers were not measured, e.g. {min(missing)}.")
        return
    measured, counts = record.measured, record.counts
    cells: dict[tuple[str, str], float] = defaultdict(float)
    tolerances: dict[str, float] = defaultdict(float)
    for m in measured:
        cells[m.promise, m.method] = max(cells[m.promise, m.method], m.deviation)
        tolerances[m.promise] = max(tolerances[m.promise], m.tolerance)
    lines = [f"| method | {' | '.join(PROMISES)} |", "|---" * (len(PROMISES) + 1) + "|"]
    for method in systems.names():
        row = (_cell(cells.get((promise, method))) for promise in PROMISES)
        lines.append(f"| {systems.get(method).title} | {' | '.join(row)} |")
    allowed = (_cell(tolerances.get(promise)) for promise in PROMISES)
    lines.append(f"| *allowed* | {' | '.join(allowed)} |")
    lines += ["", *(f"- **{promise}**: {meaning}." for promise, meaning in PROMISES.items())]
    lines += ["", *(f"- {what}: {number:,}" for what, number in counts.items())] if counts else []
    where = f"{date.today()}, {platform.machine()} CPU, torch {torch.__version__}, seed 0, n = 1"
    _replace(ROOT / "docs" / "correctness.md", [f"    {command}", "", f"{where}:", "", *lines])
    worst = {p: max((d for (q, _), d in cells.items() if q == p), default=None) for p in PROMISES}
    short = ["| what must not change the run | largest deviation over all methods |", "|---|---|"]
    short += [f"| {PROMISES[p]} | {_cell(worst[p])} |" for p in PROMISES]
    _replace(ROOT / "README.md", short)


def write_exits(record: Record, command: str) -> None:
    """Put the seconds from an error to the end of the last process in their place."""
    measured = record.exits
    settings = [(workers, ranks) for ranks in (1, 2) for workers in (0, 2)]
    lines = ["| what goes wrong | " + " | ".join(f"{w} workers, {r} rank{'s' * (r > 1)}" for w, r in settings) + " |"]
    lines.append("|---" * (len(settings) + 1) + "|")
    for fault in dict.fromkeys(fault for fault, _, _ in measured):
        row = (measured.get((fault, *setting)) for setting in settings)
        lines.append(f"| {fault} | {' | '.join('' if s is None else f'{s:.1f}' for s in row)} |")
    where = (
        f"{date.today()}, two cores of an EPYC, torch {torch.__version__}, Python {platform.python_version()}, n = 1"
    )
    _replace(ROOT / "docs" / "correctness.md", [f"    {command}", "", f"{where}, seconds:", "", *lines], "exits")


def _cell(deviation: float | None) -> str:
    if deviation is None:
        return ""
    return "0" if deviation == 0 else f"{deviation:.0e}".replace("e-0", "e-")


def _replace(path: Path, lines: list[str], mark: str = "measured") -> None:
    """Put lines between the marks of a page."""
    page = path.read_text()
    new, found = re.subn(
        rf"(<!-- {mark} -->\n).*?(<!-- end -->)", lambda m: m[1] + "\n".join(lines) + "\n" + m[2], page, flags=re.S
    )
    assert found == 1, f"{path} has no place for the table"
    path.write_text(new)
