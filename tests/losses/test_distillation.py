"""BYOL's regression and the negative cosine: the authors' numbers, closed forms, invariances, gradients, extremes."""

import torch
from loss_inputs import EXACT, close, normal, same_gradients, wave
from torch import Tensor

from semblance.losses import byol_regression, negative_cosine


def test_byol_regression_equals_the_authors():
    """google-deepmind/deepmind-research: byol/utils/helpers.py, regression_loss, mean over the batch."""
    close(byol_regression(wave(5, 4), wave(5, 4, 1)), 1.34394977162)


def test_byol_regression_of_equal_orthogonal_and_opposite_vectors():
    p, q = torch.eye(4).double(), torch.eye(4).double().roll(1, 0)
    for z, expected in ((p, 0.0), (q, 2.0), (-p, 4.0), (3 * p, 0.0)):
        close(byol_regression(p, z), expected)


def test_byol_regression_is_the_distance_on_the_sphere():
    def naive(p: Tensor, z: Tensor) -> Tensor:
        return sum(((a / a.norm() - b / b.norm()) ** 2).sum() for a, b in zip(p, z, strict=True)) / len(p)

    same_gradients(byol_regression, naive, normal(5, 4), normal(5, 4, seed=1))


def test_byol_gradient_is_tangent():
    """The loss does not depend on the length of p, so its gradient has no part along p."""
    p = normal(5, 4).requires_grad_()
    byol_regression(p, normal(5, 4, seed=1)).backward()
    torch.testing.assert_close((p * p.grad).sum(1), torch.zeros(5).double(), **EXACT)


def test_byol_survives_vectors_of_zero_and_huge_length():
    for p in (torch.zeros(3, 4), torch.full((3, 4), 1e15)):
        p.requires_grad_()
        loss = byol_regression(p, torch.ones(3, 4))
        loss.backward()
        assert loss.isfinite() and p.grad.isfinite().all()


def test_negative_cosine_is_a_quarter_of_byol_less_one() -> None:
    p, z = normal(5, 4), normal(5, 4, seed=1)
    torch.testing.assert_close(2 * byol_regression(p, z), 4 + 4 * negative_cosine(p, z), **EXACT)
