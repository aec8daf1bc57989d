"""Parts as a person would write them: a method, two networks, a Dataset, functions that make them, and a view."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

import semblance as sb
from semblance.losses import nt_xent
from semblance.views import crop


class Mine(sb.Method):
    """SimCLR as a student writes it down: nothing but what has to be there."""

    def __init__(self, backbone, temperature=0.3):
        super().__init__(backbone)
        self.head = nn.Linear(self.features, 8)
        self.temperature = temperature

    def embed(self, views):
        return {"a": self.head(self.backbone(views[0])), "b": self.head(self.backbone(views[1]))}

    def objective(self, z, index, clock):
        return nt_xent(z["a"], z["b"], self.temperature), {}


class Net(nn.Module):
    """It does not say how many features it makes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2))

    def forward(self, x):
        return self.layers(x).relu().mean((2, 3))


class Wide(Net):
    """Nobody can make it who does not know its width."""

    def __init__(self, width):
        super().__init__()
        self.layers[3] = nn.Conv2d(8, width, 3, 2)


def net():
    return Net()


class Stripes(Dataset):
    """Pictures of three sizes, with a stripe down or across, which is the label; the fourth cannot be read."""

    def __init__(self, count=40):
        self.count, self.odd = count, lambda i: bool(i % 2)  # a lambda: it cannot be pickled

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i == 3:
            raise KeyError("three")
        side = (16, 20, 24)[i % 3]
        picture = np.random.default_rng(i).integers(0, 256, (side, side, 3)).astype(np.uint8)
        picture[(slice(None), 4) if self.odd(i) else 4] = 255
        return Image.fromarray(picture), "down" if self.odd(i) else "across"


def stripes():
    return Stripes()


@dataclass(frozen=True)
class Halves:
    """The left or the right half of a picture, at random."""

    size: int = 16
    count: int = 2

    def scaled(self, ratio):
        return replace(self, size=round(self.size * ratio))

    def make(self, raw, index, key):
        from semblance.runtime import random

        right = random.uniform(random.key(key, "half"), index)[:, 0] < 0.5
        side = raw[0].shape[-1]
        boxes = torch.tensor([[0, 0, side, side // 2]]).repeat(len(index), 1)
        boxes[:, 1] = right * (side // 2)
        flip = torch.zeros(len(index), dtype=torch.bool)
        return crop.resized_crop(raw[0], boxes, self.size, bicubic=False, flip=flip) / 255
