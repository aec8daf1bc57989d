"""The order of samples is a function of (seed, epoch): not of ranks, workers or where a run was resumed."""

from unittest import mock

import pytest
import torch
from tiny import PICTURES, tiny_images

from semblance.data.pictures.images import Images
from semblance.engine.batches import batches
from semblance.runtime import random, ranks

PER_EPOCH = PICTURES // 15


def read(images: Images, start: int = 0, stop: int = 3 * PER_EPOCH, workers: int = 0, seed: int = 0) -> list:
    def order(epoch: int) -> torch.Tensor:
        return random.permutation(random.key(seed, epoch), PICTURES)

    return list(batches(images, order, batch_size=15, start=start, stop=stop, workers=workers, seed=seed))


def from_disk() -> Images:
    """The tiny pictures, decoded on demand."""
    memory = tiny_images()
    return Images("tiny", memory.canvas, memory.items, decode=lambda i, canvas: (memory.pixels[i], (canvas, canvas)))


def test_each_epoch_visits_a_sample_at_most_once_in_another_order() -> None:
    epochs = torch.stack([index for _, _, index in read(tiny_images())]).view(3, -1)
    for visits in epochs:
        assert len(visits.unique()) == len(visits) == PER_EPOCH * 15
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], read(tiny_images(), seed=1)[0][2])


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_batches_of_one(world: int) -> None:
    images = tiny_images()
    shares = []
    for rank in range(world):
        with mock.patch.object(ranks, "world", lambda rank=rank: (rank, world)):
            shares.append(read(images))
    for pixels, sizes, index, *parts in ((*whole, *parts) for whole, *parts in zip(read(images), *shares, strict=True)):
        assert torch.equal(torch.cat([p[0] for p in parts]), pixels)
        assert torch.equal(torch.cat([p[1] for p in parts]), sizes)
        assert all(torch.equal(p[2], index) for p in parts)
        assert torch.equal(images.pixels[index], pixels)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_keep_the_order(workers: int) -> None:
    for a, b in zip(read(tiny_images()), read(from_disk(), workers=workers), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("start", [1, PER_EPOCH, PER_EPOCH + 2, 3 * PER_EPOCH])
def test_a_resumed_run_sees_the_rest(start: int) -> None:
    rest, whole = read(tiny_images(), start=start), read(tiny_images())
    assert [i.tolist() for *_, i in rest] == [i.tolist() for *_, i in whole[start:]]


class Keys:
    """Samples that are the keys by which they are read, which draw windows and crops."""

    at_hand, skipped = True, []

    def __len__(self) -> int:
        return PICTURES

    def read(self, index: torch.Tensor, key: int) -> tuple[torch.Tensor]:
        return (torch.full_like(index, key),)


@pytest.mark.parametrize("start", [1, PER_EPOCH, PER_EPOCH + 2])
def test_a_resumed_run_reads_by_the_keys_of_its_steps(start: int) -> None:
    keys = [key[0].item() for key, _ in read(Keys())]  # type: ignore[arg-type]
    assert [key[0].item() for key, _ in read(Keys(), start=start)] == keys[start:]  # type: ignore[arg-type]
    assert keys == [random.key(0, "window", step) for step in range(3 * PER_EPOCH)]
