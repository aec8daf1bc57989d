"""A memory bank: the running embedding of every training picture, and noise-contrastive estimation with it."""

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.losses import nce
from semblance.runtime import random
from semblance.systems.method import Empty

FEW = 64  # up to this many bank rows per chosen row, multiplying with all of them is faster


class MemoryBank(nn.Module):
    """Rows (samples, D) that negatives are drawn from; state without gradient."""

    rows: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)

    def __len__(self) -> int:
        return len(self.rows)

    def own(self, z: Tensor, index: Tensor) -> Tensor:
        """Similarity of each embedding with its sample's row: (B, D), (B,) -> (B, 1)."""
        return (z * self.rows[index]).sum(1, keepdim=True)

    def chosen(self, z: Tensor, rows: Tensor) -> Tensor:
        """Similarity of each embedding with the rows given for it: (B, D), int64 (B, K) -> (B, K)."""
        if len(self.rows) <= FEW * rows.shape[1]:
            return (z @ self.rows.T).gather(1, rows)  # with all rows: cheaper than copying the chosen ones
        return torch.einsum("bd,bkd->bk", z, self.rows[rows])

    def draw(self, index: Tensor, count: int, key: int) -> Tensor:
        """Rows of other samples, drawn uniformly, with replacement, by (key, index): int64 (B, count)."""
        return draw_outside(index[:, None], len(self), count, key, index)

    @torch.no_grad()
    def update(self, z: Tensor, index: Tensor, momentum: float) -> None:
        """Move the rows of the samples towards their embeddings and rescale them to unit length.

        If a sample occurs twice, its last embedding counts, on any device.
        """
        places = torch.arange(len(index), device=index.device)
        last = index.new_zeros(len(self)).scatter_reduce_(0, index, places, "amax")[index]
        rows = self.rows[index].lerp(z[last].to(self.rows.dtype), 1 - momentum)
        self.rows[index] = F.normalize(rows, dim=1)


def draw_outside(excluded: Tensor, samples: int, count: int, key: int, index: Tensor) -> Tensor:
    """Rows drawn uniformly, with replacement, among those that are not excluded, by (key, index): int64 (B, count).

    excluded: int64 (B, m), sorted and distinct in each row, m < samples.
    """
    m = excluded.shape[1]
    drawn = random.bits(key, index, count) % (samples - m)
    holes = excluded - torch.arange(m, device=excluded.device)  # a draw skips every excluded row at or below it
    return drawn + torch.searchsorted(holes.contiguous(), drawn, right=True)


def nce_once(positive: Tensor, negative: Tensor, log_partition: Tensor) -> Tensor:
    """NCE of scores (B, 1) and (B, K) with log_partition, the log of the mean of exp(score).

    It is NaN before the first call, which sets it in place from its own scores; later calls keep it.
    """
    estimate_once(log_partition, torch.cat([positive, negative], 1))
    return nce(positive, negative, log_partition + log(negative.shape[1]))


@torch.no_grad()
def estimate_once(log_partition: Tensor, scores: Tensor) -> None:
    """Replace NaN by the log of the mean of exp(score), without waiting for a GPU."""
    estimate = scores.logsumexp(tuple(range(scores.ndim))) - log(scores.numel())
    log_partition.copy_(torch.where(log_partition.isnan(), estimate, log_partition))


def nce_level(k: int) -> float:
    """The NCE loss of one positive and k negatives when all scores equal log Z."""
    return log(k + 1) + k * log((k + 1) / k)


def nce_constants(k: int) -> dict[str, float]:
    """The loss of `nce_once` with k draws when all scores are equal."""
    return {"ln(K + 1) + K ln((K + 1) / K): all scores equal": Empty(nce_level(k))}
