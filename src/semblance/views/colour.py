"""Colour operations on float images (N, 3, H, W) in [0, 1], with separate parameters for every image.

Each equals torchvision.transforms.v2.functional on the same parameters to 1e-5 (tests/views/test_colour.py).
"""

from collections.abc import Callable
from itertools import permutations

import torch
from torch import Tensor

from semblance.runtime.device import send

ORDERS = torch.tensor(list(permutations(range(4))))  # of brightness, contrast, saturation, hue


def grey(x: Tensor) -> Tensor:
    """Luma of ITU-R 601 with torchvision's constants: (N, 3, H, W) -> (N, 1, H, W)."""
    return (0.2989 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])[:, None]


def blend(x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """One of the three blends for each image; a factor of 1 leaves it alone, so at most one differs from 1.

    factor * x + (1 - factor) * anchor, clamped; the anchor is black, the mean grey, or the grey pixel.
    """
    b, c, s = (f[:, None, None, None] for f in (brightness, contrast, saturation))
    luma = grey(x)
    anchor = luma.mean((2, 3), keepdim=True).mul_(1 - c) + luma.mul_(1 - s)
    return (x * (b * c * s)).add_(anchor).clamp_(0, 1)


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` turns in [-0.5, 0.5]: HSV there and back, without building the HSV image."""
    r, g, b = x.unbind(1)
    value = x.amax(1)
    chroma = value - x.amin(1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    sector = torch.where(
        value == r, (g - b) / safe, torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )  # hue in sixths of a turn
    sector = sector + 6 * shift[:, None, None]
    offset = send(torch.tensor([5.0, 3.0, 1.0], dtype=x.dtype), x.device)[:, None, None]
    k = (sector[:, None] + offset).remainder_(6)
    ramp = torch.minimum(k, 4 - k).clamp_(0, 1)
    return value[:, None] - chroma[:, None] * ramp


def saturate(x: Tensor, factor: Tensor) -> Tensor:
    """Scale the saturation in HSV, up to 1: each channel's distance from the largest, which stays with the hue.

    As tf.image.adjust_saturation and google-deepmind/deepmind-research: byol/utils/augmentations.py.
    """
    value = x.amax(1, keepdim=True)
    chroma = value - x.amin(1, keepdim=True)
    most = torch.where(chroma > 0, value / chroma, 1.0)
    return value - (value - x) * factor[:, None, None, None].minimum(most)


def jitter(x: Tensor, factors: Tensor, order: Tensor, hsv: bool = False) -> Tensor:
    """Brightness, contrast, saturation and hue, in a separate order for every image (ColorJitter).

    x: on any device; factors and order on the CPU.
    factors: (N, 4) brightness, contrast and saturation factors (1 = none) and the hue shift in turns (0 = none).
    order: int64 (N, 4), the operation (0..3) applied first, second, ... to each image.
    hsv: whether saturation is scaled in HSV and not blended with grey.
    """
    blends = torch.where(order.T[:, None] == torch.arange(3)[:, None], factors[:, :3].T, 1.0)  # (4, 3, N)
    parts: list[tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]]
    parts = [(shift_hue, (order == 3) & (factors[:, 3:] != 0), factors[:, 3])]
    if hsv:
        blends[:, 2] = 1.0
        parts.append((saturate, order == 2, factors[:, 2]))
    for place, (b, c, s) in enumerate(send(blends, x.device)):
        x = blend(x, b, c, s)
        for operation, due, amount in parts:
            chosen = due[:, place].nonzero()[:, 0]
            if len(chosen):
                at = send(chosen, x.device)
                x[at] = operation(x[at], send(amount[chosen], x.device))
    return x


def solarize(x: Tensor, threshold: float) -> Tensor:
    """Invert the values at or above the threshold."""
    return torch.where(x >= threshold, 1 - x, x)
