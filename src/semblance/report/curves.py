"""Curves over training steps as inline SVG that takes its colours and fonts from the page."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from semblance.report.levels import draw_levels, within_reach
from semblance.report.words import finite, number, percent
from semblance.shown import shown

# Drawn in stand-in colours, replaced by the page's own, so that curves follow light and dark.
INK, MUTED, GRID, CARD, ACCENT, LEVEL = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
_PAGE = {INK: "ink", MUTED: "muted", GRID: "grid", CARD: "card", ACCENT: "accent", LEVEL: "level"}
BUCKETS = 160
MOST = 100  # curves; methods log some ten
WIDE, NARROW = (470, 270), (330, 170)
_LAST = ("lr", "samples_per_second")


@dataclass
class Curve:
    """A drawing, what it shows, its last value written out, and the levels too far off to be drawn."""

    name: str
    last: str
    svg: str
    wide: bool
    beyond: list[str]


def draw(metrics: list[dict[str, Any]], constants: dict[str, float], table: list[dict[str, Any]]) -> list[Curve]:
    """One curve per number logged: the loss with its named levels and the k-NN accuracy first."""
    logged = dict.fromkeys(key for line in metrics for key in line if key not in ("step", "epoch", "seconds"))
    keys = list(logged)[:MOST]
    first = [key for key in ("loss", "knn_top1") if key in keys]
    rest = [key for key in keys if key not in (*first, *_LAST)] + [key for key in _LAST if key in keys]
    levels = {"loss": constants, "knn_top1": _baselines(table)}
    curves = []
    for key in (*first, *rest):
        points = [(line["step"], line[key]) for line in metrics if finite(line.get("step")) and finite(line.get(key))]
        if not points:
            continue
        write = percent if key == "knn_top1" else number
        title = {"knn_top1": "k-NN accuracy", "lr": "learning rate"}.get(key, key.replace("_", " "))
        near, beyond = within_reach(levels.get(key, {}), np.array([value for _, value in points]))
        svg = _curve(key, np.array(points, dtype=float), near, key in first, write)
        far = [f"{name} = {number(level)}" for name, level in beyond.items()]
        curves.append(Curve(title, write(points[-1][1]), svg, key in first, far))
    return curves


def _baselines(table: list[dict[str, Any]]) -> dict[str, float]:
    rows = [row for row in table if finite(row.get("knn_top1")) and not row["encoder"].startswith("trained")]
    return {f"{row['encoder']}: {percent(row['knn_top1'])}": row["knn_top1"] for row in rows}


def _curve(key: str, points: np.ndarray, levels: dict[str, float], wide: bool, write: Callable[[Any], str]) -> str:
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": shown(key), "font.size": 11.5}):
        width, height = WIDE if wide else NARROW
        # At 72 dots per inch a point is a pixel and a unit of the drawing.
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        _dress(axes, write)
        steps, means = _plot(axes, points)
        draw_levels(figure, axes, levels, steps, means, LEVEL)
        return _inline(figure, key)


def _dress(axes: Axes, write: Callable[[Any], str]) -> None:
    axes.patch.set_alpha(0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    scale, sign = (100, "%") if write is percent else (1, "")
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: _even(scale * value, scale * np.array(axes.get_yticks())) + sign)
    )


def _even(value: float, ticks: np.ndarray) -> str:
    """A number with as many decimals as all ticks need, so that even spacing reads as even."""
    near = 1e-3 * np.ptp(ticks)
    decimals = next((d for d in range(12) if (np.abs(ticks.round(d) - ticks) <= near).all()), 12)
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


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


def _inline(figure: Figure, key: str) -> str:
    """The figure as an <svg> element without metadata, fixed size, fixed fonts or names that another could have."""
    prefix = re.sub(r"\W", "-", key)
    buffer = StringIO()
    figure.savefig(buffer, format="svg")
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', svg, count=1)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|href="#|url\(#)', lambda match: f"{match[0]}{prefix}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    return re.sub("|".join(_PAGE), lambda match: f"var(--{_PAGE[match[0]]})", svg)
