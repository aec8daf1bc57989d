"""Video networks: the R(2+1)D of AVID, and any picture network over frames."""

import re
from copy import deepcopy

import torch
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.nets.backbones import backbone, checked_width

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # of each stage, by depth
_NAME = re.compile(r"r2plus1d-(?P<depth>10|18|34)(?P<small>-small)?(-w(?P<width>\d+))?(-t(?P<parts>[1-9]\d*))?")


class R2Plus1D(nn.Module):
    """AVID's R(2+1)D: clips (N, 3, T, H, W) to features (N, 8 width), the maximum over time and space.

    With `parts` above one, the maxima over that many parts of time, concatenated: features are `parts` times as wide
    and keep the order of events.

    Not torchvision's: its stem is a full 3-D convolution with a max-pool, which `small` leaves out, and the spatial
    convolutions of a block are as wide as its output (Morgado et al. 2021; facebookresearch/AVID-CMA: models/video.py).
    """

    def __init__(self, depth: int = 18, width: int = 64, small: bool = False, parts: int = 1) -> None:
        super().__init__()
        pool = nn.Identity() if small else nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        stem = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm3d(width), nn.ReLU(), pool)
        stages, inputs = [], width
        for stage, count in enumerate(BLOCKS[depth]):
            outputs = width * 2**stage
            blocks = [Block(inputs, outputs, 2 if stage else 1), *(Block(outputs, outputs) for _ in range(count - 1))]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.parts = parts
        self.num_features = inputs * parts

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> (N, 8 width, T', H', W')."""
        return self.stages(self.stem(x))

    def pool(self, x: Tensor) -> Tensor:
        """(N, D, T', H', W') -> (N, D parts)."""
        return max_of_parts(x, self.parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.forward_features(x))


class Block(nn.Module):
    """Two pairs of a spatial and a temporal convolution, the shortcut added before the last batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()

        def spatial(i: int, s: int) -> nn.Module:
            return nn.Conv3d(i, outputs, (1, 3, 3), (1, s, s), (0, 1, 1), bias=False)

        def temporal(s: int) -> nn.Module:
            return nn.Conv3d(outputs, outputs, (3, 1, 1), (s, 1, 1), (1, 0, 0), bias=False)

        self.convolutions = nn.Sequential(
            spatial(inputs, stride), nn.BatchNorm3d(outputs), nn.ReLU(),
            temporal(stride), nn.BatchNorm3d(outputs), nn.ReLU(),
            spatial(outputs, 1), nn.BatchNorm3d(outputs), nn.ReLU(),
            temporal(1),
        )  # fmt: skip
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv3d(inputs, outputs, 1, stride, bias=False)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolutions(x) + self.shortcut(x)).relu()


class OverFrames(nn.Module):
    """A picture network over each frame of a clip, the mean of its features: (N, 3, T, H, W) -> (N, D)."""

    def __init__(self, picture: nn.Module) -> None:
        super().__init__()
        self.picture = picture
        self.num_features = picture.num_features

    def forward(self, x: Tensor) -> Tensor:
        return self.picture(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), -1)).mean(1)


def max_of_parts(x: Tensor, parts: int) -> Tensor:
    """The maxima over each part of time and all other axes: (N, D, T, ...) -> (N, D parts).

    Parts are equally long; steps that two of them share count in both, as in torch's adaptive pooling.
    """
    t = x.shape[2]
    if t < parts:
        raise ValueError(f"-t{parts} wants as many steps of time, of which {t} are left. Give longer windows.")
    return torch.cat([x[:, :, i * t // parts : -(-(i + 1) * t // parts)].flatten(2).amax(2) for i in range(parts)], 1)


def video_backbone(name: str) -> nn.Module:
    """A network with random weights that maps clips (N, 3, T, H, W) to features (N, num_features).

    name: r2plus1d-10, -18 or -34, with the suffixes -small, -w16 (width of the first stage, 64 as published) and -t4
    (parts of time); any other name is a picture network's, for every frame (nets/backbones.py).
    """
    match = _NAME.fullmatch(name)
    if not match:
        return OverFrames(backbone(name))
    size = int(match["depth"]), checked_width(match["width"] or "64")
    return R2Plus1D(*size, small=bool(match["small"]), parts=int(match["parts"] or 1))


def check_windows(network: nn.Module, name: str, *window: int) -> None:
    """Raise UserError unless the network takes windows (channels, time, ...)."""
    try:
        deepcopy(network).to("meta").eval()(torch.empty(1, *window, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        told = str(error).splitlines()[0]
        raise UserError(f"Backbone {name} does not take windows of {' x '.join(map(str, window))}: {told}") from error
