"""Named levels: labelled horizontal lines across a curve."""

import textwrap
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from semblance.shown import shown

Levels = dict[str, float]


def within_reach(levels: Levels, values: np.ndarray) -> tuple[Levels, Levels]:
    """The finite levels near enough not to flatten a curve through `values`, and the others; highest first."""
    reach = max(5 * np.ptp(values), np.abs(values).max())
    low, high = values.min() - reach, values.max() + reach
    ordered = sorted((item for item in levels.items() if np.isfinite(item[1])), key=lambda item: -item[1])
    near = {name: level for name, level in ordered if low <= level <= high}
    return near, {name: level for name, level in ordered if name not in near}


def draw_lines(axes: Axes, levels: Levels, colour: str) -> None:
    """Draw the lines alone."""
    for level in levels.values():
        axes.axhline(level, color=colour, linewidth=1.2, dashes=(5, 3))


def label_lines(figure: Figure, axes: Axes, levels: Levels, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Write the names on axes that are as they shall be, where each covers no other and least of the curve (steps,
    values)."""
    if not levels:
        return
    style: dict[str, Any] = {
        "color": colour,
        "va": "bottom",
        "transform": axes.transAxes,
        "in_layout": False,
        "parse_math": False,
    }
    wide = round(figure.bbox.width / 9)  # letters
    texts = [axes.text(0, 0, textwrap.fill(shown(name), wide), **style) for name in levels]
    figure.draw_without_rendering()  # fixes the layout, so that what follows can be measured

    frame = axes.get_window_extent()
    columns = np.arange(frame.x0, frame.x1)
    curve = np.interp(columns, *axes.transData.transform(np.column_stack([steps, values])).T)
    lines = axes.transData.transform([(0, level) for level in levels.values()])[:, 1]
    taken: list[Bbox] = []

    def cost(box: Bbox) -> tuple[float, float, float]:
        hidden = (columns >= box.x0) & (columns <= box.x1) & (curve >= box.y0 - 2) & (curve <= box.y1 + 2)
        crossed = (lines > box.y0 - 2) & (lines < box.y1 + 2)
        outside = max(0.0, box.y1 - frame.y1) + max(0.0, frame.y0 - box.y0)
        return box.count_overlaps(taken), outside, hidden.sum() + 20 * crossed.sum()

    for text, line in zip(texts, lines, strict=True):
        width, height = text.get_window_extent().size
        lefts: dict[Literal["left", "center", "right"], float]
        lefts = {"right": frame.x1 - width, "left": frame.x0, "center": (frame.x0 + frame.x1 - width) / 2}
        bottoms = [y for row in range(4) for y in (line + 3 + row * height, line - 3 - (row + 1) * height)]
        places = [(Bbox.from_bounds(x, y, width, height), side) for y in bottoms for side, x in lefts.items()]
        box, side = min(places, key=lambda place: cost(place[0]))
        taken.append(box)
        anchor = {"right": box.x1, "left": box.x0, "center": (box.x0 + box.x1) / 2}[side]
        text.set_horizontalalignment(side)
        x, y = axes.transAxes.inverted().transform((anchor, box.y0))
        text.set_position((x, y))
