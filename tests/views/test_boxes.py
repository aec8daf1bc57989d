"""Boxes: the authors' laws, their place on a canvas, and the undistorted one."""

from math import log

import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from semblance.views.boxes import LAWS, byol_boxes, centre_boxes, on_canvas, simclr_boxes, torchvision_boxes

RATIO = (3 / 4, 4 / 3)
SURE = 1e-3  # the seeds are fixed, so a p-value below this is a fault and not bad luck


def draw(
    n: int, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float] = RATIO
) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes of ours and of torchvision's RandomResizedCrop.get_params for a picture of this size."""
    sizes = torch.tensor([[height, width]], dtype=torch.int32).expand(n, 2)
    ours = torchvision_boxes(8, torch.arange(n), sizes, scale, ratio)
    picture = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        theirs = [RandomResizedCrop.get_params(picture, list(scale), list(ratio)) for _ in range(n)]
    return ours, torch.tensor(theirs)


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
    boxes = torchvision_boxes(2, torch.arange(500), sizes, (0.08, 1.0), RATIO)
    for canvas in (16, 64, 400):
        stored = on_canvas(boxes, sizes, canvas)
        assert stored.dtype == torch.int64 and (stored[:, 2:] >= 1).all()
        assert (stored[:, :2] >= 0).all() and (stored[:, :2] + stored[:, 2:] <= canvas).all()
        wanted = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) * canvas / sizes.repeat(1, 2)
        got = torch.cat([stored[:, :2], stored[:, :2] + stored[:, 2:]], 1)
        assert (got - wanted).abs().max() <= 0.5 + 1e-9


def test_boxes_on_a_canvas_of_the_pictures_own_size_are_unchanged():
    sizes = torch.full((200, 2), 96)
    boxes = torchvision_boxes(2, torch.arange(200), sizes, (0.08, 1.0), RATIO)
    assert torch.equal(on_canvas(boxes, sizes, 96), boxes)


def test_no_box_vanishes_on_a_small_canvas():
    boxes, sizes = torch.tensor([[999, 0, 1, 1], [0, 999, 1, 1], [500, 500, 2, 2]]), torch.tensor([[1000, 1000]] * 3)
    for canvas in (1, 2, 7):
        stored = on_canvas(boxes, sizes, canvas)
        assert (stored[:, 2:] == 1).all() and (stored[:, :2] + 1 <= canvas).all()


@pytest.mark.parametrize("fraction", [0.875, 1.0])
def test_centre_boxes_are_square_and_centred(fraction):
    sizes = torch.tensor([[224, 224], [100, 301], [37, 20], [1, 5]], dtype=torch.int32)
    top, left, height, width = centre_boxes(sizes, fraction).unbind(1)
    assert torch.equal(height, width)
    assert torch.equal(height, (sizes.min(1).values * fraction).round().long().clamp(min=1))
    assert ((2 * top + height - sizes[:, 0]).abs() <= 1).all() and ((2 * left + width - sizes[:, 1]).abs() <= 1).all()


N = 20_000
PHOTO = torch.tensor([[375, 500]], dtype=torch.int32)


def photo(law: str, scale: tuple[float, float] = (0.08, 1.0)) -> tuple[torch.Tensor, ...]:
    """Top, left, height and width of many boxes on a picture of 500 x 375."""
    return LAWS[law](3, torch.arange(N), PHOTO.expand(N, 2), scale, RATIO).double().unbind(1)


@pytest.mark.parametrize(("law", "mean"), [("torchvision", 0.432), ("simclr", 0.389), ("byol", 0.515)])
def test_each_law_has_its_mean_area(law, mean):
    """On a picture of 500 x 375, as measured of the authors' code."""
    _, _, h, w = photo(law)
    assert (h * w).mean().item() / (375 * 500) == pytest.approx(mean, abs=0.006)


@pytest.mark.parametrize("law", LAWS)
def test_boxes_of_every_law_are_whole_pixels_inside_the_picture(law):
    sizes = torch.tensor([[1, 1], [1, 9], [2, 500], [500, 333], [32, 32]], dtype=torch.int32).repeat(200, 1)
    boxes = LAWS[law](1, torch.arange(len(sizes)), sizes, (0.01, 1.0), RATIO)
    assert boxes.dtype == torch.int64
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all() and (boxes[:, :2] + boxes[:, 2:] <= sizes).all()


def test_simclrs_boxes_are_drawn_as_tensorflow_draws_them():
    """The aspect first, then the height among those that it allows; a tenth of the picture at least; the last place
    never, and no place kept where there is but one."""
    top, left, h, w = photo("simclr")
    area = h * w / (375 * 500)
    assert area.min() >= 0.1 and area.min() < 0.105
    assert (w / h).min() > 0.75 - 2 / 100 and (w / h).max() < 4 / 3 + 2 / 100
    wide = (w / h - 1.3).abs() < 0.02  # at an aspect of 1.3, heights from sqrt(0.1 A / 1.3) to 375 are alike
    least = (0.1 * 375 * 500 / 1.3) ** 0.5
    assert stats.kstest(h[wide].numpy(), "uniform", (least, 375 - least)).pvalue > SURE
    for start, side, whole in ((top, h, 375), (left, w, 500)):
        free = whole - side
        assert (start[free > 0] < free[free > 0]).all() and not start[free == 0].any()
        share = (start + 0.5)[free > 20] / free[free > 20]
        assert stats.kstest(share.numpy(), "uniform").pvalue > SURE


def test_simclrs_authors_take_the_whole_picture_where_nothing_fits():
    """Twenty times as wide as high: at most 4 / 3 / 20 of it has an allowed aspect, less than a tenth."""
    boxes = simclr_boxes(0, torch.arange(9), torch.tensor([[20, 400]]).expand(9, 2), (0.08, 1.0), RATIO)
    assert (boxes == torch.tensor([0, 0, 20, 400])).all()


def test_byols_boxes_are_cut_to_the_picture_and_not_drawn_again():
    """Sides are torchvision's first candidate, each at most the picture's; the last place as likely as others."""
    top, left, h, w = photo("byol")
    aspect = (4 / 3 - 3 / 4) / (2 * log(4 / 3))  # the mean; cut where the area is above 3 / 4 of the aspect
    assert (h == 375).double().mean().item() == pytest.approx((1 - 0.75 * aspect) / 0.92, abs=0.01)
    free = (375 - h)[h < 375]
    assert (top[h < 375] == free).any() and (top <= 375 - h).all() and (left <= 500 - w).all()
    small = photo("byol", (0.1, 0.3))  # never cut: areas are uniform
    assert stats.kstest((small[2] * small[3] / (375 * 500)).numpy(), "uniform", (0.1, 0.2)).pvalue > SURE
    assert stats.kstest(torch.log(small[3] / small[2]).numpy(), "uniform", (-0.28768, 0.57536)).pvalue > SURE
    one = byol_boxes(0, torch.arange(50), torch.tensor([[1, 1]]).expand(50, 2), (0.08, 1.0), RATIO)
    assert (one == torch.tensor([0, 0, 1, 1])).all()
