"""Which of a run's networks is the best, by what the log says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from semblance.evaluation.evidence import finite
from semblance.evaluation.gains import LEAVE_ONE_OUT, ON_LABELS, SOME
from semblance.evaluation.verdict import bands

RANKED_BY = "view_percentile"  # of the label-free numbers

Line = Mapping[str, Any]


def ranking(line: Line) -> float | None:
    """The number of a line of the log by which networks are ranked, higher is better: kNN among training samples where
    there is that, else where the other view is found: of what two streams make of a sample, or the mean over streams.
    None where the line has none."""
    if finite(line.get(LEAVE_ONE_OUT)):
        return float(line[LEAVE_ONE_OUT])
    found = {name: value for name, value in line.items() if name.endswith(RANKED_BY) and finite(value)}
    between = f"between_{RANKED_BY}"
    values = [found[between]] if between in found else list(found.values())
    return sum(values) / len(values) if values else None


def collapsed(line: Line, lines: Sequence[Line]) -> bool:
    """Whether features lie in so few of the directions that they had at the start of a log that the verdict calls it
    a collapse."""
    first = _first(lines)
    ranks = [name for name in line if name.endswith("_rankme") and finite(line[name]) and finite(first.get(name))]
    return any(low <= line[name] <= high for name in ranks for (low, high), _ in bands(name, {}, first[name]))


def ranked(line: Line, lines: Sequence[Line]) -> float | None:
    """The same; None also of networks that are never the best: of features that have collapsed, and of such as have
    lost accuracy on held-out samples where the start is compared by labels.

    lines: of the log, step 0, the start, among them.
    """
    start = _first(lines)
    lost = LEAVE_ONE_OUT in start and line.get("knn_top1", 0.0) < start.get("knn_top1", 0.0)
    return None if lost or collapsed(line, lines) else ranking(line)


def best_step(lines: Sequence[Line], above: float | None) -> int | None:
    """The step of the highest, the first of equals, where that is above a number; None where there is none. Step 0 is
    the start."""
    found = [(value, -line["step"]) for line in lines if (value := ranked(line, lines)) is not None]
    value, step = max(found, default=(0.0, 0))
    return -step if found and above is not None and value > above else None


def lost(line: Line, lines: Sequence[Line]) -> str:
    """What networks have lost of a start that is not random, in words; "" where that is little, or not known."""
    start = _first(lines)
    by_labels = finite(start.get(LEAVE_ONE_OUT)) and finite(line.get(LEAVE_ONE_OUT))
    first, now = (float(of[LEAVE_ONE_OUT]) if by_labels else ranking(of) for of in (start, line))
    if first is None or now is None or first - now < (ON_LABELS if by_labels else SOME):
        return ""
    what = "kNN among training pictures finds" if by_labels else "the other view of a sample is nearer than those of"
    return f"{what} {now:.1%}, {first:.1%} at the start"


def _first(lines: Sequence[Line]) -> Line:
    return next((line for line in lines if line["step"] == 0), {})
