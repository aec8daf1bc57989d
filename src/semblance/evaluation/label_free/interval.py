"""How far a number would move on other pictures of the same kind."""

from collections.abc import Callable

import torch
from torch import Tensor

DRAWS = 20


def interval(statistic: Callable[..., float], *rows: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """A statistic of rows, first axis the picture, and the ends of its 95 % interval: (value, low, high).

    By bootstrap without replacement, as rows drawn twice would be their own nearest neighbours: the deviation over
    halves of the pictures is that over sets of all of them (Politis, Romano, Wolf 1999, Subsampling).
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(rows[0])
    half = n // 2
    halves = [torch.randperm(n, generator=generator)[:half] for _ in range(DRAWS)]
    drawn = torch.tensor([statistic(*(r[index] for r in rows)) for index in halves], dtype=torch.float64)
    value = statistic(*rows)
    reach = 1.96 * drawn.std().item() * (half / (n - half)) ** 0.5
    return value, value - reach, value + reach
