"""Gaussian blur equals torchvision's."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.transforms.v2 import functional as tv

from semblance.views.blur import blur_matrix, gaussian_blur, kernel_size


@pytest.mark.parametrize("size, taps", [(32, 3), (32, 9), (96, 9), (40, 23), (5, 9), (7, 1)])
def test_blur_equals_torchvision(size, taps):
    """A sigma of its own for each image, borders reflected, up to the widest kernel that reflection allows: to 1e-5."""
    sigma = torch.tensor([0.1, 0.3, 1.0, 2.0])
    x = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    ours = gaussian_blur(x, sigma, taps)
    for picture, s, y in zip(x, sigma.tolist(), ours, strict=True):
        torch.testing.assert_close(y, tv.gaussian_blur(picture, [taps, taps], [s, s]), rtol=0, atol=1e-5)


def test_rows_of_the_matrix_are_weights():
    """Non-negative with sum 1, so constants stay constant and no value leaves its range."""
    matrix = blur_matrix(torch.tensor([0.1, 2.0]), 30, 23)
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(2), torch.ones(2, 30))


@pytest.mark.parametrize("size, taps", [(224, 23), (96, 9), (32, 3), (64, 7), (1, 1)])
def test_kernel_size_is_a_tenth_of_the_side_made_odd(size, taps):
    """The authors of SimCLR take 2 * int(int(size / 10) / 2) + 1 (google-research/simclr: data_util.py)."""
    assert kernel_size(size, 2.0, cut=True) == taps == 2 * int(size // 10 / 2) + 1


def test_one_pixel_survives():
    x = torch.full((1, 3, 1, 1), 0.3)
    torch.testing.assert_close(gaussian_blur(x, torch.tensor([1.0]), kernel_size(1, 1.0, cut=False)), x)


@pytest.mark.parametrize(("cut", "expected"), [(True, 1.85), (False, 2.0)])
def test_a_whole_kernel_blurs_small_views_as_much_as_it_says(cut, expected):
    """The deviation of one point at 96 px, along an axis: a tenth of the side cuts a sigma of 2 px."""
    x = torch.zeros(1, 3, 96, 96)
    x[:, :, 48, 48] = 1
    row = gaussian_blur(x, torch.tensor([2.0]), kernel_size(96, 2.0, cut=cut))[0, 0].sum(0).double()
    assert ((torch.arange(96) - 48).square() * row).sum().sqrt().item() == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_a_whole_kernel_is_near_pillows(sigma):
    """Which DINO, SwAV and others of Meta's blur with: away from the border within a few of 255 levels on noise, where
    the cut kernel differs by more at a sigma of 2."""
    noise = torch.randint(0, 256, (3, 96, 96), generator=torch.Generator().manual_seed(0))
    theirs = Image.fromarray(noise.permute(1, 2, 0).numpy().astype("uint8")).filter(ImageFilter.GaussianBlur(sigma))
    theirs = torch.from_numpy(np.array(theirs)).permute(2, 0, 1).double()
    away = {}
    for cut in (False, True):
        ours = gaussian_blur(noise[None].float(), torch.tensor([sigma]), kernel_size(96, 2.0, cut=cut))[0].double()
        away[cut] = (ours - theirs)[:, 12:-12, 12:-12].abs().mean().item()
    assert away[False] < 1.5 and (sigma < 2 or away[False] < 0.7 * away[True])


def test_kernels_fit_small_pictures():
    """As far as reflection goes, on a picture of 3 px too."""
    assert [kernel_size(size, 2.0, cut=False) for size in (1, 3, 96)] == [1, 5, 21]
    assert gaussian_blur(torch.rand(2, 3, 3, 3), torch.tensor([2.0, 0.1]), 5).isfinite().all()
