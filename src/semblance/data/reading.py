"""Reading batches of pictures ahead of their use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..ranks import gather, own_rows
from .images import Images, Skipped

T = TypeVar("T")
PART = 500  # pictures embedded at once, over all ranks
PIECE = 64  # pictures that a worker decodes at once: a whole batch may be more than memory should hold several times


class _Pieces(Dataset):
    """The pictures of some indices, with the files found unreadable on the way."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __getitem__(self, index: Tensor) -> tuple[tuple[Tensor, Tensor], Skipped]:
        return self.images.read(index), self.images.skipped


def _as_it_is(item: T) -> T:
    return item


def read_ahead(images: Images, index: Iterable[Tensor], workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """images.read of each batch of indices in turn: from memory, or decoded by worker processes in the same order."""
    if images.pixels is not None or workers == 0:
        yield from (images.read(i) for i in index)
        return
    counts: deque[int] = deque()  # pieces of each batch handed out

    def pieces() -> Iterator[Tensor]:
        for batch in index:
            parts = batch.split(PIECE)
            counts.append(len(parts))
            yield from parts

    loader = DataLoader(
        _Pieces(images), batch_size=None, sampler=pieces(), num_workers=workers, prefetch_factor=4, collate_fn=_as_it_is
    )
    read: list[tuple[Tensor, Tensor]] = []
    for piece, skipped in loader:
        images.skipped += [s for s in skipped if s not in images.skipped]  # the workers' lists are copies
        read.append(piece)
        if len(read) == counts[0]:
            counts.popleft()
            pixels, sizes = zip(*read, strict=True)
            yield torch.cat(pixels), torch.cat(sizes)
            read.clear()


@torch.no_grad()
def in_parts(
    images: Images, embed: Callable[[Tensor, Tensor, Tensor], Tensor], device: torch.device, workers: int,
    track: Callable[[Sequence[Tensor]], Iterable[Tensor]] = iter,
) -> Iterator[Tensor]:  # fmt: skip
    """`embed` of every picture, a part of them after the other: their rows, on the device.

    embed: canvases, sizes and indices of some pictures to one row each. Ranks share the work, so all of them must
    call this; each gets all rows.
    """
    parts = torch.arange(len(images)).tensor_split(-(-len(images) // PART))
    own = [part[own_rows(len(part))] for part in parts]
    for part, index, (pixels, sizes) in zip(track(parts), own, read_ahead(images, own, workers), strict=True):
        yield gather(embed(pixels.to(device), sizes.to(device), index.to(device)), len(part))
