"""Crops of several sizes through one backbone."""

import torch
from torch import Tensor, nn


def multi_crop(backbone: nn.Module, views: list[Tensor]) -> tuple[Tensor, int]:
    """Features (V b, D) of V crops (b, 3, size, size), largest crops first, and how many of V are of that size.

    One forward per size, so that crops of a size share batch statistics (facebookresearch/swav: src/resnet50.py).
    """
    sizes = sorted({view.shape[-1] for view in views}, reverse=True)
    features = [backbone(torch.cat([v for v in views if v.shape[-1] == size])) for size in sizes]
    return torch.cat(features), sum(view.shape[-1] == sizes[0] for view in views)
