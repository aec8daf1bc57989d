"""Gaussian blur equals torchvision's."""

import pytest
import torch
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
    assert kernel_size(size) == taps == 2 * int(size // 10 / 2) + 1


def test_one_pixel_survives():
    x = torch.full((1, 3, 1, 1), 0.3)
    torch.testing.assert_close(gaussian_blur(x, torch.tensor([1.0]), kernel_size(1)), x)
