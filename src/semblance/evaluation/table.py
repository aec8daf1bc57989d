"""The table of a run: kNN and linear accuracy of raw pixels, the untrained and the trained backbone."""

from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..data.images import Images, Source
from .knn import knn
from .linear import linear_probe

NEIGHBOURS, TEMPERATURE = 200, 0.1  # of Wu et al. 2018 on CIFAR-10; a tenth of the gallery where that is smaller


def labelled(source: Source) -> bool:
    """Whether there is something to measure accuracy on."""
    return source.test is not None and source.test.labels is not None and len(source.train.classes) > 1


def knn_accuracy(train: Tensor, test: Tensor, source: Source) -> float:
    """Top-1 accuracy in [0, 1] of the weighted kNN on features of the two splits of a labelled source."""
    x, y = _labels(source)
    k = min(NEIGHBOURS, max(1, len(train) // 10))
    predicted = knn(train, x, test, classes=len(source.train.classes), k=k, temperature=TEMPERATURE)
    return (predicted == y).float().mean().item()


def row(encoder: str, train: Tensor, test: Tensor, source: Source) -> dict[str, Any]:
    """One line of the table: features of the two splits to accuracies in [0, 1]."""
    x, y = _labels(source)
    probe = linear_probe(train, x, test, y, classes=len(source.train.classes))
    return {
        "encoder": encoder, "knn_top1": knn_accuracy(train, test, source), "linear_top1": probe.top1,
        "linear_mean_per_class": probe.mean_per_class,
        "probe": {"lr": probe.lr, "weight_decay": probe.weight_decay},
    }  # fmt: skip


def _labels(source: Source) -> tuple[Tensor, Tensor]:
    assert labelled(source) and source.test is not None
    return source.train.labels, source.test.labels  # type: ignore[return-value]


def held_out(source: Source) -> Images:
    """Held-out pictures, or the training pictures where nothing is held out."""
    return source.test if source.test is not None else source.train


def print_table(table: list[dict[str, Any]], test_images: int) -> None:
    """The table as a person wants to see it."""
    shown = Table("encoder", "kNN %", "linear %", title=f"{test_images:,} held-out pictures")
    for line in table:
        shown.add_row(line["encoder"], f"{100 * line['knn_top1']:.1f}", f"{100 * line['linear_top1']:.1f}")
    Console().print(shown)
