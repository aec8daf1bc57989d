"""The label-free numbers of a run as tables, each with its interval and with what it means."""

import math
from dataclasses import dataclass
from typing import Any

from semblance.report.glossary import LABEL_FREE
from semblance.report.signals import STREAMS, label_free
from semblance.report.words import number

_PERCENT = ("view_percentile", "view_first", "repeatability")
Cell = tuple[str, str]  # a value and how far its 95 % interval reaches, "" for what was not measured


@dataclass
class Numbers:
    """Those of one stream: a row for each number, (what it is called, what it means, a cell for each encoder).

    samples: how many held-out ones they are of, 0 where that is not known.
    """

    stream: str
    encoders: list[str]
    rows: list[tuple[str, str, list[Cell]]]
    samples: int


def label_free_numbers(table: list[dict[str, Any]]) -> list[Numbers]:
    """Of every stream of a run's table, what says most of a clip first."""
    found = [(row, label_free(row)) for row in table]
    streams = dict.fromkeys(stream for _, numbers in found for stream in numbers)
    return [_of(stream, found) for stream in sorted(streams, key=lambda stream: stream != "between")]


def _of(stream: str, found: list[tuple[dict[str, Any], dict[str, dict[str, list[float]]]]]) -> Numbers:
    having = [(row, numbers[stream]) for row, numbers in found if numbers.get(stream)]
    rows = [
        (title, meaning, [_cell(name, numbers.get(name)) for _, numbers in having])
        for name, (title, meaning) in LABEL_FREE.items()
        if any(name in numbers for _, numbers in having)
    ]
    samples = next((n for row, _ in having if isinstance(n := row["label_free"][stream].get("samples"), int)), 0)
    title = STREAMS.get(stream, stream.replace("_", " "))
    return Numbers(title, [row["encoder"] for row, _ in having], rows, samples)


def _cell(name: str, ends: list[float] | None) -> Cell:
    if ends is None:
        return "–", ""
    scale, sign = (100, "\u00a0%") if name in _PERCENT else (1, "")
    value, low, high = (scale * end for end in ends)
    reach = (high - low) / 2
    if abs(value) >= 1000:
        return number(value), f"±\u00a0{number(reach)}"
    digits = 1 if sign else min(3, max(0, 2 - math.floor(math.log10(max(abs(value), 1e-3)))))
    return f"{value:.{digits}f}{sign}".replace("-", "−"), f"±\u00a0{reach:.{digits}f}"
