"""Crops: pixels and distributions equal torchvision's."""

import pytest
import torch
from scipy import stats
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from semblance.views import crop
from semblance.views.crop import centre_boxes, on_canvas, random_boxes, resized_crop

RATIO = (3 / 4, 4 / 3)
SURE = 1e-3  # the seeds are fixed, so a p-value below this is a fault and not bad luck


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


def draw(
    n: int, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float] = RATIO
) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes of ours and of torchvision's RandomResizedCrop.get_params for a picture of this size."""
    sizes = torch.tensor([[height, width]], dtype=torch.int32).expand(n, 2)
    ours = random_boxes(8, torch.arange(n), sizes, scale, ratio)
    picture = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        theirs = [RandomResizedCrop.get_params(picture, list(scale), list(ratio)) for _ in range(n)]
    return ours, torch.tensor(theirs)


def test_boxes_are_whole_pixels_inside_the_picture():
    sizes = torch.tensor([[1, 1], [1, 9], [2, 500], [500, 333], [32, 32]], dtype=torch.int32).repeat(200, 1)
    boxes = random_boxes(1, torch.arange(len(sizes)), sizes, (0.01, 1.0), RATIO)
    assert boxes.dtype == torch.int64
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all() and (boxes[:, :2] + boxes[:, 2:] <= sizes).all()


@pytest.mark.parametrize(
    "height, width, scale, ratio",
    [
        (224, 224, (0.08, 1.0), RATIO),
        (100, 300, (0.08, 1.0), RATIO),
        (375, 500, (0.14, 1.0), RATIO),
        (200, 180, (0.05, 0.14), (0.9, 2.0)),
    ],
)
def test_boxes_have_the_distribution_of_torchvision(height, width, scale, ratio):
    """Area, aspect and place of 5,000 boxes, also where the fallback to a centred crop occurs."""
    ours, theirs = draw(5000, height, width, scale, ratio)
    for name, of in {
        "area": lambda b: b[:, 2] * b[:, 3],
        "aspect": lambda b: b[:, 3] / b[:, 2],
        "top": lambda b: b[:, 0],
        "left": lambda b: b[:, 1],
        "bottom": lambda b: height - b[:, 0] - b[:, 2],
        "right": lambda b: width - b[:, 1] - b[:, 3],
    }.items():
        assert stats.ks_2samp(of(ours).numpy(), of(theirs).numpy()).pvalue > SURE, name
    place = (ours[:, 0] + 0.5) / (height - ours[:, 2] + 1)
    other = (ours[:, 1] + 0.5) / (width - ours[:, 3] + 1)
    assert abs(stats.spearmanr(place.numpy(), other.numpy()).statistic) < 4.5 / 5000**0.5
    if width == 300:  # none of ten candidates fitted: as often as torchvision, within 4.5 deviations
        fallback = torch.tensor([0, 83, 100, 133])
        a, b = ((boxes == fallback).all(1).sum().item() for boxes in (ours, theirs))
        assert a > 20 and abs(a - b) < 4.5 * (a + b) ** 0.5


@pytest.mark.parametrize(
    "height, width, scale",
    [(100, 300, (0.5, 1.0)), (300, 100, (0.5, 1.0)), (101, 500, (0.9, 1.0)), (90, 100, (1.5, 2.0)), (7, 60, (0.6, 1))],
)
def test_the_fallback_is_torchvisions_centred_crop(height, width, scale):
    """Where no candidate can fit, too wide, too tall and of allowed aspect."""
    ours, theirs = draw(20, height, width, scale)
    assert (theirs == theirs[0]).all() and torch.equal(ours, theirs)


def test_boxes_keep_their_place_on_the_canvas():
    """A picture of any aspect is stored on a square: fractions are kept to half a pixel."""
    sizes = torch.tensor([[100, 300]]).expand(500, 2)
    boxes = random_boxes(2, torch.arange(500), sizes, (0.08, 1.0), RATIO)
    for canvas in (16, 64, 400):
        stored = on_canvas(boxes, sizes, canvas)
        assert stored.dtype == torch.int64 and (stored[:, 2:] >= 1).all()
        assert (stored[:, :2] >= 0).all() and (stored[:, :2] + stored[:, 2:] <= canvas).all()
        wanted = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) * canvas / sizes.repeat(1, 2)
        got = torch.cat([stored[:, :2], stored[:, :2] + stored[:, 2:]], 1)
        assert (got - wanted).abs().max() <= 0.5 + 1e-9


def test_boxes_on_a_canvas_of_the_pictures_own_size_are_unchanged():
    sizes = torch.full((200, 2), 96)
    boxes = random_boxes(2, torch.arange(200), sizes, (0.08, 1.0), RATIO)
    assert torch.equal(on_canvas(boxes, sizes, 96), boxes)


def test_no_box_vanishes_on_a_small_canvas():
    boxes, sizes = torch.tensor([[999, 0, 1, 1], [0, 999, 1, 1], [500, 500, 2, 2]]), torch.tensor([[1000, 1000]] * 3)
    for canvas in (1, 2, 7):
        stored = on_canvas(boxes, sizes, canvas)
        assert (stored[:, 2:] == 1).all() and (stored[:, :2] + 1 <= canvas).all()


def test_a_crop_from_the_canvas_is_the_crop_of_the_original():
    """A smooth picture of 60 x 180, stored on 90 x 90: heights and widths go where they belong."""
    row, column = torch.meshgrid(torch.arange(60) / 60, torch.arange(180) / 180, indexing="ij")
    original = torch.stack([row, column, (torch.sin(6 * row) * torch.cos(9 * column) + 1) / 2]) * 255
    stored = tv.resize(original, [90, 90], antialias=True)[None].round().to(torch.uint8)
    sizes, boxes = torch.tensor([[60, 180]]), torch.tensor([[10, 100, 40, 52]])
    ours = resized_crop(stored, on_canvas(boxes, sizes, 90), 32, bicubic=False, flip=torch.tensor([False]))[0]
    expected = tv.resized_crop(original, *boxes[0].tolist(), [32, 32], antialias=True)
    assert (ours - expected).abs().mean() < 2


@pytest.mark.parametrize("fraction", [0.875, 1.0])
def test_centre_boxes_are_square_and_centred(fraction):
    sizes = torch.tensor([[224, 224], [100, 301], [37, 20], [1, 5]], dtype=torch.int32)
    top, left, height, width = centre_boxes(sizes, fraction).unbind(1)
    assert torch.equal(height, width)
    assert torch.equal(height, (sizes.min(1).values * fraction).round().long().clamp(min=1))
    assert ((2 * top + height - sizes[:, 0]).abs() <= 1).all() and ((2 * left + width - sizes[:, 1]).abs() <= 1).all()
