"""Barlow Twins and VICReg: the authors' numbers, closed forms, invariances, gradients, extremes."""

import pytest
import torch
from loss_inputs import EXACT, close, normal, same_gradients, wave
from torch import Tensor

from semblance.losses import barlow_twins, cross_correlation, vicreg


@pytest.mark.parametrize("lambda_, expected", [(0.0051, 3.47947027125), (0.3, 4.18127177776)])
def test_barlow_twins_equals_the_authors(lambda_, expected):
    """facebookresearch/barlowtwins: main.py, BarlowTwins.forward, in one process."""
    close(barlow_twins(wave(6, 4), wave(6, 4, 1), lambda_), expected)


def white() -> Tensor:
    """Eight samples of four orthogonal columns with mean 0 and variance 1, from a Hadamard matrix."""
    h = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    return torch.kron(torch.kron(h, h), h)[:, 1:]


@pytest.mark.parametrize(
    "z1, z2, expected",
    [
        pytest.param(white()[:, :4], white()[:, :4], 0.0, id="equal and white"),
        pytest.param(white()[:, :4], -white()[:, :4], 16.0, id="opposite: 4D"),
        pytest.param(white()[:, :3], white()[:, 3:6], 3.0, id="unrelated: D"),
        pytest.param(*[white()[:, :1].expand(8, 4)] * 2, 0.0612, id="equal columns: lambda D(D-1)"),
        pytest.param(white()[:, :4], white()[:, [1, 0, 2, 3]], 2.0102, id="two columns swapped: 2 + 2 lambda"),
        pytest.param(white()[:, :4], white()[:, :4] * torch.tensor([-1, 1, 1, 1]), 4.0, id="one column turned round"),
    ],
)
def test_barlow_twins_closed_forms(z1, z2, expected):
    torch.testing.assert_close(
        barlow_twins(z1, z2, 0.0051), torch.tensor(expected).double(), rtol=0, atol=2e-4 if expected else 1e-9
    )  # the 1e-5 of the batch norm shows: C is 1 / (1 + 1e-5)


def test_barlow_twins_does_not_depend_on_scale_and_shift():
    """Of a dimension, in either branch, up to the 1e-5 of the batch norm."""
    z1, z2 = normal(40, 5), normal(40, 5, seed=1)
    moved = z1 * torch.tensor([1.0, 2.0, 5.0, 3.0, 9.0]) + torch.arange(5)
    for a, b in ((moved, z2), (z1, z2 * 4 - 1)):
        torch.testing.assert_close(barlow_twins(a, b, 0.01), barlow_twins(z1, z2, 0.01), rtol=1e-4, atol=0)


def test_barlow_twins_of_gaussians():
    """Same and independent branches, on average over draws."""
    b, d, lam = 512, 64, 0.0051
    draws = [(normal(b, d, seed=2 * s), normal(b, d, seed=2 * s + 1)) for s in range(8)]
    same = torch.stack([barlow_twins(z, z, lam) for z, _ in draws]).mean()
    apart = torch.stack([barlow_twins(z1, z2, lam) for z1, z2 in draws]).mean()
    assert same.item() == pytest.approx(lam * d * (d - 1) / (b - 1), rel=0.02)
    assert apart.item() == pytest.approx(d * (1 + 1 / (b - 1)) + lam * d * (d - 1) / (b - 1), rel=0.01)


def naive_barlow(z1: Tensor, z2: Tensor, lambda_: float = 0.01) -> Tensor:
    n, d = z1.shape
    total = torch.zeros((), dtype=torch.float64)
    for i in range(d):
        for j in range(d):
            a, b = z1[:, i] - z1[:, i].mean(), z2[:, j] - z2[:, j].mean()
            c = (a * b).mean() / ((a * a).mean() + 1e-5).sqrt() / ((b * b).mean() + 1e-5).sqrt()
            total = total + ((1 - c) ** 2 if i == j else lambda_ * c**2)
    return total


def test_barlow_twins_equals_loops_over_pairs_of_dimensions():
    """Off-diagonal small too, where two large sums are subtracted."""
    z1, z2 = normal(9, 4), normal(9, 4, seed=1)
    same_gradients(lambda a, b: barlow_twins(a, b, 0.01), naive_barlow, z1, z2)
    z1, z2 = white()[:, :4] + 1e-3 * normal(8, 4), white()[:, :4]
    same_gradients(lambda a, b: barlow_twins(a, b, 0.01), naive_barlow, z1, z2)


def test_cross_correlation_is_between_minus_1_and_1():
    c = cross_correlation(normal(6, 5).float(), normal(6, 5, seed=1).float())
    assert c.shape == (5, 5) and c.abs().max() <= 1
    torch.testing.assert_close(cross_correlation(white(), white()), torch.eye(7).double(), rtol=0, atol=1.1e-5)


def test_barlow_twins_survives_float32_extremes():
    """Constant dimensions, huge and tiny ones."""
    for z in (torch.ones(6, 4), normal(6, 4).float() * 1e8, normal(6, 4).float() * 1e-8):
        z = z.clone().requires_grad_()
        loss = barlow_twins(z, z.detach().flip(0), 0.0051)
        loss.backward()
        assert loss.isfinite() and z.grad.isfinite().all()


@pytest.mark.parametrize(("weights", "expected"), [((25, 25, 1), 20.966277447812047), ((10, 5, 3), 7.3406963638073455)])
def test_vicreg_of_the_authors_code(weights: tuple[float, float, float], expected: float) -> None:
    close(vicreg(wave(6, 4), wave(6, 4, 1), *weights), expected)


def test_vicreg_closed_forms() -> None:
    """Constants, repeated columns, white columns, and a shift of both views."""
    close(vicreg(torch.ones(8, 4).double(), torch.ones(8, 4).double(), 25, 25, 1), 24.75)
    signs = torch.tensor([1.0, -1] * 4, dtype=torch.float64)[:, None].expand(8, 4)
    close(vicreg(signs, signs, 25, 25, 1), 2 * 3 * (8 / 7) ** 2)
    close(vicreg(white(), white(), 25, 25, 1), 0.0)
    a, b = normal(8, 4), normal(8, 4, seed=1)
    torch.testing.assert_close(vicreg(a + 7, b + 7, 25, 25, 1), vicreg(a, b, 25, 25, 1), **EXACT)
