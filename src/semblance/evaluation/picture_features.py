"""Features of pictures by a frozen backbone, and the raw pixels they are compared with."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.data.loader import in_parts, joined, read_ahead
from semblance.data.pictures.images import Images
from semblance.runtime.precision import as_written, autocast
from semblance.views.view import plain_view


def features(backbone: nn.Module, images: Images, *, size: int, precision: str = "32", workers: int = 2) -> Tensor:
    """Pooled features of every picture, the backbone in evaluation mode: float32 (N, D) on the CPU.

    Ranks share the work, so all of them must call this; each gets all features.
    """
    weight = next(backbone.parameters())
    training = backbone.training
    backbone.eval()

    def embed(raw: Sequence[Tensor], index: Tensor) -> Tensor:
        x = plain_view(raw, size).to(weight.dtype)
        if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        with autocast(precision, weight.device):
            return backbone(x).float()

    with as_written(backbone):
        rows = joined(in_parts(images, embed, weight.device, workers), len(images))
    backbone.train(training)
    return rows


def raw_pixels(train: Images, test: Images, side: int = 32, workers: int = 2) -> tuple[Tensor, Tensor]:
    """Pixels as features, at most side x side, standardised by the training set: float32 (N, 3 side^2) each.

    A colour that is the same in every pixel of the training set becomes 0.
    """

    def flat(images: Images) -> Iterator[Tensor]:
        parts = [(index, None) for index in torch.arange(len(images)).split(1000)]
        for pixels, _ in read_ahead(images, parts, workers):
            pixels = pixels.float() / 255
            if pixels.shape[-1] > side:
                pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
            yield pixels.flatten(2)

    sets = [joined(flat(images), len(images)) for images in (train, test)]
    sums = [(rows.double().sum((0, 2)), rows.double().square().sum((0, 2))) for rows in sets[0].split(1000)]
    mean, square = (torch.stack(parts).sum(0) / (len(train) * sets[0].shape[2]) for parts in zip(*sums, strict=True))
    variance = square - mean.square()
    scale = torch.where(variance > 1e-13, variance.rsqrt(), 0)
    for rows in sets:
        rows.sub_(mean.float()[:, None]).mul_(scale.float()[:, None])
    return sets[0].flatten(1), sets[1].flatten(1)
