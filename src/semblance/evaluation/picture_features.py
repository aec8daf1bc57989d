"""Features of pictures by a frozen backbone, and the raw pixels they are compared with."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.data.loader import in_parts, read_ahead
from semblance.data.pictures.images import Images
from semblance.runtime.precision import autocast
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

    rows = torch.cat([part.cpu() for part in in_parts(images, embed, weight.device, workers)])
    backbone.train(training)
    return rows


def raw_pixels(train: Images, test: Images, side: int = 32, workers: int = 2) -> tuple[Tensor, Tensor]:
    """Pixels as features, at most side x side, standardised by the training set: float32 (N, 3 side^2) each."""

    def flat(images: Images) -> Tensor:
        chunks = []
        parts = [(index, None) for index in torch.arange(len(images)).split(1000)]
        for pixels, _ in read_ahead(images, parts, workers):
            pixels = pixels.float() / 255
            if pixels.shape[-1] > side:
                pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
            chunks.append(pixels)
        return torch.cat(chunks)

    x, y = flat(train), flat(test)
    std, mean = torch.std_mean(x, (0, 2, 3), keepdim=True)
    return ((x - mean) / std).flatten(1), ((y - mean) / std).flatten(1)
