"""What all data sets have in common: samples to read, their labels, and a training and a held-out part."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from semblance.runtime import random

Skipped = list[tuple[str, str]]  # (name, reason) of files that could not be read
UNKNOWN = -1  # the class of a sample without a label


@dataclass
class Attribute:
    """One kind of label, for evaluation only: the class of each sample, int64 (N,), UNKNOWN where it has none, and the
    classes' names."""

    values: Tensor
    classes: list[str]

    @property
    def names(self) -> list[str]:
        """The name of each sample's class; "" where it has none."""
        return [self.classes[value] if value != UNKNOWN else "" for value in self.values.tolist()]

    @property
    def known(self) -> Tensor:
        """Whether each sample has a label: bool (N,)."""
        return self.values != UNKNOWN


class Reader(Protocol):
    """What batches are read from."""

    def __len__(self) -> int: ...

    @property
    def at_hand(self) -> bool:
        """Whether reading costs next to nothing, so that no workers are needed for it."""

    @property
    def skipped(self) -> Skipped:
        """The files found unreadable so far."""

    def read(self, index: Sequence[int] | Tensor, key: int | None = None) -> tuple[Tensor, ...]:
        """Raw tensors, which views are made of; the first axis of each is the sample.

        key: fixes the window drawn where a sample is longer than a view; without it, the window is always the same.
        """


class Samples(Reader, Protocol):
    """A set of samples: pictures (data/pictures/images.py), clips (data/clips/clips.py), or your own."""

    name: str
    items: Sequence[Any]
    attributes: dict[str, Attribute]

    @property
    def canvas(self) -> int | None:
        """Side in pixels at which pictures are kept; None for samples without pictures."""

    @property
    def readable(self) -> Tensor:
        """Indices of the samples whose own files are readable: int64 (n,)."""

    def fingerprint(self) -> str:
        """A hash of the samples' names in order."""

    def subset(self, index: Tensor) -> Any:
        """The samples of the given indices as a set of their own."""


S = TypeVar("S", bound=Samples)


@dataclass
class Source(Generic[S]):
    """Samples to train on and, where some are held out, those to evaluate on.

    notes: what a person should know of how the data was understood, in sentences.
    """

    train: S
    test: S | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def divided(cls, whole: Any, held: Tensor, notes: Sequence[str] = ()) -> "Source[S]":
        """A set in two parts; held: bool (N,), those held out."""
        train, test = (whole.subset(chosen.nonzero()[:, 0]) for chosen in (~held, held))
        return cls(train, test, list(notes))

    @property
    def held_out(self) -> S:
        """The held-out samples, or those to train on where nothing is held out."""
        return self.train if self.test is None else self.test

    @property
    def attributes(self) -> list[str]:
        """The labels that samples of both parts have, of at least two classes: those to measure accuracy on."""
        parts = (self.train.attributes, self.test.attributes if self.test is not None else {})
        return [n for n in parts[0] if all(n in p and len(p[n].classes) > 1 and bool(p[n].known.any()) for p in parts)]

    def sampled(self, most: int) -> "Source[S]":
        """At most so many samples to train on, and a fifth as many held-out ones, to measure on; all of them for 0."""
        if not most:
            return self
        test = None if self.test is None else _sample(self.test, -(-most // 5))
        return Source(_sample(self.train, most), test)

    @property
    def skipped(self) -> Skipped:
        """The unreadable files of either part."""
        return list(dict.fromkeys(self.train.skipped + (self.test.skipped if self.test is not None else [])))


def _sample(samples: Any, most: int) -> Any:
    """A fixed sample in which every class, of the first thing that samples are labelled by, has its share."""
    if len(samples) <= most:
        return samples
    order = random.permutation(random.key(0, "sample"), len(samples))
    label = next(iter(samples.attributes.values()), None)
    if label is None:
        return samples.subset(order[:most].sort().values)
    order = order[label.values[order].argsort(stable=True)]  # a class after the other
    counts = (label.values - UNKNOWN).bincount()
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    share = (torch.arange(len(order)) - starts) / counts.repeat_interleave(counts)
    share[~label.known[order]] += 1  # samples without a label measure nothing
    return samples.subset(order[share.argsort(stable=True)[:most]].sort().values)


def reason(error: OSError | ValueError) -> str:
    """Why a file cannot be read, without its path."""
    return getattr(error, "strerror", None) or str(error)
