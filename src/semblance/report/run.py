"""What the report of a run is made of: its metrics, a sheet of its views, and held-out pictures with their features."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import TrainConfig
from ..data.images import Images
from ..engine.folder import RunFolder
from ..views.view import MEAN, STD, make_views
from . import Gallery, write_report

SHEET = 8  # pictures on the sheet of views


def run_report(
    folder: RunFolder, config: TrainConfig, summary: dict[str, Any], constants: dict[str, float], train: Images,
    shown: Images, vectors: Tensor,
) -> None:  # fmt: skip
    """Write report.html of a run. shown: held-out pictures, vectors: their features (N, D)."""
    pictures, _ = shown.read(range(len(shown)))
    last = {"step": summary["steps"], "knn_top1": summary.get("knn_top1")}
    write_report(
        folder.report,
        config=config.model_dump(),
        metrics=[*folder.read_metrics(), last],
        summary=summary,
        constants=constants,
        views=sheet(config, train),
        gallery=Gallery(pictures, vectors, shown.labels, shown.classes),
    )


def sheet(config: TrainConfig, images: Images) -> Tensor:
    """A few pictures and their views of the first epoch: uint8 (n, 1 + V, 3, S, S), small crops on a grey ground."""
    index = torch.arange(min(SHEET, len(images)))
    pictures, sizes = images.read(index)
    views = make_views(config.views, (pictures, sizes), index, seed=config.seed, step=0)
    side = max(view.shape[-1] for view in views)
    mean, std = (torch.tensor(c)[:, None, None] for c in (MEAN, STD))
    original = F.interpolate(pictures / 255, (side, side), mode="bilinear", antialias=True)
    cells = [original]
    for view in views:
        gap = side - view.shape[-1]
        cells.append(F.pad(view * std + mean, (gap // 2, gap - gap // 2) * 2, value=0.5))
    return (torch.stack(cells, 1).clamp(0, 1) * 255).round().to(torch.uint8)
