"""What a method logs of its own batches: groups in use, entropy and agreement of a teacher, deviation of embeddings."""

from collections.abc import Sequence
from typing import Any

import torch

from semblance.evaluation.evidence import finite
from semblance.evaluation.label_free.interval import interval

END, FEWEST = 0.2, 4  # of the steps; lines there, at least
_OF_THE_RUN = {"step", "epoch", "seconds", "samples_per_second", "lr"}


def at_the_end(lines: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Means over the last fifth of a log, each as [value, low, high], a 95 % interval over its batches.

    lines: of metrics.jsonl. {} where there are fewer than four lines of training in that fifth.
    """
    trained = [line for line in lines if finite(line.get("loss"))]
    end = [line for line in trained if line["step"] > (1 - END) * trained[-1]["step"]]
    names = [name for name in (end[0] if len(end) >= FEWEST else {}) if name not in _OF_THE_RUN]
    return {
        name: list(interval(lambda rows: rows.mean().item(), torch.tensor([line[name] for line in end]).double()))
        for name in names
        if all(finite(line.get(name)) for line in end)
    }
