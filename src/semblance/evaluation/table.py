"""The table of a run: kNN and linear accuracy of raw pixels, the untrained and the trained backbone."""

from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..data.images import Images, Skipped, Source
from .knn import knn
from .linear import linear_probe

NEIGHBOURS, TEMPERATURE = 200, 0.1  # of Wu et al. 2018 on CIFAR-10; a tenth of the gallery where that is smaller


def labelled(source: Source) -> bool:
    """Whether there is something to measure accuracy on."""
    parts = (source.train, source.test)
    return all(part is not None and part.labels is not None and len(part.classes) > 1 for part in parts)


def knn_accuracy(train: Tensor, test: Tensor, source: Source) -> float:
    """Top-1 accuracy in [0, 1] of the weighted kNN on features of the two splits of a labelled source."""
    train, x, test, y = _measurable(train, test, source)
    k = min(NEIGHBOURS, max(1, len(train) // 10))
    predicted = knn(train, x, test, classes=len(source.train.classes), k=k, temperature=TEMPERATURE)
    return (predicted == y).float().mean().item()


def row(encoder: str, train: Tensor, test: Tensor, source: Source) -> dict[str, Any]:
    """One line of the table: features of the two splits to accuracies in [0, 1]."""
    probe = linear_probe(*_measurable(train, test, source), classes=len(source.train.classes))
    return {
        "encoder": encoder, "knn_top1": knn_accuracy(train, test, source), "linear_top1": probe.top1,
        "linear_mean_per_class": probe.mean_per_class,
        "probe": {"lr": probe.lr, "weight_decay": probe.weight_decay},
    }  # fmt: skip


def _measurable(train: Tensor, test: Tensor, source: Source) -> list[Tensor]:
    """Features and labels of the training and of the held-out pictures that could be read; on a GPU where they fit."""
    found = []
    for features, images in ((train, source.train), (test, source.test)):
        assert images is not None and images.labels is not None
        found += [features[images.readable], images.labels[images.readable]]
    fits = torch.cuda.is_available() and 4 * sum(t.nbytes for t in found) < torch.cuda.mem_get_info()[0]
    return [t.cuda() for t in found] if fits else found


def held_out(source: Source) -> Images:
    """Held-out pictures, or the training pictures where nothing is held out."""
    return source.test if source.test is not None else source.train


def print_table(table: list[dict[str, Any]], test_images: int) -> None:
    """The table as a person wants to see it."""
    shown = Table("encoder", "kNN %", "linear %", title=f"{test_images:,} held-out pictures")
    for line in table:
        shown.add_row(line["encoder"], f"{100 * line['knn_top1']:.1f}", f"{100 * line['linear_top1']:.1f}")
    Console().print(shown)


def print_notes(source: Source) -> None:
    """How the data was understood, where a person may not expect it."""
    console = Console(stderr=True)
    for note in source.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    if not labelled(source):
        console.print("Without labels on both parts no accuracy is measured.")


def print_skipped(skipped: Skipped) -> None:
    """Name the files that could not be read."""
    if skipped:
        named = [f"  {name}: {why}" for name, why in skipped]
        Console().print(
            f"{len(skipped)} unreadable files were skipped:", *named, sep="\n", markup=False, highlight=False
        )
