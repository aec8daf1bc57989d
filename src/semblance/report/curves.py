"""Curves over training steps, with levels and with bands where the verdict says "collapsed"."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from semblance.evaluation.collapse import bands
from semblance.report.drawing import ACCENT, LEVEL, OTHER, dress, figure_of, inline
from semblance.report.layout import even_rows, in_pairs, in_threes
from semblance.report.levels import draw_lines, label_lines, within_reach
from semblance.report.signals import Signal, levels, signals, split
from semblance.report.words import finite, number

BUCKETS = 160
MOST = 100  # curves; methods log some ten
WIDTHS = {1: 1050, 2: 500, 3: 325}  # of a drawing by how many are in a row, on a wide page
TALL, LOW = 270, 150  # of signs of learning, and of other numbers


@dataclass
class Curve:
    """A drawing, what it shows, its last value written out, and the levels too far off to be drawn."""

    name: str
    last: str
    svg: str
    beyond: list[str]


@dataclass
class Curves:
    """Rows of curves: of signs of learning, of other numbers, and of label-free ones, which are folded away.

    names: of the numbers, without streams. bands: whether any shows where the verdict says "collapsed".
    """

    learning: list[list[Curve]]
    more: list[list[Curve]]
    spread: list[list[Curve]]
    names: set[str]
    bands: bool


Points = list[tuple[float, float]]


def draw(
    metrics: list[dict[str, Any]], constants: dict[str, float], table: list[dict[str, Any]], groups: int | None = None
) -> Curves | None:
    """One curve per number logged, the most telling first; None where there is none. groups: as of `signals`."""
    logged = dict.fromkeys(key for line in metrics for key in line if key not in ("step", "epoch", "seconds"))
    series = {
        key: [(line["step"], line[key]) for line in metrics if finite(line.get("step")) and finite(line.get(key))]
        for key in list(logged)[:MOST]
    }
    found = signals([key for key, points in series.items() if points], groups)
    if not found:
        return None
    learning, more = ([s for s in found if s.worth in kinds] for kinds in (("learning",), ("more", "machine")))
    if min(len(learning), len(more)) == 1:  # one alone would leave its row half empty
        learning, more = [*learning, *more], []
    more.sort(key=lambda signal: signal.worth == "machine")
    # Two points are no curve: they stand in the table of label-free numbers.
    spread = [s for s in found if s.worth == "spread" and len(series[s.name]) > 2]

    def rows(chosen: list[Signal], count: int, height: int) -> list[list[Curve]]:
        return [[curve(signal, len(row), height) for signal in row] for row in even_rows(chosen, count)]

    def curve(signal: Signal, beside: int, height: int) -> Curve:
        points = np.array(series[signal.name], dtype=float)
        base = points[:, 1] if signal.base is None else np.append(points[:, 1], signal.base)
        near, beyond = within_reach(levels(signal, constants, table), base)
        svg = _curve(signal, points, near, constants, (WIDTHS[beside], height))
        far = [f"{name} = {number(level)}" if signal.name == "loss" else name for name, level in beyond.items()]
        return Curve(signal.title, signal.write(series[signal.name][-1][1]), svg, far)

    return Curves(
        rows(learning, in_pairs(learning), TALL), rows(more, in_threes(more), LOW),
        rows(spread, in_threes(spread), LOW), {split(s.name)[1] for s in (*learning, *more)},
        any(bands(s.name, constants) for s in found),
    )  # fmt: skip


def _curve(
    signal: Signal, points: np.ndarray, near: dict[str, float], constants: dict[str, float], size: tuple[int, int]
) -> str:
    with figure_of(size, signal.name) as (figure, axes):
        dress(axes, signal.axis)
        steps, means = _plot(axes, points)
        draw_lines(axes, near, LEVEL)
        axes.margins(y=0.12 if near else 0.05)
        if signal.base is not None:
            low, high = axes.get_ylim()
            axes.set_ylim(min(signal.base, points[:, 1].min()), max(high, signal.base + 1e-9))
        low, high = axes.get_ylim()
        for (first, last), _ in bands(signal.name, constants):
            if first < high and last > low:
                axes.axhspan(max(first, low), min(last, high), color=OTHER, alpha=0.14, linewidth=0)
        axes.set_ylim(low, high)
        label_lines(figure, axes, near, steps, means, LEVEL)
        return inline(figure, signal.name)


def _plot(axes: Axes, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw the mean over buckets of steps, with the range of each bucket behind; gives steps and means."""
    buckets = np.array_split(points[np.argsort(points[:, 0], kind="stable")], min(len(points), BUCKETS))
    steps, means = np.array([bucket.mean(axis=0) for bucket in buckets]).T
    if len(points) > BUCKETS:
        lows, highs = (np.array([reduce(bucket[:, 1]) for bucket in buckets]) for reduce in (np.min, np.max))
        axes.fill_between(steps, lows, highs, color=ACCENT, alpha=0.18, linewidth=0)
    marker = "o" if len(points) <= 20 else None
    axes.plot(steps, means, color=ACCENT, linewidth=2, marker=marker, markersize=5, solid_capstyle="round")
    return steps, means
