"""Gaussian blur with a separate sigma for every image, as one band matrix per axis and image."""

from math import ceil

import torch
from torch import Tensor

from semblance.runtime.device import send
from semblance.views.crop import separable


def kernel_size(size: int, sigma: float, *, cut: bool) -> int:
    """Taps of a kernel for pictures of a side in pixels and a sigma of at most so much.

    cut: SimCLR's rule, a tenth of the side, made odd (224 -> 23, 32 -> 3), which narrows the blur of small pictures:
    9 taps make 1.85 px of a sigma of 2. Else five sigmas to each side, or as far as reflection goes.
    """
    return 2 * (size // 20 if cut else min(size - 1, ceil(5 * sigma))) + 1


def blur_matrix(sigma: Tensor, size: int, taps: int) -> Tensor:
    """Rows that blur `size` pixels with reflected borders: sigma (N,) in pixels -> float32 (N, size, size)."""
    offset = torch.arange(taps, device=sigma.device) - taps // 2
    weight = torch.softmax(-0.5 * (offset / sigma[:, None]) ** 2, 1)
    pixel = torch.arange(size, device=sigma.device)
    source = (pixel[:, None] + offset).abs()
    source = torch.where(source >= size, 2 * (size - 1) - source, source)  # reflect at the far border
    matrix = torch.zeros(len(sigma), size, size, device=sigma.device)
    return matrix.scatter_add_(2, source.expand(len(sigma), -1, -1), weight[:, None].expand(-1, size, -1))


def gaussian_blur(x: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """Blur square images (N, C, S, S) on any device with sigma (N,) on the CPU and an odd number of taps < 2 S.

    Equals torchvision's gaussian_blur(kernel_size=taps, sigma) to 1e-5.
    """
    matrix = blur_matrix(send(sigma, x.device), x.shape[-1], taps)
    return separable(x, matrix, matrix)
