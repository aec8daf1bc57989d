"""Worker processes read ahead."""

import gc
import os

import torch
from torch import Tensor

from semblance.data.loader import read_ahead


class Garbage:
    """Ends a process that frees it and did not make it, where FFmpeg's would wait for threads that are not there."""

    def __init__(self) -> None:
        self.itself, self.maker = self, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.maker:
            os._exit(1)


class Collecting:
    """Samples whose reading collects garbage."""

    at_hand = False
    skipped: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return 3

    def read(self, index: Tensor, key: int | None = None) -> tuple[Tensor]:
        gc.collect()
        return (index,)


def test_workers_do_not_free_the_garbage_of_their_parent() -> None:
    gc.disable()
    try:
        Garbage()
        read = list(read_ahead(Collecting(), [(torch.arange(3), None)], workers=1))
    finally:
        gc.enable()
    assert torch.equal(read[0][0], torch.arange(3))
    assert gc.get_freeze_count() == 0
