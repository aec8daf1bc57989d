"""What was learnt, by label-free numbers of the trained networks beside those of the first ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semblance.evaluation.evidence import Evidence, finite, in_format

NUMBERS = ("view_percentile", "repeatability", "rankme")
GAIN = 0.06  # of the percentile at which the other view is found: learnt
SOME = 0.03  # of it, where repeatability has gained too
REPEATED = 0.1  # of repeatability
LEAVE_ONE_OUT = "knn_leave_one_out"  # of training samples among each other, where a start is not random
ON_LABELS = 0.02  # of kNN, below which labels do not bear out what was learnt
HELD = 0.5  # of the rank before training is left where features have not collapsed


@dataclass
class Gain:
    """Of one stream, the numbers before training and after, by name."""

    stream: str
    first: dict[str, float]
    last: dict[str, float]

    def of(self, number: str) -> float:
        """What it has gained; 0 where it was not measured at both."""
        return self.last[number] - self.first[number] if number in self.first and number in self.last else 0.0

    @property
    def learnt(self) -> bool:
        nearer = self.of("view_percentile")
        return nearer >= GAIN or (nearer >= SOME and self.of("repeatability") >= REPEATED)

    @property
    def held(self) -> Evidence | None:
        """That features spread nearly as they did before training, where they do."""
        before, after = (ends.get("rankme", 0.0) for ends in (self.first, self.last))
        if self.stream == "between" or not before or after < HELD * before:
            return None
        told = f"the features of {self.stream} lie in {after:.1f} directions, {before:.1f} before training"
        return Evidence(f"rankme of {self.stream}", after, before, told)

    @property
    def reads(self) -> str:
        return self.evidence[0].reads

    @property
    def evidence(self) -> list[Evidence]:
        of = {"pictures": "its other view", "between": "its own sound"}.get(
            self.stream, f"its other {in_format(self.stream)}"
        )
        what = "a picture" if self.stream == "pictures" else "a clip"
        nearer = "is nearer than {:.0f} % of those of others, {:.0f} % before training and 50 % by chance"
        told = {
            "view_percentile": f"to {what}, {of} {nearer}",
            "repeatability": f"{{:.0f}} % of the spread is of {what} and not of its view, {{:.0f}} % before training",
        }
        return [
            Evidence(
                f"{name} of {self.stream}", self.last[name], self.first[name],
                reads.format(*(100 * max(0.0, ends[name]) for ends in (self.last, self.first))),
            )
            for name, reads in told.items() if name in self.first and name in self.last
        ]  # fmt: skip


def gains(rows: Sequence[dict[str, Any]], lines: Sequence[dict[str, Any]]) -> list[Gain]:
    """Of each stream, the one that says most first. rows: of the table; where the trained networks have none, the log's
    lines are taken."""
    seen = [row["label_free"] for row in rows if row.get("label_free")]
    if len(seen) >= 2 and set(seen[-1]) == set(seen[-2]):
        found = [Gain(stream, *(_values(row[stream]) for row in seen[-2:])) for stream in seen[-1]]
    else:
        found = _logged(lines)
    whole = [gain for gain in found if NUMBERS[0] in gain.first and NUMBERS[0] in gain.last]
    return sorted(whole, key=lambda gain: (not gain.learnt, gain.stream != "between", -gain.of(NUMBERS[0])))


def over_the_start(rows: Sequence[dict[str, Any]]) -> Evidence | None:
    """What labels say where that is more than of the start: one that is not random may find nearly all views already.
    rows: of the table."""
    ends = [float(row[LEAVE_ONE_OUT]) for row in rows[-2:] if finite(row.get(LEAVE_ONE_OUT))]
    if len(ends) < 2 or ends[1] - ends[0] < ON_LABELS:
        return None
    told = f"kNN among training pictures finds {100 * ends[1]:.1f} %, {100 * ends[0]:.1f} % at the start"
    return Evidence(LEAVE_ONE_OUT, ends[1], ends[0], told, "at the start")


def _values(numbers: dict[str, Any]) -> dict[str, float]:
    """Of numbers with their intervals; what is none, in somebody's summary.json, is left out."""
    found = {name: ends[0] for name in NUMBERS if isinstance(ends := numbers.get(name), list) and ends}
    return {name: value for name, value in found.items() if finite(value)}


def _logged(lines: Sequence[dict[str, Any]]) -> list[Gain]:
    """Between step 0 of a log and its last line that has such numbers."""
    ends: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    for line in lines:
        for number in NUMBERS:
            for name in (name for name in line if name.endswith(number) and finite(line[name])):
                stream = name.removesuffix(number).rstrip("_") or "pictures"
                ends.setdefault(stream, ({}, {}))[line["step"] > 0][number] = line[name]
    return [Gain(stream, first, last) for stream, (first, last) in ends.items() if first and last]
