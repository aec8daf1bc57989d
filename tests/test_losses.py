"""The objectives: numbers of the authors' code, closed forms, invariances, gradients, and extreme inputs.

The numbers under "of the authors' code" come from running it (or, for TensorFlow and JAX, the same lines in NumPy) in
float64 on the inputs of `wave`.
"""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.losses import (
    barlow_twins,
    batch_nce,
    byol_regression,
    cross_correlation,
    info_nce,
    nce,
    negative_cosine,
    nt_xent,
    sinkhorn,
    swapped_prediction,
    vicreg,
)

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def wave(n: int, d: int, phase: float = 0.0) -> Tensor:
    """sin(i j + phase), i = 1..n, j = 1..d: float64 (n, d)."""
    return torch.sin(torch.outer(torch.arange(1.0, n + 1), torch.arange(1.0, d + 1)).double() + phase)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(loss: Tensor, expected: float) -> None:
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=loss.dtype), **EXACT)


def same_gradients(ours, naive, *inputs: Tensor) -> None:
    """Value and gradient of two ways to write the same function."""
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    a, b = ours(*inputs), naive(*inputs)
    torch.testing.assert_close(a, b, **EXACT)
    for x, y in zip(torch.autograd.grad(a, inputs), torch.autograd.grad(b, inputs), strict=True):
        assert x.abs().max() > 0
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)


# NT-Xent


@pytest.mark.parametrize("temperature, total", [(0.1, 7.38051163349), (0.5, 3.60050900421)])
def test_nt_xent_is_half_of_the_authors_sum(temperature, total):
    """google-research/simclr: objective.py, add_contrastive_loss."""
    close(2 * nt_xent(wave(5, 4), wave(5, 4, 1), temperature), total)


@pytest.mark.parametrize(
    "n, temperature, expected", [(1, 0.1, 0.0), (8, 0.5, 2.708050), (8, 0.1, 2.708050), (1024, 0.1, 7.624131)]
)
def test_nt_xent_of_equal_embeddings(n, temperature, expected):
    z = torch.ones(n, 2, dtype=torch.float64)
    close(nt_xent(z, z, temperature), log(2 * n - 1))
    assert log(2 * n - 1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "sign, temperature, expected", [(1, 0.1, 6.353971e-4), (1, 0.5, 1.062879), (-1, 0.1, 12.639061)]
)
def test_nt_xent_of_a_basis(sign, temperature, expected):
    """Equal and opposite views: 2N - 2 negatives at 0, so the positive is not counted among them."""
    z = torch.eye(8, 10, dtype=torch.float64)
    close(nt_xent(z, sign * z, temperature), log(1 + 14 * exp(-sign / temperature)))
    assert log(1 + 14 * exp(-sign / temperature)) == pytest.approx(expected, rel=1e-6)


def naive_nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.2) -> Tensor:
    views = [[row / row.norm() for row in z] for z in (z1, z2)]
    losses = []
    for i in range(len(z1)):
        for a, b in ((0, 1), (1, 0)):
            anchor = views[a][i]
            positive = (anchor @ views[b][i] / temperature).exp()
            negatives = [(anchor @ z[j] / temperature).exp() for z in views for j in range(len(z1)) if j != i]
            losses.append(-(positive / (positive + sum(negatives))).log())
    return sum(losses) / len(losses)


def test_nt_xent_equals_loops_over_anchors_positives_and_negatives():
    same_gradients(lambda a, b: nt_xent(a, b, 0.2), naive_nt_xent, normal(5, 3), normal(5, 3, seed=1))


def test_nt_xent_does_not_depend_on_scale_rotation_view_or_order():
    z1, z2 = normal(6, 4), normal(6, 4, seed=1)
    loss, rotation = nt_xent(z1, z2, 0.1), torch.linalg.qr(normal(4, 4)).Q
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    scaled, turned = (z1 * 7, z2 * torch.arange(1, 7)[:, None]), (z1 @ rotation, z2 @ rotation)
    for a, b in (scaled, turned, (z2, z1), (z1[order], z2[order])):
        torch.testing.assert_close(nt_xent(a, b, 0.1), loss, **EXACT)


@pytest.mark.parametrize("loss", [nt_xent, batch_nce])
@pytest.mark.parametrize("block", [1, 60, 75])
def test_in_blocks_as_whole(loss, block, monkeypatch):
    """Blocks of one row, of several, and of a number that does not divide the batch."""
    inputs = [normal(15, 4), normal(15, 4, seed=1)]
    whole = [x.clone().requires_grad_() for x in inputs]
    expected = torch.autograd.grad(loss(*whole, 0.2), whole)
    monkeypatch.setattr("semblance.losses.BLOCK", block)
    parts = [x.clone().requires_grad_() for x in inputs]
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):
        value = loss(*parts, 0.2)
    assert max(held) <= 2 * 15 * 4  # embeddings are kept for the backward pass, similarities are not
    for ours, theirs in zip(torch.autograd.grad(value, parts), expected, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)


