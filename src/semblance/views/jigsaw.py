"""The jigsaw view of PIRL: a patch from each cell of a grid, shuffled."""

import torch
from torch import Tensor

from semblance.runtime import random
from semblance.runtime.device import send


def cut(pictures: Tensor, grid: int, size: int, index: Tensor, key: int | Tensor) -> Tensor:
    """A patch at a random place in each of grid x grid cells, shuffled for each picture separately.

    pictures: (N, C, S, S) with S a multiple of the grid; index: int64 (N,) on the CPU, which with `key` fixes every
    choice.
    Returns (N * grid^2, C, size, size), the patches of a picture one after another. As in facebookresearch/vissl:
    vissl/data/ssl_transforms/img_patches_tensor.py, where cells of 85 and patches of 64 px leave offsets of 0 to 20.
    """
    n, c, side, _ = pictures.shape
    cell, count = side // grid, grid**2
    cells = pictures.view(n, c, grid, cell, grid, cell).permute(0, 2, 4, 1, 3, 5).reshape(n, count, c, cell, cell)
    order = send(random.bits(random.key(key, "shuffle"), index, count).argsort(1), pictures.device)
    cells = cells[torch.arange(n, device=order.device)[:, None], order].flatten(0, 1)
    place = random.uniform(random.key(key, "patch"), index, 2 * count).view(-1, 2)
    start = send((place * max(1, cell - size)).long(), pictures.device)
    rows, columns = (s[:, None] + torch.arange(size, device=s.device) for s in start.unbind(1))
    cells = cells.gather(2, rows[:, None, :, None].expand(-1, c, -1, cell))
    return cells.gather(3, columns[:, None, None, :].expand(-1, c, size, -1))


def mosaic(patches: Tensor, grid: int) -> Tensor:
    """Patches put together: (N * grid^2, C, s, s) -> (N, C, grid * s, grid * s)."""
    _, c, s, _ = patches.shape
    return patches.view(-1, grid, grid, c, s, s).permute(0, 3, 1, 4, 2, 5).reshape(-1, c, grid * s, grid * s)


def pieces(mosaics: Tensor, grid: int) -> Tensor:
    """The patches of a mosaic, undoing `mosaic`: (N, C, S, S) -> (N * grid^2, C, S / grid, S / grid)."""
    n, c, side, _ = mosaics.shape
    s = side // grid
    return mosaics.reshape(n, c, grid, s, grid, s).permute(0, 2, 4, 1, 3, 5).reshape(n * grid**2, c, s, s)
