"""Positions of a ViT for views of another size than its own, as DINO's authors interpolate them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@contextmanager
def dinos_positions() -> Iterator[None]:
    """Within, timm's ViTs resample their positions as DINO's do; outside, as timm does (bicubic, antialiased).

    In timm's own function, for it is called where a sharded backbone has its positions whole.
    """
    from timm.models import vision_transformer as timm

    own = timm.resample_abs_pos_embed
    timm.resample_abs_pos_embed = resample
    try:
        yield
    finally:
        timm.resample_abs_pos_embed = own


def resample(
    positions: Tensor, new_size: Sequence[int], old_size: Sequence[int], num_prefix_tokens: int = 1, **_: Any
) -> Tensor:
    """Positions (1, prefix + h w, D) of a grid for another grid, bicubic without antialiasing.

    The scale is that of a grid larger by a tenth of a cell (facebookresearch/dino: vision_transformer.py,
    interpolate_pos_encoding).
    """
    if tuple(new_size) == tuple(old_size):
        return positions
    prefix, cells = positions.split([num_prefix_tokens, positions.shape[1] - num_prefix_tokens], 1)
    cells = cells.unflatten(1, tuple(old_size)).permute(0, 3, 1, 2)
    scale = [(new + 0.1) / old for new, old in zip(new_size, old_size, strict=True)]
    cells = F.interpolate(cells, scale_factor=scale, mode="bicubic")
    return torch.cat([prefix, cells.flatten(2).transpose(1, 2)], 1)