def test_batch_nce():
    """ln N where all are equal; each query against every key in loops; its sum is MoCo v3's."""
    same = torch.ones(6, 3, dtype=torch.float64)
    close(batch_nce(same, same, 0.2), log(6))

    def naive(q: Tensor, k: Tensor) -> Tensor:
        q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
        losses = [-(q[i] @ k[i] / 0.2 - torch.logsumexp(k @ q[i] / 0.2, 0)) for i in range(len(q))]
        return torch.stack(losses).mean()

    same_gradients(lambda a, b: batch_nce(a, b, 0.2), naive, normal(5, 3), normal(5, 3, seed=1))


def test_nt_xent_survives_float32_extremes():
    """A tiny temperature, zero and huge embeddings."""
    for z in (normal(6, 4).float(), torch.zeros(6, 4), normal(6, 4).float() * 1e15):
        z.requires_grad_()
        loss = nt_xent(z, -z.flip(0), 1e-3)
        loss.backward()
        assert loss.isfinite() and z.grad.isfinite().all()


# Sinkhorn and swapped prediction


def test_sinkhorn_equals_the_authors():
    """facebookresearch/swav: main_swav.py, distributed_sinkhorn, in one process."""
    expected = [
        [0.509295551644, 0.465652396758, 0.0250520515975], [0.999997181525, 7.95055957417e-16, 2.81847511302e-06],
        [7.43177232299e-08, 3.89337620129e-12, 0.999999925678], [2.89122259543e-15, 0.999999985907, 1.4093408473e-08],
    ]  # fmt: skip
    torch.testing.assert_close(sinkhorn(wave(4, 3), 0.05, 3), torch.tensor(expected, dtype=torch.float64), **EXACT)
    expected = [
        [0.36096537415, 0.381419863625, 0.257614762226], [0.768236198126, 0.0253141427768, 0.206449659097],
        [0.156797757735, 0.0623866709809, 0.780815571284], [0.027918659779, 0.846476643855, 0.125604696366],
    ]  # fmt: skip
    torch.testing.assert_close(sinkhorn(wave(4, 3), 0.5, 1), torch.tensor(expected, dtype=torch.float64), **EXACT)


def test_swapped_prediction_equals_the_authors():
    """facebookresearch/swav: main_swav.py, train; two large crops and a small one."""
    scores = [wave(4, 3, phase) for phase in (0.0, 1.0, 2.0)]
    codes = [sinkhorn(s, 0.05, 3) for s in scores[:2]]
    close(swapped_prediction(scores, codes, 0.1), 7.14501200114)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_every_code_sums_to_1(iterations):
    codes = sinkhorn(F.normalize(normal(64, 10), dim=1), 0.05, iterations)
    torch.testing.assert_close(codes.sum(1), torch.ones(64).double(), rtol=0, atol=1e-14)
    if not iterations:
        torch.testing.assert_close(codes, F.softmax(F.normalize(normal(64, 10), dim=1) / 0.05, 1))


def test_prototypes_are_used_equally_in_the_limit():
    scores = F.normalize(normal(64, 10), dim=1)
    few, many = (sinkhorn(scores, 0.05, n).sum(0) - 6.4 for n in (3, 300))
    assert 1e-3 < few.abs().max() < 3.2 and many.abs().max() < 1e-6


def test_sinkhorn_ignores_what_all_samples_share():
    """A constant for all or for a prototype; a constant for a sample matters, but not in the limit."""
    scores = F.normalize(normal(20, 6), dim=1)
    codes = sinkhorn(scores, 0.05, 3)
    torch.testing.assert_close(sinkhorn(scores + 0.3, 0.05, 3), codes, **EXACT)
    torch.testing.assert_close(sinkhorn(scores + normal(1, 6), 0.05, 3), codes, **EXACT)
    shifted = scores + normal(20, 1)
    assert (sinkhorn(shifted, 0.05, 3) - codes).abs().max() > 0.01
    torch.testing.assert_close(sinkhorn(shifted, 0.05, 500), sinkhorn(scores, 0.05, 500), rtol=0, atol=1e-4)


@pytest.mark.parametrize("k", [10, 3000])
@pytest.mark.parametrize("crops", [2, 8])
def test_constant_scores_give_uniform_codes_and_ln_k(k, crops):
    scores = [torch.full((4, k), 0.7, dtype=torch.float64)] * crops
    codes = [sinkhorn(s, 0.05, 3) for s in scores[:2]]
    torch.testing.assert_close(codes[0], torch.full((4, k), 1 / k, dtype=torch.float64), **EXACT)
    close(swapped_prediction(scores, codes, 0.1), log(k))


