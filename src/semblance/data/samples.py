"""What the engine asks of a data set, whatever its samples are."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Samples(Protocol):
    """A set of samples: pictures (data/images.py) or clips (data/clips.py)."""

    name: str
    items: Sequence[Any]

    def __len__(self) -> int: ...

    @property
    def at_hand(self) -> bool:
        """Whether reading costs next to nothing, so that no workers are needed for it."""
        ...

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(name, reason) of the files found unreadable so far."""
        ...

    def fingerprint(self) -> str:
        """A hash of the samples' names in order."""
        ...

    def read(self, index: Sequence[int] | Tensor, key: int | None = None) -> tuple[Tensor, ...]:
        """Raw tensors, which views are made of; the first axis of each is the sample.

        key: fixes what is drawn where a sample is longer than a view; without, it is the same each time.
        """
        ...
