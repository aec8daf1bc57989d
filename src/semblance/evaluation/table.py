"""How features are measured: kNN and linear accuracy on labelled samples."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from semblance.data.samples import Samples, Source
from semblance.evaluation.knn import knn, leave_one_out
from semblance.evaluation.linear import LinearProbe, linear_probe

NEIGHBOURS, TEMPERATURE = 200, 0.1  # of Wu et al. 2018 on CIFAR-10
AMONG = 5000  # training samples that are compared with each other


@dataclass
class Embedded:
    """Frozen features (N, F) of N samples by stream ("pictures", "video", "audio") and, for clips, unit embeddings
    (N, D) by stream in one space; float32 on the CPU."""

    features: dict[str, Tensor] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Labelled:
    """Features of training (N, F) and held-out samples (M, F), the class of each, and the number of classes."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int

    @classmethod
    def of(cls, train: Tensor, test: Tensor, source: Source[Any], attribute: str) -> "Labelled":
        """The readable samples of both parts that have the label; on a GPU where they fit."""
        assert source.test is not None
        found = [*_readable(train, source.train, attribute), *_readable(test, source.test, attribute)]
        fits = torch.cuda.is_available() and 4 * sum(t.nbytes for t in found) < _free()
        rows = [t.cuda() for t in found] if fits else found
        return cls(rows[0], rows[1], rows[2], rows[3], len(source.train.attributes[attribute].classes))

    def knn_top1(self, k: int | None = None, temperature: float | None = None) -> float:
        """Top-1 accuracy in [0, 1] of the weighted kNN; k: 200, or a tenth of the training samples where those are few;
        temperature: 0.1."""
        predicted = knn(
            self.train, self.train_labels, self.test, classes=self.classes,
            k=k or neighbours_of(len(self.train)), temperature=temperature or TEMPERATURE,
        )  # fmt: skip
        return (predicted == self.test_labels).double().mean().item()

    def leave_one_out(self, k: int | None = None, temperature: float | None = None) -> float:
        """The same of training samples among each other, 5,000 of them at most: no held-out one is looked at."""
        step = -(-len(self.train) // AMONG)
        rows, labels = self.train[::step], self.train_labels[::step]
        predicted = leave_one_out(
            rows, labels, classes=self.classes, k=k or neighbours_of(len(rows)), temperature=temperature or TEMPERATURE
        )
        return (predicted == labels.to(predicted.device)).double().mean().item()

    def linear(self, **settings: Any) -> LinearProbe:
        """The linear probe; settings are those of linear_probe."""
        return linear_probe(
            self.train, self.train_labels, self.test, self.test_labels, classes=self.classes, **settings
        )


def neighbours_of(samples: int) -> int:
    """How many of so many training samples vote, unless it is said."""
    return min(NEIGHBOURS, max(1, samples // 10))


def _readable(features: Tensor, samples: Samples, attribute: str) -> tuple[Tensor, Tensor]:
    kept, labels = labelled(samples, attribute), samples.attributes[attribute].values
    return (features, labels) if len(kept) == len(samples) else (features[kept], labels[kept])


def labelled(samples: Samples, attribute: str) -> Tensor:
    """Indices of the readable samples that have the label: int64 (n,)."""
    kept = samples.readable
    return kept[samples.attributes[attribute].known[kept]]


def _free() -> int:
    """Bytes that a GPU has left, what torch keeps for later use among them."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0]
