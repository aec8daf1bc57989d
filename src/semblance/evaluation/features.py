"""Features of pictures by a frozen backbone, and the raw pixels they are compared with."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.images import Images
from ..data.reading import read_ahead
from ..engine.precision import autocast
from ..engine.seam import gather, own_rows
from ..views.crop import centre_boxes, on_canvas, resized_crop
from ..views.view import normalise

PART = 500  # pictures embedded at once, over all ranks
CENTRE = 0.875  # of the shorter side, as in Resize(256) and CenterCrop(224); small images are used whole


def plain_view(pictures: Tensor, sizes: Tensor, size: int) -> Tensor:
    """The undistorted view for evaluation: uint8 (N, 3, S, S) canvases to normalised float32 (N, 3, size, size)."""
    boxes = on_canvas(centre_boxes(sizes, CENTRE if size > 64 else 1.0), sizes, pictures.shape[-1])
    flip = torch.zeros(len(pictures), dtype=torch.bool, device=pictures.device)
    return normalise(resized_crop(pictures, boxes, size, bicubic=False, flip=flip) / 255)


@torch.no_grad()
def features(backbone: nn.Module, images: Images, *, size: int, precision: str = "32", workers: int = 2) -> Tensor:
    """Pooled features of every picture, the backbone in evaluation mode: float32 (N, D) on the CPU.

    Ranks share the work, so all of them must call this; each gets all features.
    """
    weight = next(backbone.parameters())
    training = backbone.training
    backbone.eval()
    out = []
    parts = torch.arange(len(images)).tensor_split(-(-len(images) // PART))
    own = [part[own_rows(len(part))] for part in parts]
    for part, (pixels, sizes) in zip(parts, read_ahead(images, own, workers), strict=True):
        x = plain_view(pixels.to(weight.device), sizes.to(weight.device), size).to(weight.dtype)
        if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        with autocast(precision, weight.device):
            own_features = backbone(x).float()
        out.append(gather(own_features, len(part)).cpu())
    backbone.train(training)
    return torch.cat(out)


def raw_pixels(train: Images, test: Images, side: int = 32, workers: int = 2) -> tuple[Tensor, Tensor]:
    """Pixels as features, at most side x side, standardised by the training set: float32 (N, 3 side^2) each."""

    def flat(images: Images) -> Tensor:
        chunks = []
        for pixels, _ in read_ahead(images, torch.arange(len(images)).split(1000), workers):
            pixels = pixels.float() / 255
            if pixels.shape[-1] > side:
                pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
            chunks.append(pixels)
        return torch.cat(chunks)

    x, y = flat(train), flat(test)
    std, mean = torch.std_mean(x, (0, 2, 3), keepdim=True)
    return ((x - mean) / std).flatten(1), ((y - mean) / std).flatten(1)
