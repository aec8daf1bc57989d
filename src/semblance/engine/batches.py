"""This rank's share of each batch, in the order that the method visits the samples."""

from collections.abc import Callable, Iterator

from torch import Tensor

from ..data.images import Images
from ..data.reading import read_ahead
from ..ranks import own_rows

Batch = tuple[Tensor, Tensor, Tensor]  # uint8 canvases (b, 3, S, S), sizes (b, 2), dataset indices of the global batch


def batches(
    images: Images, order: Callable[[int], Tensor], *, batch_size: int, start: int, stop: int, workers: int
) -> Iterator[Batch]:
    """Global batches number `start` to `stop` - 1 of an endless run over epochs; the last, incomplete one of each epoch
    is left out.

    order: indices of an epoch's samples, asked for when its first batch is.
    """
    per_epoch = len(images) // batch_size
    for epoch in range(start // per_epoch, -(-stop // per_epoch)):
        visits = order(epoch).split(batch_size)[:per_epoch]
        visits = visits[max(0, start - epoch * per_epoch) : stop - epoch * per_epoch]
        shares = [index[own_rows(len(index))] for index in visits]
        for (pixels, sizes), index in zip(read_ahead(images, shares, workers), visits, strict=True):
            yield pixels, sizes, index
