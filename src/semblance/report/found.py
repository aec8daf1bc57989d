"""How often the two halves of a clip find each other, beside chance: as a drawing and as a table."""

from typing import Any

import numpy as np
from torch import Tensor

from semblance.evaluation.retrieval import RANKS
from semblance.report.drawing import ACCENT, LEVEL, MUTED, dress, figure_of, inline
from semblance.report.words import at_chance, percent

WAYS = {"video_to_audio": ("a picture finds its sound", "-"), "audio_to_video": ("a sound finds its picture", "--")}


def recall_curve(ranks: dict[str, Tensor]) -> str:
    """The share found among the first k, for each k: a drawing with chance as a line of its own."""
    with figure_of((500, 270), "recall") as (figure, axes):
        dress(axes, percent)
        for (way, place), colour in zip(ranks.items(), (ACCENT, LEVEL), strict=True):
            count, (_, line) = len(place), WAYS[way]
            at = np.unique(np.linspace(1, count, min(count, 100)).round())
            found = [float((place <= k).double().mean()) for k in at]
            axes.plot(at, found, color=colour, linewidth=2, linestyle=line, solid_capstyle="round")
        axes.plot([1, count], [1 / count, 1], color=MUTED, linewidth=1.6, linestyle=":")
        axes.text(0.72 * count, 0.66, "chance", color=MUTED, va="top")
        axes.set_ylim(0, 1.02)
        return inline(figure, "recall")


Cells = list[tuple[str, bool]]


def retrieval_rows(retrieval: dict[str, Any], count: int) -> list[tuple[str, Cells, str]]:
    """Of each way, and of chance: shares found at each rank, with whether that is at chance, and the median rank."""
    chance = retrieval["chance"]
    return [
        (
            WAYS[way][0] if way in WAYS else way,
            [
                (percent(found[key]), way in WAYS and at_chance(found[key], chance[key], count))
                for key in (f"r{k}" for k in RANKS)
            ],
            f"{found['median_rank']:g}",
        )
        for way, found in retrieval.items()
    ]
