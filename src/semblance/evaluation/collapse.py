"""When embeddings have collapsed, by what a log says of them: which numbers mean it, and since when."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semblance.evaluation.evidence import Evidence, finite, in_format
from semblance.systems.method import Empty

Line = dict[str, Any]
Band = tuple[float, float]

RANK = 0.2  # of features, as a share of that before training
UNIT_DEVIATION = 0.2  # of embeddings of unit length, below which they point one way
DEVIATION = 0.05  # of embeddings as they are, where a method says it
LARGEST = 0.9  # of the samples in one cluster
GROUPS = 2  # in use, at most, where nothing is grouped any more
NEAR = 0.01  # of an empty level, as a share of it
LAST = 0.1  # of the steps are the end of a run


@dataclass
class Alarm:
    evidence: Evidence
    since: int

    @property
    def of_embeddings(self) -> bool:
        """And not of the loss, which alone is no reason."""
        return not self.evidence.name.startswith("loss")


def collapses(lines: Sequence[Line], levels: dict[str, float]) -> list[Alarm]:
    """What the end of a log says against its embeddings, each with the step since which it has been so."""
    found = []
    for name in dict.fromkeys(name for line in lines for name in line):
        series = [(line["step"], line[name]) for line in lines if finite(line.get(name))]
        start = series[0][1] if series and series[0][0] == 0 else None
        for band, told in bands(name, levels, start):
            if (since := _since(series, band)) is not None:
                value = _end(series)
                found.append(Alarm(Evidence(name, value, _edge(band), told.format(value), "a collapse"), since))
    return found


class Live:
    """Looks at a log while it grows, and says once that its embeddings have collapsed; the loss alone is no reason.

    Only what has been so for a fifth of the run, and for a hundred steps at least, is told: some methods pass through a
    collapse and recover.
    """

    def __init__(self, total: int) -> None:
        self.lasting = lasting(total)
        self.lines: list[Line] = []
        self.told = False

    def note(self, line: Line) -> str:
        """A line of the log to a sentence, mostly an empty one."""
        self.lines.append(line)
        if self.told or len(self.lines) % 5:
            return ""
        self.lines = [seen for seen in self.lines if seen["step"] >= line["step"] - 2 * self.lasting]
        for alarm in collapses(self.lines, {}):
            if line["step"] - alarm.since >= self.lasting:
                self.told = True
                return f"It seems to have collapsed, since step {alarm.since:,} or before: {alarm.evidence.reads}."
        return ""


def lasting(total: int) -> int:
    """Steps for which a collapse is to last before it is told of a run that goes on."""
    return max(100, total // 5)


def bands(name: str, levels: dict[str, float], start: float | None = None) -> list[tuple[Band, str]]:
    """From where to where a number of the log means a collapse, both ends included, and how that reads of a value.

    levels: of the loss; those that are Empty count. start: the number before training, where that is known.
    """
    if name.endswith("embedding_std"):
        of = in_format(name.removesuffix("embedding_std").rstrip("_"))
        whose = f"embeddings of {of}" if of else "embeddings"
        return [((-math.inf, UNIT_DEVIATION), f"the {whose} point one way (deviation {{:.2g}}, 1 on a full sphere)")]
    if name == "deviation":
        return [((-math.inf, DEVIATION), "the embeddings hardly differ (deviation {:.2g}, 1 is asked for)")]
    if name.endswith("_in_use"):
        return [((-math.inf, GROUPS), f"{in_format(name.removesuffix('_in_use'))} in use: {{:.0f}}")]
    if name == "largest_cluster":
        return [((LARGEST, math.inf), "one cluster holds {:.0%} of all")]
    if name.endswith("_rankme") and start is not None and not name.startswith("between"):
        of = in_format(name.removesuffix("_rankme"))
        told = f"the features of {of} lie in {{:.1f}} directions, {start:.1f} before training"
        return [((-math.inf, RANK * start), told)]
    if name != "loss":
        return []
    return [
        (
            (level - NEAR * abs(level), level + NEAR * abs(level)),
            f'the loss stands at {{:.4g}}, its level for "{_meaning(told)}"',
        )
        for told, level in levels.items()
        if isinstance(level, Empty)
    ]


def _edge(band: Band) -> float:
    """Where a band begins, seen from healthy numbers: its finite end, or the middle of two."""
    ends = [end for end in band if math.isfinite(end)]
    return sum(ends) / len(ends)


def _meaning(level: str) -> str:
    """Of "2 ln(2N - 1): all embeddings equal", what is behind the colon."""
    return in_format(level.rpartition(": ")[2])


def _since(series: list[tuple[int, float]], band: Band) -> int | None:
    """The step since which a series has been in a band, in its end at least; None where its end is outside."""
    low, high = band
    since = last = series[-1][0] if series else 0
    end = [value for step, value in series if step > (1 - LAST) * last]
    if not end or not all(low <= value <= high for value in end):
        return None
    for step, value in reversed(series):
        if not low <= value <= high:
            break
        since = step
    return since


def _end(series: list[tuple[int, float]]) -> float:
    """The mean over the end."""
    values = [value for step, value in series if step > (1 - LAST) * series[-1][0]]
    return sum(values) / len(values)
