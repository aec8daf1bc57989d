"""Crops: pixels equal torchvision's."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from semblance.views import crop
from semblance.views.boxes import on_canvas
from semblance.views.crop import resized_crop


def pictures(n: int, canvas: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n + canvas)
    return torch.randint(0, 256, (n, 3, canvas, canvas), dtype=torch.uint8, generator=generator)


def boxes_on(canvas: int) -> torch.Tensor:
    """The whole, single pixels, strips, corners, and sides that shrink, grow and keep their size."""
    s, h = canvas, canvas // 2
    return torch.tensor([
        [0, 0, s, s], [0, 0, 1, 1], [s - 1, s - 1, 1, 1], [h, 0, 1, s], [0, h, s, 1], [s - h, s - h, h, h],
        [3, 5, 7, 11], [0, 1, s, s - 1], [s // 3, s // 4, s // 5 + 1, s // 2], [s - 9, 0, 9, 8],
    ])  # fmt: skip


@pytest.mark.parametrize("bicubic", [False, True])
@pytest.mark.parametrize("canvas, size", [(32, 32), (48, 32), (20, 64), (150, 16), (256, 96)])
@pytest.mark.parametrize("path", ["dense", "image by image"])
def test_resized_crop_equals_torchvision(monkeypatch, path, canvas, size, bicubic):
    """Antialiased, up and down, mirrored or not, by matrices and image by image: to 3e-6 of the range."""
    monkeypatch.setattr(crop, "DENSE_LIMIT", 10**9 if path == "dense" else 0)
    boxes = boxes_on(canvas).repeat(2, 1)
    x, flip = pictures(len(boxes), canvas), torch.arange(len(boxes)) < len(boxes) // 2
    mode = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
    ours = resized_crop(x, boxes, size, bicubic=bicubic, flip=flip)
    assert ours.dtype == torch.float32 and ours.shape == (len(x), 3, size, size)
    for picture, box, mirrored, y in zip(x, boxes.tolist(), flip, ours, strict=True):
        expected = tv.resized_crop(picture.float(), *box, [size, size], interpolation=mode, antialias=True)
        expected = tv.horizontal_flip(expected) if mirrored else expected
        torch.testing.assert_close(y, expected, rtol=0, atol=255 * 3e-6)


@pytest.mark.parametrize("canvas, size", [(160, 128), (160, 129)])
def test_both_sides_of_the_switch_between_the_paths(canvas, size):
    x, box = pictures(1, canvas), torch.tensor([[11, 3, 100, 140]])
    ours = resized_crop(x, box, size, bicubic=True, flip=torch.tensor([False]))
    expected = tv.resized_crop(x.float(), *box[0].tolist(), [size, size], InterpolationMode.BICUBIC, antialias=True)
    torch.testing.assert_close(ours, expected, rtol=0, atol=255 * 3e-6)


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("bicubic", [False, True])
@pytest.mark.parametrize("canvas, size", [(1, 1), (1, 8), (8, 1), (33, 7)])
def test_constant_pictures_stay_constant(monkeypatch, limit, bicubic, canvas, size):
    """Also where the box is one pixel, the canvas is one pixel and the batch is one picture."""
    monkeypatch.setattr(crop, "DENSE_LIMIT", limit)
    x = torch.full((1, 3, canvas, canvas), 77, dtype=torch.uint8)
    box = torch.tensor([[canvas - 1, canvas - 1, 1, 1]])
    y = resized_crop(x, box, size, bicubic=bicubic, flip=torch.tensor([True]))
    torch.testing.assert_close(y, torch.full((1, 3, size, size), 77.0), rtol=1e-6, atol=0)


def test_a_crop_from_the_canvas_is_the_crop_of_the_original():
    """A smooth picture of 60 x 180, stored on 90 x 90: heights and widths go where they belong."""
    row, column = torch.meshgrid(torch.arange(60) / 60, torch.arange(180) / 180, indexing="ij")
    original = torch.stack([row, column, (torch.sin(6 * row) * torch.cos(9 * column) + 1) / 2]) * 255
    stored = tv.resize(original, [90, 90], antialias=True)[None].round().to(torch.uint8)
    sizes, boxes = torch.tensor([[60, 180]]), torch.tensor([[10, 100, 40, 52]])
    ours = resized_crop(stored, on_canvas(boxes, sizes, 90), 32, bicubic=False, flip=torch.tensor([False]))[0]
    expected = tv.resized_crop(original, *boxes[0].tolist(), [32, 32], antialias=True)
    assert (ours - expected).abs().mean() < 2
