"""Two views of each picture: how near they are to each other, and how far from those of other pictures."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.errors import UserError
from semblance.evaluation.knn import check_features
from semblance.evaluation.retrieval import ranks


@dataclass
class Found:
    """Of each row of one view, float64 (2 N,), both ways: the share of the other pictures' views that are farther than
    its own other view, in [0, 1], 0.5 by chance; and whether its own is the nearest, 1 / N by chance."""

    percentile: Tensor
    first: Tensor


def find_other_view(one: Tensor, other: Tensor) -> Found:
    """Where the other view of each picture stands among those of all, by cosine: (N, D) twice.

    Of equal ones half count as nearer, so that a collapsed encoder is at chance. Raises UserError for unusable input.
    """
    check_features(one)
    check_features(other, one.shape[1])
    if len(one) != len(other) or len(one) < 2:
        raise UserError(f"Two views of at least two pictures, not {len(one)} and {len(other)} rows.")
    a, b = (F.normalize(view.double(), dim=1) for view in (one, other))
    places = torch.cat([ranks(a, b), ranks(b, a)]).double()
    return Found(1 - (places - 1) / (len(one) - 1), (places == 1).double())


def alignment(one: Tensor, other: Tensor) -> float:
    """Mean squared distance of the two views of a picture on the unit sphere: (N, D) twice; 0 to 4, lower is nearer
    (Wang & Isola 2020)."""
    check_features(one)
    check_features(other, one.shape[1])
    a, b = (F.normalize(view.double(), dim=1) for view in (one, other))
    return (a - b).square().sum(1).mean().item()


def repeatability(one: Tensor, other: Tensor) -> float:
    """Which share of the spread on the unit sphere is of the picture and not of the view: (N, D) twice.

    1 - E|a_i - b_i|^2 / E|a_i - b_j|^2, an intraclass correlation (Nakagawa & Schielzeth 2010): 1 where the two views
    of a picture coincide, 0 where they are as far as those of others, and where all rows are one direction.
    """
    near = alignment(one, other)
    a, b = (F.normalize(view.double(), dim=1) for view in (one, other))
    n = len(a)
    products = (a.sum(0) @ b.sum(0) - (a * b).sum()).item() / (n * (n - 1))  # of different pictures, on average
    lengths = (a.square().sum() + b.square().sum()).item() / n  # 2, but of rows that are 0
    far = lengths - 2 * products
    return 1 - near / far if far > 1e-12 else 0.0


def uniformity(z: Tensor) -> float:
    """Log of the mean over pairs of exp(-2 d^2) on the unit sphere: (N, D); -4 at least, 0 where all rows are one
    direction (Wang & Isola 2020: github.com/ssnl/align_uniform)."""
    check_features(z)
    return F.pdist(F.normalize(z.double(), dim=1)).square().mul(-2).exp().mean().log().item()
