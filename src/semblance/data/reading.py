"""Reading batches of pictures ahead of their use."""

from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .images import Images

Skipped = list[tuple[str, str]]


class _Batches(Dataset):
    """Item i is the i-th of some batches of one set, with the files found unreadable on the way."""

    def __init__(self, images: Images, index: Sequence[Tensor]) -> None:
        self.images, self.index = images, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[tuple[Tensor, Tensor], Skipped]:
        return self.images.read(self.index[i]), self.images.skipped


def read_ahead(images: Images, index: Sequence[Tensor], workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """images.read of each batch of indices in turn: from memory, or decoded by worker processes in the same order."""
    batches = _Batches(images, index)
    if images.pixels is not None or workers == 0:
        yield from (images.read(i) for i in index)
        return
    for batch, skipped in DataLoader(batches, batch_size=None, num_workers=workers, prefetch_factor=4):
        images.skipped += [s for s in skipped if s not in images.skipped]  # the workers' lists are copies
        yield batch
