"""What `semblance doctor` says of the runs of benchmarks/verdicts.py, beside what came of them.

    python benchmarks/judging.py FOLDER/runs.jsonl [--stage develop|held-out] [--keep RUNS.jsonl.gz] [--said 10]

Prints the verdicts of each condition, what a verdict should not have been, and some of them in full. --keep writes what
CI judges again (tests/evaluation/test_recorded_verdicts.py).
"""

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from verdicts import Condition, conditions

from semblance import systems
from semblance.evaluation.advice import Advice
from semblance.evaluation.evidence import finite
from semblance.evaluation.verdict import Run, Verdict, verdict
from semblance.systems.method import Empty

STATES = ("learnt", "little", "collapsed", "diverged", "too-short", "cannot-tell")


def read(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield from map(json.loads, file)


def condition_of(kept: dict[str, Any]) -> Condition:
    return Condition(**kept["condition"])


def points(kept: dict[str, Any]) -> float:
    """What was learnt: accuracy above the first networks' on hidden labels, in points; nan where it was not measured.

    kNN of pictures; of clips, whose labels are several, the mean over labels and streams.
    """
    first, last = [{}, {}, *kept.get("rows_elsewhere", kept["rows"])][-2:]
    names = ["knn_top1"] if "knn_top1" in last else [name for name in last if "_from_" in name]
    return 100 * float(np.mean([last[name] - first[name] for name in names])) if names else float("nan")


def judged(kept: dict[str, Any], share: float = 1.0) -> Verdict:
    """The verdict on a run; share: of its steps, after which it was looked at while it went on."""
    steps = round(share * kept["steps"])
    lines = [line for line in kept["lines"] if line["step"] <= steps]
    epochs = max((line["epoch"] for line in lines if finite(line.get("epoch"))), default=0.0)
    levels = {name: Empty(value) if empty else value for name, (value, empty) in kept["levels"].items()}
    recipe = systems.get(condition_of(kept).method).recipes["quick"]
    advice = Advice("RUN", recipe.lr * recipe.batch_size / 256, recipe.epochs, kept["steps"])
    diverged, rows = (kept["diverged"], kept["rows"]) if share == 1 else (None, [])
    return verdict(
        Run(lines, steps, epochs, levels, kept["without"], rows, diverged, advice=advice, total=kept["steps"])
    )


def compact(kept: dict[str, Any]) -> dict[str, Any]:
    """Without what no verdict is made of."""
    lines = [{k: v for k, v in line.items() if k not in ("samples_per_second", "seconds")} for line in kept["lines"]]
    rows = [
        row | {"label_free": {s: {k: v for k, v in found.items() if k != "spectrum"} for s, found in seen.items()}}
        if (seen := row.get("label_free"))
        else row
        for row in kept["rows"]
    ]
    return kept | {"lines": lines, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--stage", choices=["develop", "held-out"], help="runs of one; default: all")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--said", type=int, default=0)
    asked = parser.parse_args()
    runs = list(read(asked.runs))
    if asked.stage:
        names = {condition.name for condition in conditions(asked.stage)}
        runs = [kept for kept in runs if condition_of(kept).name in names]
    verdicts = [judged(kept) for kept in runs]
    if asked.keep:
        with asked.keep.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:  # the same bytes each time
            file.write("".join(json.dumps(compact(kept)) + "\n" for kept in runs).encode())
    tell(runs, verdicts)
    for kept, found in list(zip(runs, verdicts, strict=True))[:: max(1, len(runs) // max(1, asked.said))][: asked.said]:
        print(f"\n{condition_of(kept).name} ({points(kept):+.1f}): {found.headline}")
        print(*(f"  Next: {advice}" for advice in found.advice), sep="\n")


def tell(runs: list[dict[str, Any]], verdicts: list[Verdict]) -> None:
    """The confusion, by what came of a run and by condition."""
    for title, of in (("what came of it", came_of), ("condition", lambda kept: condition_of(kept).what)):
        counted: dict[str, Counter[str]] = {}
        for kept, found in zip(runs, verdicts, strict=True):
            counted.setdefault(of(kept), Counter())[found.state] += 1
        print(f"\n| {title} | runs | {' | '.join(STATES)} |\n|---|---|{'---|' * len(STATES)}")
        for name, counts in sorted(counted.items()):
            print(f"| {name} | {counts.total()} | {' | '.join(str(counts[state] or '') for state in STATES)} |")
    wrong = [
        f"{condition_of(kept).name}: {points(kept):+.1f} points, {found.state}: {found.headline}"
        for kept, found in zip(runs, verdicts, strict=True)
        if found.state not in condition_of(kept).allowed(points(kept))
    ]
    print(f"\n{len(wrong)} of {len(runs)} verdicts are not among those allowed.", *wrong, sep="\n")


def came_of(kept: dict[str, Any]) -> str:
    value = points(kept)
    return "not measured" if value != value else "learnt" if value >= 5 else "not learnt" if value <= 2 else "between"


if __name__ == "__main__":
    main()
