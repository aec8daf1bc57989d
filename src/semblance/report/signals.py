"""The numbers of a log: what each is called, how it is written, and how much of the page it is worth."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from semblance.evaluation.collapse import bands
from semblance.evaluation.gains import GAIN, LEAVE_ONE_OUT
from semblance.report.glossary import LABEL_FREE
from semblance.report.levels import Levels
from semblance.report.words import finite, is_trained, number, percent

Worth = Literal["learning", "more", "spread", "machine"]
TITLES = {name: title for name, (title, _) in LABEL_FREE.items()} | {
    "knn_top1": "k-NN accuracy",
    LEAVE_ONE_OUT: "k-NN among training pictures",
    "embedding_std": "deviation of embeddings",
    "lr": "learning rate",
}
_ACCURACIES = ("_top1", "_r1", LEAVE_ONE_OUT)
_SHARES = (*_ACCURACIES, "view_percentile", "view_first", "repeatability", "largest_cluster")
_FROM_ZERO = ("embedding_std", "deviation", "_in_use", "largest_cluster")
_MACHINE = ("lr", "samples_per_second")
STREAMS = {"pictures": "", "between": "picture and sound"}
CHANCE = 0.5  # of the percentile of the other view


@dataclass(frozen=True)
class Signal:
    """One number of a log. base: where its axis begins at the latest. whole: of how many groups it counts those in use.

    worth: signs of learning are drawn large, "spread" are label-free numbers, which are also in a table of their own.
    """

    name: str
    worth: Worth
    base: float | None = None
    whole: int | None = None

    @property
    def title(self) -> str:
        """What it is called, with the stream that it is of."""
        stream, name = split(self.name)
        title = TITLES.get(name, name.replace("_", " "))
        of = STREAMS.get(stream, stream.replace("_", " "))
        return f"{title}: {of}" if of else title

    @property
    def axis(self) -> Callable[[Any], str]:
        """Writes a value on the axis."""
        return percent if self.name.endswith(_SHARES) else number

    def write(self, value: Any) -> str:
        """A value: a share as percent, a count as "1 of 256"."""
        if self.name.endswith("_in_use") and finite(value):
            return number(round(value)) + (f" of {self.whole:,}" if self.whole else "")
        return self.axis(value)


def split(name: str) -> tuple[str, str]:
    """Of the name of a number in the log: its stream, "" where it says none, and the number."""
    known = next((known for known in sorted(TITLES, key=len, reverse=True) if name.endswith(f"_{known}")), None)
    if known is None or name in TITLES:
        return "", name
    return name.removesuffix(f"_{known}"), known


def signals(names: list[str], groups: int | None = None) -> list[Signal]:
    """What is logged under the names, the most telling first. groups: how many prototypes or clusters there are."""
    judged = {"between_view_percentile"} & set(names)

    def signal(name: str) -> Signal:
        base = CHANCE if name.endswith("view_percentile") else 0.0 if name.endswith(_FROM_ZERO) else None
        whole = groups if name.endswith("_in_use") else None
        if name in _MACHINE:
            return Signal(name, "machine")
        if name == "loss" or name.endswith(_ACCURACIES) or bands(name, {}):
            return Signal(name, "learning", base, whole)
        stream, what = split(name)
        if what == "view_percentile" and (not judged or name in judged):
            return Signal(name, "learning", base)
        return Signal(name, "spread" if stream and what in LABEL_FREE else "more", base, whole)

    order = {"loss": 0, "knn_top1": 1, **{name: 2 for name in names if name.endswith("view_percentile")}}
    return sorted(map(signal, names), key=lambda found: order.get(found.name, 3))


def levels(signal: Signal, constants: Levels, table: list[dict[str, Any]]) -> Levels:
    """Values worth knowing beside a curve, by what they mean."""
    if signal.name == "loss":
        return constants
    known: Levels = {}
    stream, what = split(signal.name)
    if signal.name.endswith(("_top1", LEAVE_ONE_OUT)):
        known = {row["encoder"]: row[signal.name] for row in _others(table) if finite(row.get(signal.name))}
    if what == "view_percentile":
        found = {row["encoder"]: label_free(row).get(stream, {}).get(what) for row in _others(table)}
        known = {"chance": CHANCE} | {encoder: ends[0] for encoder, ends in found.items() if ends}
        learnt = list(known.values())[-1] + GAIN
        if len(known) > 1 and signal.worth == "learning" and learnt <= 1:  # a good start leaves no room for it
            known["learnt, from here on"] = learnt
    known = {f"{name}: {signal.write(value)}": value for name, value in known.items()}
    for (low, high), _ in bands(signal.name, {}):
        edge, way = (high, "or less") if math.isfinite(high) else (low, "or more")
        known[f"collapsed: {signal.axis(edge)} {way}"] = edge
    return known


def label_free(row: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """The label-free numbers of a row of the table by stream, each as [value, low, high]; what is none is left out."""
    found = row.get("label_free") or {}
    return {
        stream: {name: ends for name, ends in numbers.items() if _is_interval(ends) and name != "spectrum"}
        for stream, numbers in found.items()
    }


def _is_interval(ends: Any) -> bool:
    return isinstance(ends, list) and len(ends) == 3 and all(map(finite, ends))


def _others(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of encoders that were not trained, raw input before the networks."""
    return [row for row in table if not is_trained(row["encoder"])]
