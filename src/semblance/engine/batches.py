"""The order of samples, and this rank's share of each batch."""

from collections.abc import Iterator
from itertools import tee

from torch import Tensor

from ..data.images import Images
from ..data.reading import read_ahead
from ..views import random
from .seam import own_rows

Batch = tuple[Tensor, Tensor, Tensor]  # uint8 canvases (b, 3, S, S), sizes (b, 2), dataset indices of the global batch


def order(n: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch visits n samples."""
    return random.permutation(random.key(seed, "order", epoch), n)


def batches(images: Images, *, batch_size: int, seed: int, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """Global batches number `start` to `stop` - 1 of an endless run over epochs; the last, incomplete one of each epoch
    is left out."""
    per_epoch = len(images) // batch_size

    def visits() -> Iterator[Tensor]:
        for epoch in range(start // per_epoch, -(-stop // per_epoch)):
            epochs_batches = order(len(images), seed, epoch).split(batch_size)[:per_epoch]
            yield from epochs_batches[max(0, start - epoch * per_epoch) : stop - epoch * per_epoch]

    chosen, ahead = tee(visits())
    shares = (index[own_rows(len(index))] for index in ahead)
    for (pixels, sizes), index in zip(read_ahead(images, shares, workers), chosen, strict=True):
        yield pixels, sizes, index
