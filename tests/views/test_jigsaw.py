"""Patches of a jigsaw: one of each cell, within it, in an order and at places of their own."""

import torch

from semblance.views.jigsaw import cut, mosaic, pieces
from semblance.views.view import View

N, GRID, CELL, SIZE = 40, 3, 9, 6


def coordinates() -> torch.Tensor:
    """Pictures whose two channels are row and column."""
    side = torch.arange(GRID * CELL).float()
    return torch.stack(torch.meshgrid(side, side, indexing="ij")).expand(N, 2, -1, -1)


def test_each_patch_is_a_square_of_a_cell_of_its_own() -> None:
    patches = cut(coordinates(), GRID, SIZE, torch.arange(N), key=3)
    assert patches.shape == (N * GRID**2, 2, SIZE, SIZE)
    top_left = patches[:, :, :1, :1]
    steps = torch.stack(torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij"))
    assert torch.equal(patches, top_left + steps)
    cells = (top_left.flatten(1) // CELL).view(N, -1, 2)
    assert torch.equal(cells, (patches[:, :, -1, -1] // CELL).view(N, -1, 2))
    number = (cells[..., 0] * GRID + cells[..., 1]).long()
    assert torch.equal(number.sort(1).values, torch.arange(9).expand(N, 9))
    assert len(number.unique(dim=0)) > 30  # of orders
    offsets = top_left.flatten() % CELL
    assert set(offsets.tolist()) == {0.0, 1.0, 2.0}


def test_choices_belong_to_the_picture() -> None:
    whole = cut(coordinates(), GRID, SIZE, torch.arange(N), key=3).view(N, 9, 2, SIZE, SIZE)
    part = cut(coordinates()[:2], GRID, SIZE, torch.tensor([7, 30]), key=3).view(2, 9, 2, SIZE, SIZE)
    assert torch.equal(part, whole[[7, 30]])
    assert not torch.equal(whole, cut(coordinates(), GRID, SIZE, torch.arange(N), key=4).view_as(whole))


def test_mosaic_and_pieces_undo_each_other() -> None:
    patches = torch.randn(2 * 9, 3, 4, 4)
    assert mosaic(patches, 3).shape == (2, 3, 12, 12)
    assert torch.equal(pieces(mosaic(patches, 3), 3), patches)


def test_patches_are_distorted_on_their_own() -> None:
    """Flat pictures stay flat per patch, but patches of one picture differ."""
    view = View(SIZE, grid=GRID, cell=CELL, scale=(0.6, 1.0), jitter=(0.8, 0.8, 0.8, 0.2))
    pictures = torch.full((N, 3, 32, 32), 100, dtype=torch.uint8)
    shown = view(pictures, torch.full((N, 2), 32, dtype=torch.int32), torch.arange(N), key=1)
    assert shown.shape == (N, 3, GRID * SIZE, GRID * SIZE)
    patches = pieces(shown, GRID)
    assert patches.flatten(2).std(2).max() < 1e-5
    assert patches.mean((1, 2, 3)).view(N, 9).std(1).min() > 0.01


def test_patches_are_flipped_half_of_the_time() -> None:
    pictures = torch.arange(27, dtype=torch.uint8).expand(N, 3, 27, 27)
    view = View(SIZE, grid=GRID, cell=CELL, scale=(1.0, 1.0), ratio=(1.0, 1.0), grey_p=0.0)
    shown = pieces(view(pictures, torch.full((N, 2), 27, dtype=torch.int32), torch.arange(N), key=1), GRID)
    flipped = (shown[:, 0, 0, 0] > shown[:, 0, 0, -1]).float().mean()
    assert 0.4 < flipped < 0.6
