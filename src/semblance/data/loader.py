"""Reading batches of samples ahead of their use."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from semblance.data.samples import Reader, Skipped
from semblance.runtime.device import send_raw
from semblance.runtime.ranks import gather, own_rows

T = TypeVar("T")
Raw = tuple[Tensor, ...]
Request = tuple[Tensor, int | None]  # indices, and the key for random choices in reading
PART = 500  # samples embedded at once, over all ranks
PIECE = 64  # pictures that a worker decodes at once: memory may not hold several whole batches


class _Pieces(Dataset):
    """The samples of some indices, with the files found unreadable on the way."""

    def __init__(self, samples: Reader) -> None:
        self.samples = samples

    def __getitem__(self, request: Request) -> tuple[Raw, Skipped]:
        return self.samples.read(*request), self.samples.skipped


def _as_it_is(item: T) -> T:
    return item


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ignore them: a signal to all processes of a run lets the trainer save first, which needs its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def read_ahead(samples: Reader, requests: Iterable[Request], workers: int) -> Iterator[Raw]:
    """samples.read of each batch of indices in turn: from memory, or decoded by worker processes in the same order."""
    if samples.at_hand or workers == 0:
        yield from (samples.read(index, key) for index, key in requests)
        return
    counts: deque[int] = deque()  # pieces of each batch handed out

    def pieces() -> Iterator[Request]:
        for index, key in requests:
            parts = index.split(PIECE)
            counts.append(len(parts))
            yield from ((part, key) for part in parts)

    loader = DataLoader(
        _Pieces(samples),
        batch_size=None,
        sampler=pieces(),
        num_workers=workers,
        prefetch_factor=4,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_signals_to_the_parent,
    )
    read: list[Raw] = []
    for piece, skipped in loader:
        samples.skipped.extend(s for s in skipped if s not in samples.skipped)  # the workers' lists are copies
        read.append(piece)
        if len(read) == counts[0]:
            counts.popleft()
            yield tuple(torch.cat(parts) for parts in zip(*read, strict=True))
            read.clear()


@torch.no_grad()
def in_parts(
    samples: Reader, embed: Callable[[Sequence[Tensor], Tensor], Tensor], device: torch.device, workers: int,
    track: Callable[[Sequence[Tensor]], Iterable[Tensor]] = iter, order: Tensor | None = None, key: int | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """`embed` of every sample, part by part: the rows of each part, on the device.

    embed: from the raw tensors and indices of some samples to one row each. order: the indices of all samples (N,), by
    default 0 to N - 1. key: for random choices in reading. Ranks share the work, so all of them must call this; each
    gets all rows.
    """
    order = torch.arange(len(samples)) if order is None else order
    parts = order.tensor_split(-(-len(order) // PART))
    own: list[Request] = [(part[own_rows(len(part))], key) for part in parts]
    for part, (index, _), raw in zip(track(parts), own, read_ahead(samples, own, workers), strict=True):
        yield gather(embed(send_raw(raw, device), index), len(part))


def joined(parts: Iterator[Tensor], count: int) -> Tensor:
    """The rows of all parts, `count` in all, on the CPU; joined as they come, so that they are never held twice."""
    first = next(parts)
    found = torch.empty(count, *first.shape[1:], dtype=first.dtype)
    at = 0
    for part in chain([first], parts):
        found[at : at + len(part)] = part
        at += len(part)
    return found
