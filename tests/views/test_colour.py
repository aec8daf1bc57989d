"""Colour operations equal torchvision's on the same parameters; saturation in HSV is colorsys's."""

from colorsys import hsv_to_rgb, rgb_to_hsv
from itertools import permutations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from semblance.views.colour import ORDERS, blend, grey, jitter, saturate, shift_hue, solarize

CLOSE = {"rtol": 0, "atol": 1e-5}


def colours() -> torch.Tensor:
    """(8, 3, 16, 16): noise, 8-bit noise, and pictures of one colour: grey, black, white, primaries, nearly grey."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, 3, 16, 16, generator=generator)
    noise[1] = (noise[1] * 255).round() / 255
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3).repeat(10, 1)[:256]  # saturated and ties
    solid = torch.tensor([[0.5] * 3, [0.0] * 3, [1.0] * 3, [1.0, 0.0, 0.0], [0.5, 0.5, 0.5 + 1e-6]])
    return torch.cat([noise, corners.T.reshape(1, 3, 16, 16), solid[:, :, None, None].expand(-1, -1, 16, 16)])


@pytest.mark.parametrize("factor", [0.0, 0.2, 1.0, 1.7])
@pytest.mark.parametrize("operation", ["brightness", "contrast", "saturation"])
def test_blends_equal_torchvision(operation, factor):
    x = colours()
    factors = {name: torch.ones(len(x)) for name in ("brightness", "contrast", "saturation")}
    factors[operation].fill_(factor)
    expected = getattr(tv, f"adjust_{operation}")(x, factor)  # the mean grey of contrast is of each picture
    torch.testing.assert_close(blend(x, **factors), expected, **CLOSE)


def test_factors_of_one_leave_pictures_alone_to_the_bit():
    x = colours()
    assert torch.equal(blend(x, *torch.ones(3, len(x))), x)


@pytest.mark.parametrize("shift", [-0.5, -0.31, -0.1, 0.0, 1e-4, 0.2, 1 / 3, 0.5])
def test_hue_equals_torchvision(shift):
    """Grey, black and white pixels and ties between channels too, up to half a turn."""
    x = colours()
    torch.testing.assert_close(shift_hue(x, torch.full((len(x),), shift)), tv.adjust_hue(x, shift), **CLOSE)


def test_grey_equals_torchvision():
    x = colours()
    torch.testing.assert_close(grey(x), tv.rgb_to_grayscale(x), **CLOSE)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_solarize_equals_torchvision(threshold):
    """At the threshold itself too."""
    x = colours()
    torch.testing.assert_close(solarize(x, threshold), tv.solarize(x, threshold), rtol=0, atol=0)


def test_orders_are_all_permutations():
    assert sorted(map(tuple, ORDERS.tolist())) == sorted(permutations(range(4)))


def test_jitter_equals_torchvisions_operations_in_the_same_order():
    """Each picture with an order and factors of its own, over all 24 orders; the input is left alone."""
    x = colours().repeat(3, 1, 1, 1)
    u = torch.rand(len(x), 4, generator=torch.Generator().manual_seed(1))
    factors = torch.cat([0.2 + 1.6 * u[:, :3], u[:, 3:] - 0.5], 1)
    factors[5, 3] = 0  # no turn
    before = x.clone()
    ours = jitter(x, factors, ORDERS)
    assert torch.equal(x, before)
    adjust = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
    for picture, f, order, y in zip(x, factors.tolist(), ORDERS.tolist(), ours, strict=True):
        for operation in order:
            picture = adjust[operation](picture, f[operation])
        torch.testing.assert_close(y, picture, **CLOSE)


@pytest.mark.parametrize("factor", [0.0, 0.2, 1.0, 1.8])
def test_saturation_in_hsv(factor):
    """Pixel by pixel through HSV, the saturation cut at 1; grey, black and white stay."""
    x = colours()[:, :, :4, :4]
    ours = saturate(x, torch.full((len(x),), factor))
    for picture, y in zip(x.flatten(2), ours.flatten(2), strict=True):
        expected = [hsv_to_rgb(h, min(1.0, s * factor), v) for h, s, v in (rgb_to_hsv(*p) for p in picture.T.tolist())]
        torch.testing.assert_close(y.T, torch.tensor(expected), **CLOSE)


def test_jitter_scales_saturation_in_hsv_where_it_is_asked_to():
    x = colours()
    factors, order = torch.tensor([[1.0, 1.0, 1.6, 0.0]]).repeat(len(x), 1), ORDERS[:1].repeat(len(x), 1)
    torch.testing.assert_close(jitter(x, factors, order, hsv=True), saturate(x, factors[:, 2]), **CLOSE)
    assert (jitter(x, factors, order) - saturate(x, factors[:, 2])).abs().mean() > 0.01


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_pictures_of_one_grey_survive(level):
    x = torch.full((1, 3, 4, 4), level)
    y = jitter(x, torch.tensor([[1.5, 0.5, 1.5, 0.5]]), ORDERS[:1])
    assert y.isfinite().all() and y.min() >= 0 and y.max() <= 1
    torch.testing.assert_close(y, y[:, :1, :1, :1].expand_as(y), **CLOSE)  # still one grey
