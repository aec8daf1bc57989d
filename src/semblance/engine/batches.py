"""This rank's share of each batch, in the order that the method visits the samples."""

from collections.abc import Callable, Generator

from torch import Tensor

from semblance.data.loader import read_ahead
from semblance.data.samples import Reader
from semblance.runtime import random
from semblance.runtime.ranks import own_rows

Batch = tuple[Tensor, ...]  # raw tensors of this rank's samples, then the dataset indices of the global batch


def batches(
    samples: Reader, order: Callable[[int], Tensor], *, batch_size: int, start: int, stop: int, workers: int,
    seed: int, purpose: str = "window",
) -> Generator[Batch, None, None]:  # fmt: skip
    """This rank's share of batches `start` to `stop` - 1, numbered across epochs; incomplete last ones are left out.

    order: an epoch's dataset indices, called when its first batch is due. seed: for random choices in reading, whose
    keys are of (seed, purpose, step).
    """
    per_epoch = len(samples) // batch_size
    for epoch in range(start // per_epoch, -(-stop // per_epoch)):
        visits = order(epoch).split(batch_size)[:per_epoch]
        first = max(0, start - epoch * per_epoch)
        visits = visits[first : stop - epoch * per_epoch]
        shares = [
            (index[own_rows(len(index))], random.key(seed, purpose, step))
            for step, index in enumerate(visits, epoch * per_epoch + first)
        ]
        for raw, index in zip(read_ahead(samples, shares, workers), visits, strict=True):
            yield *raw, index
