"""LiDAR: the effective rank of what distinguishes pictures, beside what distinguishes views of one picture."""

import torch
from torch import Tensor

from semblance.evaluation.knn import check_features

DELTA = 1e-4  # of the paper


def lidar(views: Tensor) -> float:
    """Of features (N, V, D) of V views of each of N pictures; in [0, min(N - 1, D)] (Thilak et al. 2023, LiDAR).

    exp of the entropy of the eigenvalues' shares of W^-1/2 B W^-1/2, where B is the covariance of the pictures' means
    and W the mean covariance of the views about them, plus 1e-4. Theirs has about 1,000 pictures and 50 views.
    """
    check_features(views.flatten(0, 1))
    views = views.double()
    means = views.mean(1)
    within = (views - means[:, None]).flatten(0, 1)
    # an eigenvalue of B relative to W is a squared singular value of the means, whitened by W
    variances, directions = torch.linalg.eigh(within.T @ within / len(within))
    whitened = (means - means.mean(0)) @ directions * (variances.clamp(min=0) + DELTA).rsqrt()
    values = torch.linalg.svdvals(whitened).square()
    if values.sum() == 0:
        return 0.0
    return torch.special.entr(values / values.sum()).sum().exp().item()
