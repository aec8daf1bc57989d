"""The results of a run: the table, the backbone, the summary, the report."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from rich.console import Console

from .. import data as sources
from ..config import TrainConfig
from ..data.images import Images, Source
from ..errors import UserError
from ..evaluation.features import features, raw_pixels
from ..evaluation.table import held_out, knn_accuracy, print_skipped, print_table, row
from ..nets.export import save_backbone
from ..report.run import run_report
from ..systems import Method
from .folder import RunFolder
from .loop import Trained

console = Console(stderr=True)
SHOWN = 2000  # held-out pictures in the report, at most


def load(config: TrainConfig) -> Source:
    return sources.load(config.data, image_size=config.load_size, data_root=config.data_root, download=config.download)


def check(source: Source, config: TrainConfig) -> None:
    """A UserError where a batch is more than the pictures that can be read."""
    count = len(source.train.readable)
    if count < config.batch_size:
        remedy = f", or --batch-size {max(2, count // 4)}" if count > 1 else ""
        unreadable = f" ({len(source.skipped)} more cannot be read)" if source.skipped else ""
        raise UserError(
            f"{source.train.name} has {count} pictures to train on{unreadable}, fewer than a batch of "
            f"{config.batch_size}. Give more pictures{remedy}."
        )


def prepare(model: Method, source: Source, config: TrainConfig) -> None:
    """Backbones of pictures need to know nothing of the set."""


def watch(model: Method, source: Source, config: TrainConfig) -> dict[str, float]:
    """Numbers to log now and then."""
    return {"knn_top1": knn_accuracy(*table_features(model.backbone, source, config), source)}


def baseline(model: Method, source: Source, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Features by the untrained backbone."""
    return table_features(model.backbone, source, config)


def table_features(model: torch.nn.Module, source: Source, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the training and the held-out pictures."""
    pair = (source.train, held_out(source))
    train, test = (_features(model, images, config) for images in pair)
    return train, test


def _features(model: torch.nn.Module, images: Images, config: TrainConfig) -> torch.Tensor:
    return features(model, images, size=config.image_size, precision=config.precision, workers=config.workers)


def finish(
    model: Method, source: Source, config: TrainConfig, folder: RunFolder, trained: Trained,
    untrained: tuple[torch.Tensor, torch.Tensor] | None, started: float, *, leader: bool,
) -> dict[str, Any]:  # fmt: skip
    """Measure what was learnt, on all ranks; the leader leaves summary.json, report.html and the backbone."""
    save_backbone(folder.backbone, model.backbone, config.backbone, config.image_size)
    pictures = held_out(source)
    table = []
    if untrained is not None:
        with status("Measuring kNN and linear accuracy", leader):
            table = [
                row("raw pixels", *raw_pixels(source.train, pictures), source),
                row("untrained backbone", *untrained, source),
                row("trained backbone", *table_features(model.backbone, source, config), source),
            ]
    cls = type(model)
    summary: dict[str, Any] = {
        "method": config.method, "title": cls.title, "family": cls.family, "paper": cls.paper, "data": config.data,
        "backbone": config.backbone, "train_images": len(source.train.readable),
        "test_images": len(pictures.readable) if source.test is not None else 0, "steps": trained.step, "table": table,
        "samples_per_second": trained.step * config.batch_size / trained.seconds, "training_seconds": trained.seconds,
        "skipped": source.skipped,
    }  # fmt: skip
    if table:
        summary |= {name: table[-1][name] for name in ("knn_top1", "linear_top1")}
    shown = pictures.subset(pictures.readable[:: -(-len(pictures) // SHOWN)])
    vectors = _features(model.backbone, shown, config)
    if leader:
        with status("Drawing the report", leader):
            run_report(folder, config, summary, model.constants(config.batch_size), source.train, shown, vectors)
    summary["seconds"] = time.perf_counter() - started
    if leader:
        folder.write(folder.summary, summary)
        _print(summary, folder)
    return summary


def status(what: str, leader: bool) -> AbstractContextManager:
    return console.status(what) if leader else nullcontext()


def _print(summary: dict[str, Any], folder: RunFolder) -> None:
    """The result as a person wants to see it."""
    out = Console()
    if summary["table"]:
        print_table(summary["table"], summary["test_images"])
    print_skipped(summary["skipped"])
    out.print(
        f"{summary['samples_per_second']:,.0f} images/s; {summary['seconds']:.0f} s in all. "
        f"Look at {folder.report}; the backbone is {folder.backbone}.", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
