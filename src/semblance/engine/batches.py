"""The order of samples, and the batches of this rank from memory or from worker processes."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..data.images import Images
from ..views import random
from .seam import own_rows

Batch = tuple[Tensor, Tensor, Tensor]  # uint8 canvases (b, 3, S, S), sizes (b, 2), dataset indices of the global batch


def order(n: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch visits n samples."""
    return random.permutation(random.key(seed, "order", epoch), n)


class _Batches(torch.utils.data.Dataset):
    """Item i is this rank's share of global batch i; whole batches keep memory reads together."""

    def __init__(self, images: Images, index: list[Tensor]) -> None:
        self.images, self.index = images, index
        self.rows = [own_rows(len(i)) for i in index]  # here, since worker processes know no ranks

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[Batch, list[tuple[str, str]]]:
        pixels, sizes = self.images.read(self.index[i][self.rows[i]])
        return (pixels, sizes, self.index[i]), self.images.skipped


def batches(images: Images, *, batch_size: int, seed: int, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """Global batches number `start` to `stop` - 1 of an endless run over epochs; the last, incomplete one of each epoch
    is left out. Pictures in memory are indexed here; others are decoded by `workers` processes, in the same order."""
    per_epoch = len(images) // batch_size
    for epoch in range(start // per_epoch, -(-stop // per_epoch)):
        visits = order(len(images), seed, epoch).split(batch_size)[:per_epoch]
        chosen = visits[max(0, start - epoch * per_epoch) : stop - epoch * per_epoch]
        dataset = _Batches(images, list(chosen))
        if images.pixels is not None or workers == 0:
            yield from (dataset[i][0] for i in range(len(dataset)))
        else:
            for batch, skipped in DataLoader(dataset, batch_size=None, num_workers=workers, prefetch_factor=4):
                images.skipped += [s for s in skipped if s not in images.skipped]
                yield batch
