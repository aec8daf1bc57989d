"""Audio networks: AVID's plain convolutions over a log spectrogram, and any picture network over one."""

import re

import torch
from torch import Tensor, nn

from semblance.nets.backbones import backbone, checked_width
from semblance.nets.video import max_of_parts

_NAME = re.compile(r"conv2d-10(?P<small>-small)?(-w(?P<width>\d+))?(-t(?P<parts>[1-9]\d*))?")


class Standardise(nn.Module):
    """Zero mean and unit deviation in each frequency bin, by statistics of the training set: (N, 1, time, bins)."""

    mean: Tensor
    std: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((bins,), -50.0))  # dB, until they are measured
        self.register_buffer("std", torch.full((bins,), 20.0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / (self.std + 1e-5)


class Conv2D(nn.Module):
    """AVID's "Conv2D" network of depth 10: log spectrograms (N, 1, time, bins) in dB to features (N, 8 width).

    A 7x7 convolution and four blocks of two 3x3 ones, without residuals, then the maximum over time and frequency
    (Morgado et al. 2021; facebookresearch/AVID-CMA: models/audio.py). `small` has no stride in the first block, as
    in the authors' experiments with short spectrograms; `parts` as in R2Plus1D.
    """

    def __init__(self, bins: int, width: int = 64, small: bool = False, parts: int = 1) -> None:
        super().__init__()
        self.standardise = Standardise(bins)
        self.stem = nn.Sequential(nn.Conv2d(1, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        strides = (1 if small else 2, 2, 2, 1)
        self.blocks = nn.Sequential(
            *(_block(i, o, s) for i, o, s in zip(widths[:-1], widths[1:], strides, strict=True))
        )
        self.parts = parts
        self.num_features = widths[-1] * parts

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 1, time, bins) -> (N, 8 width, time', bins')."""
        return self.blocks(self.stem(self.standardise(x)))

    def pool(self, x: Tensor) -> Tensor:
        """(N, D, time', bins') -> (N, D parts)."""
        return max_of_parts(x, self.parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.forward_features(x))


class OverSpectrogram(nn.Module):
    """A picture network over a log spectrogram, repeated for the three colours: (N, 1, time, bins) -> (N, D)."""

    def __init__(self, picture: nn.Module, bins: int) -> None:
        super().__init__()
        self.standardise = Standardise(bins)
        self.picture = picture
        self.num_features = picture.num_features

    def forward(self, x: Tensor) -> Tensor:
        return self.picture(self.standardise(x).expand(-1, 3, -1, -1))


def audio_backbone(name: str, bins: int) -> nn.Module:
    """A network with random weights that maps spectrograms (N, 1, time, bins) to features (N, num_features).

    name: conv2d-10, with the suffixes -small, -w16 (width of the first stage, 64 as published) and -t4 (parts of time),
    or the name of a picture network (nets/backbones.py).
    """
    match = _NAME.fullmatch(name)
    if not match:
        return OverSpectrogram(backbone(name), bins)
    width, parts = checked_width(match["width"] or "64"), int(match["parts"] or 1)
    return Conv2D(bins, width, small=bool(match["small"]), parts=parts)


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip
