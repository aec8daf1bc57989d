"""Drawings as inline SVG that take their colours and fonts from the page."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from semblance.report.words import percent
from semblance.shown import shown

# Drawn in stand-in colours, replaced by the page's own, so that curves follow light and dark.
INK, MUTED, GRID, CARD, ACCENT, LEVEL, OTHER = (f"#01010{n}" for n in range(1, 8))
_PAGE = {
    INK: "ink", MUTED: "muted", GRID: "grid", CARD: "card", ACCENT: "accent", LEVEL: "level", OTHER: "other"
}  # fmt: skip


@contextmanager
def figure_of(size: tuple[int, int], name: str) -> Iterator[tuple[Figure, Axes]]:
    """A figure of so many pixels, width and height, with axes, within the settings that `inline` needs."""
    font = 12.5 if size[1] > 200 else 11.5
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": shown(name), "font.size": font}):
        # At 72 dots per inch a point is a pixel and a unit of the drawing.
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72, layout="constrained")
        figure.patch.set_alpha(0)
        yield figure, figure.add_subplot()


def dress(axes: Axes, write: Callable[[Any], str]) -> None:
    """Lines and ticks of the page's look; write: percent for an axis of shares."""
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


def inline(figure: Figure, key: str) -> str:
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
