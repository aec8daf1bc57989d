"""Boxes to crop: the laws that the authors draw them by, the undistorted one, and their place on a canvas.

A law draws, from `key` and dataset index (N,), whole pixels (top, left, height, width) of each original picture, int64
(N, 4). sizes: (N, 2) heights and widths. scale: range of the area as a fraction. ratio: of the aspect, width to height.
"""

import math

import torch
from torch import Tensor

from semblance.runtime import random

TORCHVISION_TRIES, SIMCLR_TRIES = 10, 100


def torchvision_boxes(
    key: int | Tensor, index: Tensor, sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """As RandomResizedCrop.get_params draws them: area fraction uniform in `scale`, log aspect uniform in `ratio`, the
    first of ten candidates that fits, else the largest centred crop of allowed aspect.
    """
    u = random.uniform(key, index, 2 * TORCHVISION_TRIES + 2).double()
    height, width = sizes.double().unbind(1)
    area = (height * width)[:, None] * (scale[0] + u[:, :TORCHVISION_TRIES] * (scale[1] - scale[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + u[:, TORCHVISION_TRIES : 2 * TORCHVISION_TRIES] * (high - low))
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w > 0) & (h > 0) & (w <= width[:, None]) & (h <= height[:, None])
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    found = fits.gather(1, first)[:, 0]
    fallback_w = torch.minimum(width, (height * ratio[1]).round())
    fallback_h = torch.minimum(height, (width / ratio[0]).round())
    w = torch.where(found, w.gather(1, first)[:, 0], fallback_w)
    h = torch.where(found, h.gather(1, first)[:, 0], fallback_h)
    place = torch.where(found[:, None], u[:, 2 * TORCHVISION_TRIES :], 0.5)
    top = torch.where(found, (place[:, 0] * (height - h + 1)).floor(), ((height - h) / 2).floor())
    left = torch.where(found, (place[:, 1] * (width - w + 1)).floor(), ((width - w) / 2).floor())
    return torch.stack([top, left, h, w], 1).long()


def simclr_boxes(
    key: int | Tensor, index: Tensor, sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """As SimCLR's authors draw them: the aspect uniform in `ratio`, then the height among those that keep the
    area in `scale`; the first of a hundred candidates that fits and covers a tenth of the picture, else all of it.

    google-research/simclr: tf2/data_util.py, distorted_bounding_box_crop with min_object_covered=0.1, so smaller areas
    are never drawn; tensorflow: core/kernels/image/sample_distorted_bounding_box_op.cc, whose last place is left out.
    """
    u = random.uniform(key, index, 2 * SIMCLR_TRIES + 2).double()
    height, width = sizes.double()[:, :, None].unbind(1)
    least, most = (share * height * width for share in scale)
    aspect = ratio[0] + u[:, :SIMCLR_TRIES] * (ratio[1] - ratio[0])
    low, high = ((area / aspect).sqrt().round() for area in (least, most))
    high = torch.where((high * aspect).round() > width, ((width + 0.5 - 1e-7) / aspect).floor(), high)
    high = high.minimum(height)
    low = low.minimum(high)
    h = low + (u[:, SIMCLR_TRIES : 2 * SIMCLR_TRIES] * (high - low + 1)).floor()
    h = torch.where(h * (h * aspect).round() < least, h + 1, h)  # rounding alone shall not fail
    h = torch.where(h * (h * aspect).round() > most, h - 1, h)
    w = (h * aspect).round()
    area = h * w
    fits = (area >= least.maximum(0.1 * height * width)) & (area <= most) & (w <= width) & (h <= height)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    found = fits.gather(1, first)
    h, w = torch.where(found, h.gather(1, first), height), torch.where(found, w.gather(1, first), width)
    top, left = (u[:, -2:-1] * (height - h)).floor(), (u[:, -1:] * (width - w)).floor()
    return torch.cat([top, left, h, w], 1).long()


def byol_boxes(
    key: int | Tensor, index: Tensor, sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """As BYOL's authors draw them: one candidate of torchvision's law, its sides cut to the picture's.

    google-deepmind/deepmind-research: byol/utils/dataset.py, _decode_and_random_crop.
    """
    u = random.uniform(key, index, 4).double()
    height, width = sizes.double().unbind(1)
    area = height * width * (scale[0] + u[:, 0] * (scale[1] - scale[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + u[:, 1] * (high - low))
    w, h = ((area * aspect).sqrt().round().minimum(width), (area / aspect).sqrt().round().minimum(height))
    w, h = w.clamp(min=1), h.clamp(min=1)
    top, left = (u[:, 2] * (height - h + 1)).floor(), (u[:, 3] * (width - w + 1)).floor()
    return torch.stack([top, left, h, w], 1).long()


LAWS = {"torchvision": torchvision_boxes, "simclr": simclr_boxes, "byol": byol_boxes}


def centre_boxes(sizes: Tensor, fraction: float) -> Tensor:
    """The centred square box whose side is `fraction` of the shorter side of each picture: int64 (N, 4)."""
    side = (sizes.min(1).values * fraction).round().long().clamp(min=1)
    start = (sizes.long() - side[:, None]) // 2
    return torch.stack([start[:, 0], start[:, 1], side, side], 1)


def on_canvas(boxes: Tensor, sizes: Tensor, canvas: int) -> Tensor:
    """Boxes on pictures of the given sizes, in whole pixels of the square canvas the pictures are stored on."""
    per_pixel = canvas / sizes.double()
    start = (boxes[:, :2] * per_pixel).round().clamp(max=canvas - 1)
    end = ((boxes[:, :2] + boxes[:, 2:]) * per_pixel).round()
    length = torch.maximum(end - start, torch.ones_like(start)).minimum(canvas - start)
    return torch.cat([start, length], 1).long()