def test_codes_of_the_identity():
    q = sinkhorn(torch.eye(10, dtype=torch.float64), 0.05, 3)
    torch.testing.assert_close(q.diagonal(), torch.full((10,), exp(20) / (exp(20) + 9), dtype=torch.float64), **EXACT)
    close(swapped_prediction([torch.eye(10).double()] * 2, [torch.eye(10).double()] * 2, 0.1), log(1 + 9 * exp(-10)))
    assert log(1 + 9 * exp(-10)) == pytest.approx(4.085e-4, rel=1e-3)


def test_no_gradient_passes_through_codes():
    assert not sinkhorn(normal(4, 3).requires_grad_(), 0.05, 3).requires_grad


def naive_sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    q = (scores / epsilon).exp()
    for _ in range(iterations):
        for k in range(q.shape[1]):
            q[:, k] /= q[:, k].sum()
        for b in range(q.shape[0]):
            q[b] /= q[b].sum()
    return q


def naive_swapped(*scores: Tensor, temperature: float = 0.1) -> Tensor:
    total, pairs = torch.zeros((), dtype=torch.float64), 0
    for i in (0, 1):
        q = naive_sinkhorn(scores[i].detach().clone(), 0.05, 3)
        for v in range(len(scores)):
            if v != i:
                pairs += 1
                for b in range(len(q)):
                    p = (scores[v][b] / temperature).exp()
                    total = total - (q[b] * (p / p.sum()).log()).sum() / len(q)
    return total / pairs


def test_swapped_prediction_equals_loops_over_pairs_of_crops():
    """Two large crops and two small; a code is predicted from every crop but its own."""

    def ours(*scores: Tensor) -> Tensor:
        return swapped_prediction(scores, [sinkhorn(s, 0.05, 3) for s in scores[:2]], 0.1)

    same_gradients(ours, naive_swapped, *(F.normalize(normal(5, 4, seed=s), dim=1) for s in range(4)))


@pytest.mark.parametrize("size", [1.0, 5e2, 1e4])
def test_sinkhorn_survives_float32_extremes(size):
    """Scores of `size` epsilon: exp would overflow at 89. Equal to float64 where the codes are hard too."""
    scores = normal(32, 8) * size / 3
    scores[0], scores[1] = size, -size
    codes = sinkhorn(scores.float(), 1.0, 3)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(1), torch.ones(32), rtol=0, atol=1e-6)
    torch.testing.assert_close(codes.double(), sinkhorn(scores.float().double(), 1.0, 3), rtol=0, atol=2e-6 * size)
    s = scores.float().requires_grad_()
    loss = swapped_prediction([s, s], [codes, codes], 1.0)
    loss.backward()
    assert loss.isfinite() and s.grad.isfinite().all()


# BYOL


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


# Barlow Twins


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


# InfoNCE, NCE, the negative cosine and VICReg


@pytest.mark.parametrize(("temperature", "expected"), [(0.07, 8.33027294564872), (0.2, 3.3873177920716704)])
def test_info_nce_of_the_authors_code(temperature: float, expected: float) -> None:
    close(info_nce(wave(6, 4), wave(6, 4, 1), wave(8, 4, 2), temperature), expected)


def test_info_nce_closed_forms() -> None:
    basis = torch.eye(18, dtype=torch.float64)
    close(info_nce(basis[:2], basis[:2], basis[2:], 0.2), log(1 + 16 * exp(-5)))
    close(info_nce(basis[:1], basis[1:2], basis[2:], 0.2), log(17))
    same = torch.ones(4, 3, dtype=torch.float64)
    close(info_nce(same, same, torch.ones(65_536, 3, dtype=torch.float64), 0.07), 11.090370148648967)


@pytest.mark.parametrize(("k", "expected"), [(4096, 9.317888), (32_000, 11.373507), (65_536, 12.090363)])
def test_nce_of_equal_scores(k: int, expected: float) -> None:
    """ln(K + 1) + K ln((K + 1) / K), whatever the score, when Z is its mean."""
    for score in (-3.0, 0.0, 14.0):
        scores = torch.full((2, k + 1), score, dtype=torch.float64)
        loss = nce(scores[:, :1], scores[:, 1:], score + log(k))
        assert loss == pytest.approx(log(k + 1) + k * log((k + 1) / k), rel=1e-9) == pytest.approx(expected, abs=1e-6)


def test_nce_averages_positives_and_sums_negatives() -> None:
    p, n = normal(3, 2), normal(3, 4, seed=1)
    expected = torch.log1p(torch.exp(1 - p)).mean(1) + torch.log1p(torch.exp(n - 1)).sum(1)
    torch.testing.assert_close(nce(p, n, 1.0), expected.mean(), **EXACT)


def test_negative_cosine_is_a_quarter_of_byol_less_one() -> None:
    p, z = normal(5, 4), normal(5, 4, seed=1)
    torch.testing.assert_close(2 * byol_regression(p, z), 4 + 4 * negative_cosine(p, z), **EXACT)


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
