"""Groups in use, and how sure a teacher is."""

import torch
from torch import Tensor


def in_use(labels: Tensor, groups: int) -> int:
    """How many of the groups have members: int (N,)."""
    return int((labels.bincount(minlength=groups) > 0).sum())


def effective(labels: Tensor, groups: int) -> float:
    """exp of the entropy of the groups' shares: as many groups of one size would be as uneven as that."""
    counts = labels.bincount(minlength=groups).double()
    return torch.special.entr(counts / counts.sum()).sum().exp().item()


def entropy(probabilities: Tensor) -> float:
    """Mean entropy of rows (N, K) that sum to 1, as a share of ln K: 0 where each is sure, 1 where none is."""
    found = torch.special.entr(probabilities.double()).sum(1).mean()
    return (found / torch.tensor(probabilities.shape[1]).double().log()).item()


def agreement(one: Tensor, other: Tensor) -> float:
    """How often two rows (N, K) have their largest entry at the same place, in [0, 1]."""
    return (one.argmax(1) == other.argmax(1)).double().mean().item()
