"""How embeddings spread: deviation by dimension, spectrum, and the rank that comes of it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.evaluation.knn import check_features


def deviation(z: Tensor) -> float:
    """Mean over dimensions of the standard deviation of rows (N, D), as they are: what VICReg holds near 1."""
    check_features(z)
    return z.double().std(0, correction=0).mean().item()


def unit_deviation(z: Tensor) -> float:
    """The same of rows of unit length, times sqrt(D): near 1 where they fill the sphere, near 0 where all are one
    direction (Chen & He 2021). Normalising hides a collapse towards 0.
    """
    check_features(z)
    return deviation(F.normalize(z.double(), dim=1)) * z.shape[1] ** 0.5


def spectrum(z: Tensor) -> Tensor:
    """Singular values of rows (N, D), largest first: float64 (min(N, D),)."""
    check_features(z)
    z = z.double()
    products = z @ z.T if len(z) < z.shape[1] else z.T @ z
    return torch.linalg.eigvalsh(products).clamp(min=0).sqrt().flip(0)


def rankme(z: Tensor) -> float:
    """exp of the entropy of the singular values' shares, in [1, min(N, D)] (Garrido et al. 2023, RankMe).

    An alarm for collapse only: a higher rank is not a better representation. Singular values below 1e-7 of the largest,
    which are rounding, count as 0; of rows that are all 0 the rank is 0.
    """
    values = spectrum(z)
    if values[0] == 0:
        return 0.0
    shares = values / values.sum()
    return torch.special.entr(shares[values > 1e-7 * values[0]]).sum().exp().item()
