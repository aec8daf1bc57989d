"""The objectives as pure functions in the papers' notation: no state, no collectives, any float dtype.

Every function takes the embeddings of the whole batch; the engine gathers them (engine/seam.py).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """NT-Xent of SimCLR, the mean over the 2N anchors: (N, D), (N, D) -> scalar.

    Each anchor has one positive and 2N - 2 negatives; only its similarity with itself is left out. ln(2N - 1) when
    all embeddings are equal. The authors sum the two directions, which is twice this
    (Chen et al. 2020; google-research/simclr: objective.py).
    """
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    positive = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(logits, positive)


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Balanced soft codes: scores (B, K) -> codes (B, K), each row sums to 1, the columns about equal.

    In log space, so exp(scores / epsilon) cannot overflow. Each iteration divides by the prototype totals, then by the
    sample totals (Caron et al. 2020; facebookresearch/swav: main_swav.py, distributed_sinkhorn).
    """
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(0, keepdim=True)
        log_q = log_q - log_q.logsumexp(1, keepdim=True)
    return log_q.softmax(1)  # 0 iterations too give codes


def swapped_prediction(scores: Sequence[Tensor], codes: Sequence[Tensor], temperature: float) -> Tensor:
    """Cross-entropy of every other crop's prediction with each large crop's code: lists of (B, K) -> scalar.

    codes[i] belongs to the crop of scores[i]; the mean over pairs of different crops, ln K when all scores are equal
    (Caron et al. 2020; facebookresearch/swav: main_swav.py).
    """
    log_p = [F.log_softmax(s / temperature, dim=1) for s in scores]
    pairs = [-(q * log_p[v]).sum(1).mean() for i, q in enumerate(codes) for v in range(len(scores)) if v != i]
    return torch.stack(pairs).mean()


def byol_regression(p: Tensor, z: Tensor) -> Tensor:
    """Squared distance of the normalised vectors, 2 - 2 cos, mean over the batch: (N, D), (N, D) -> scalar in [0, 4].

    (Grill et al. 2020; google-deepmind/deepmind-research: byol/utils/helpers.py, regression_loss)
    """
    return (2 - 2 * F.cosine_similarity(p, z, dim=1)).mean()


def cross_correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """Cross-correlation of two embeddings over the batch: (N, D), (N, D) -> (D, D) in [-1, 1].

    Columns are standardised with the biased variance and the 1e-5 of the authors' batch norm.
    """
    z1, z2 = (F.batch_norm(z, None, None, training=True, eps=1e-5) for z in (z1, z2))
    return z1.T @ z2 / len(z1)


def barlow_twins(z1: Tensor, z2: Tensor, lambda_: float) -> Tensor:
    """Distance of the cross-correlation from the identity, summed: (N, D), (N, D) -> scalar.

    0 at the optimum, D(1 + lambda (D - 1)) at most (Zbontar et al. 2021; facebookresearch/barlowtwins: main.py).
    """
    c = cross_correlation(z1, z2)
    diagonal = c.diagonal()
    off_diagonal = c.pow(2).sum() - diagonal.pow(2).sum()
    return (diagonal - 1).pow(2).sum() + lambda_ * off_diagonal
