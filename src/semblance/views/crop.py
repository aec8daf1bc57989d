"""Random resized crop and flip: boxes drawn as torchvision draws them, resampled for a whole batch at once.

A separable resampling is two small interpolation matrices per image, so crop, antialiased resize and flip of a batch
are two batched matrix products. Where those would be large on a CPU, each image is interpolated on its own instead.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.runtime import random
from semblance.runtime.device import send

TRIES = 10  # candidates of torchvision's RandomResizedCrop before it falls back to a centred crop
DENSE_LIMIT = 160 * 128  # canvas x output pixels per axis above which a CPU is faster image by image


def random_boxes(
    key: int | Tensor, index: Tensor, sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Boxes (top, left, height, width) in pixels of each original picture: int64 (N, 4).

    As torchvision's RandomResizedCrop.get_params draws them: area fraction uniform in `scale`, log aspect uniform in
    `ratio`, the first of ten candidates that fits, else the largest centred crop of allowed aspect.
    """
    u = random.uniform(key, index, 2 * TRIES + 2).double()
    height, width = sizes.double().unbind(1)
    area = (height * width)[:, None] * (scale[0] + u[:, :TRIES] * (scale[1] - scale[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + u[:, TRIES : 2 * TRIES] * (high - low))
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w > 0) & (h > 0) & (w <= width[:, None]) & (h <= height[:, None])
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    found = fits.gather(1, first)[:, 0]
    fallback_w = torch.minimum(width, (height * ratio[1]).round())
    fallback_h = torch.minimum(height, (width / ratio[0]).round())
    w = torch.where(found, w.gather(1, first)[:, 0], fallback_w)
    h = torch.where(found, h.gather(1, first)[:, 0], fallback_h)
    place = torch.where(found[:, None], u[:, 2 * TRIES :], 0.5)
    top = torch.where(found, (place[:, 0] * (height - h + 1)).floor(), ((height - h) / 2).floor())
    left = torch.where(found, (place[:, 1] * (width - w + 1)).floor(), ((width - w) / 2).floor())
    return torch.stack([top, left, h, w], 1).long()


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
