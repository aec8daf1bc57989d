"""NT-Xent, InfoNCE and NCE: the authors' numbers, closed forms, invariances, gradients, extremes."""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from loss_inputs import EXACT, close, normal, same_gradients, wave
from torch import Tensor

from semblance.losses import batch_nce, info_nce, nce, nt_xent


@pytest.mark.parametrize("temperature, total", [(0.1, 7.38051163349), (0.5, 3.60050900421)])
def test_nt_xent_is_the_authors_sum(temperature, total):
    """google-research/simclr: objective.py, add_contrastive_loss."""
    close(nt_xent(wave(5, 4), wave(5, 4, 1), temperature), total)


@pytest.mark.parametrize(
    "n, temperature, expected", [(1, 0.1, 0.0), (8, 0.5, 2.708050), (8, 0.1, 2.708050), (1024, 0.1, 7.624131)]
)
def test_nt_xent_of_equal_embeddings(n, temperature, expected):
    z = torch.ones(n, 2, dtype=torch.float64)
    close(nt_xent(z, z, temperature), 2 * log(2 * n - 1))
    assert log(2 * n - 1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "sign, temperature, expected", [(1, 0.1, 6.353971e-4), (1, 0.5, 1.062879), (-1, 0.1, 12.639061)]
)
def test_nt_xent_of_a_basis(sign, temperature, expected):
    """Equal and opposite views: 2N - 2 negatives at 0, so the positive is not counted among them."""
    z = torch.eye(8, 10, dtype=torch.float64)
    close(nt_xent(z, sign * z, temperature), 2 * log(1 + 14 * exp(-sign / temperature)))
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
    return sum(losses) / len(z1)


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
    monkeypatch.setattr("semblance.losses.SIMILARITIES_AT_ONCE", block)
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
