"""Which of a run's networks is the best, by what the log says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from semblance.evaluation.collapse import bands
from semblance.evaluation.evidence import Evidence, finite
from semblance.evaluation.gains import HELD, LEAVE_ONE_OUT, ON_LABELS, SOME

RANKED_BY = "view_percentile"  # of the label-free numbers
DIMENSION = "pictures_two_nn"  # of them, which falls where features keep no more than views ask for

Line = Mapping[str, Any]


def ranking(line: Line, lines: Sequence[Line] = ()) -> float | None:
    """The number of a line of the log by which networks are ranked, higher is better: kNN among training samples where
    the start of the log has that, else where the other view is found: of what two streams make of a sample, or the mean
    over streams. None where the line has none."""
    if not _unlabelled(lines):
        return float(line[LEAVE_ONE_OUT]) if finite(line.get(LEAVE_ONE_OUT)) else None
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


def ranked(line: Line, lines: Sequence[Line], *, given: bool) -> float | None:
    """The same; None also of networks that are never the best: of features that have collapsed, or are worse than a
    start that was given.

    lines: of the log, step 0, the start, among them. given: whether the start was, and is not random.
    """
    fallen = given and (_fewer_dimensions(line, lines) if _unlabelled(lines) else _less_accurate(line, lines))
    return None if fallen or collapsed(line, lines) else ranking(line, lines)


def best_step(lines: Sequence[Line], above: float | None, *, given: bool = False) -> int | None:
    """The step of the highest, the first of equals, where that is above a number; None where there is none. Step 0 is
    the start."""
    found = [(value, -line["step"]) for line in lines if (value := ranked(line, lines, given=given)) is not None]
    value, step = max(found, default=(0.0, 0))
    return -step if found and above is not None and value > above else None


def lost(line: Line, lines: Sequence[Line]) -> Evidence | None:
    """What networks have lost of a start that was given; None where that is little, or not known."""
    start, unlabelled = _first(lines), _unlabelled(lines)
    first, now = ranking(start, lines), ranking(line, lines)
    if first is not None and now is not None and first - now >= (SOME if unlabelled else ON_LABELS):
        what = (
            "the other view of a sample is nearer than those of" if unlabelled else "kNN among training pictures finds"
        )
        told = f"{what} {100 * now:.1f} %, {100 * first:.1f} % at the start"
        return Evidence(RANKED_BY if unlabelled else LEAVE_ONE_OUT, now, first, told, "at the start")
    if unlabelled and _fewer_dimensions(line, lines):
        now, first = line[DIMENSION], start[DIMENSION]
        told = f"the features of pictures have {now:.0f} dimensions, {first:.0f} at the start"
        return Evidence(DIMENSION, now, first, told, "at the start")
    return None


def _first(lines: Sequence[Line]) -> Line:
    return next((line for line in lines if line["step"] == 0), {})


def _unlabelled(lines: Sequence[Line]) -> bool:
    return not finite(_first(lines).get(LEAVE_ONE_OUT))


def _less_accurate(line: Line, lines: Sequence[Line]) -> bool:
    """On held-out samples."""
    return bool(line.get("knn_top1", 0.0) < _first(lines).get("knn_top1", 0.0))


def _fewer_dimensions(line: Line, lines: Sequence[Line]) -> bool:
    """Whether less than half of the dimensions of features is left."""
    now, first = line.get(DIMENSION), _first(lines).get(DIMENSION)
    return finite(now) and finite(first) and bool(now < HELD * first)  # type: ignore[operator]
