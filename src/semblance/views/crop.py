"""Resized crop and flip of a whole batch at once.

A separable resampling is two small interpolation matrices per image, so crop, antialiased resize and flip of a batch
are two batched matrix products. Where those would be large on a CPU, each image is interpolated on its own instead.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.runtime.device import send

DENSE_LIMIT = 160 * 128  # canvas x output pixels per axis above which a CPU is faster image by image


def interpolation_matrix(start: Tensor, length: Tensor, source: int, out: int, bicubic: bool, flip: Tensor) -> Tensor:
    """Rows that resample source pixels [start, start + length) to `out` pixels: float32 (N, out, source).

    Equals F.interpolate(..., antialias=True) along one axis; rows are reversed where `flip` is true.
    """
    scale = length.float() / out
    width = scale.clamp(min=1.0)[:, None, None]
    centre = scale[:, None] * (torch.arange(out, device=start.device) + 0.5)
    centre = torch.where(flip[:, None], centre.flip(1), centre)
    pixel = torch.arange(source, device=start.device) - start[:, None]  # relative to the box, for less rounding
    x = ((pixel[:, None] + 0.5) - centre[:, :, None]).abs_().div_(width)
    if bicubic:  # Keys' kernel with a = -0.5, as Pillow and antialiased interpolate use
        near = (1.5 * x - 2.5) * x * x + 1
        far = ((-0.5 * x + 2.5) * x - 4) * x + 2
        weight = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    else:
        weight = x.neg_().add_(1).clamp_(min=0)
    inside = (pixel >= 0) & (pixel < length[:, None])
    weight = weight * inside[:, None]
    return weight / weight.sum(2, keepdim=True)


def separable(pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows @ picture @ columns^T for every image and channel: (N, C, H, W), (N, h, H), (N, w, W) -> (N, C, h, w)."""
    n, c, height, width = pictures.shape
    h, w = rows.shape[1], columns.shape[1]
    x = torch.bmm(pictures.reshape(n, c * height, width), columns.transpose(1, 2)).view(n, c, height, w)
    x = torch.bmm(rows, x.transpose(1, 2).reshape(n, height, c * w))
    return x.view(n, h, c, w).transpose(1, 2)


def resized_crop(pictures: Tensor, boxes: Tensor, size: int, *, bicubic: bool, flip: Tensor) -> Tensor:
    """Crop each picture to its box, resize it antialiased to size x size and mirror it where `flip` is true.

    pictures: uint8 or float (N, C, S, S) on any device; on the CPU, boxes: int64 (N, 4) top, left, height, width, and
    flip: bool (N,).
    Returns float32 (N, C, size, size) on the scale of the input; bicubic values may overshoot it.
    Equals torchvision's resized_crop(antialias=True) and hflip on float input to 1e-5 of the range.
    """
    canvas = pictures.shape[-1]
    if pictures.device.type == "cpu" and canvas * size > DENSE_LIMIT:
        mode = "bicubic" if bicubic else "bilinear"
        out = torch.stack(
            [
                F.interpolate(p[None, :, y : y + h, x : x + w].float(), (size, size), mode=mode, antialias=True)[0]
                for p, (y, x, h, w) in zip(pictures, boxes.tolist(), strict=True)
            ]
        )
        return torch.where(flip[:, None, None, None], out.flip(3), out)
    top, left, height, width = send(boxes, pictures.device).unbind(1)
    flip = send(flip, pictures.device)
    rows = interpolation_matrix(top, height, canvas, size, bicubic, torch.zeros_like(flip))
    columns = interpolation_matrix(left, width, canvas, size, bicubic, flip)
    return separable(pictures.float(), rows, columns)
