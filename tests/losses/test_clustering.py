"""Sinkhorn and swapped prediction: the authors' numbers, closed forms, invariances, gradients, extremes."""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from loss_inputs import EXACT, close, normal, same_gradients, wave
from torch import Tensor

from semblance.losses import sinkhorn, swapped_prediction


def test_sinkhorn_equals_the_authors():
    """facebookresearch/swav: main_swav.py, distributed_sinkhorn, in one process."""
    expected = [
        [0.509295551644, 0.465652396758, 0.0250520515975],
        [0.999997181525, 7.95055957417e-16, 2.81847511302e-06],
        [7.43177232299e-08, 3.89337620129e-12, 0.999999925678],
        [2.89122259543e-15, 0.999999985907, 1.4093408473e-08],
    ]
    torch.testing.assert_close(sinkhorn(wave(4, 3), 0.05, 3), torch.tensor(expected, dtype=torch.float64), **EXACT)
    expected = [
        [0.36096537415, 0.381419863625, 0.257614762226],
        [0.768236198126, 0.0253141427768, 0.206449659097],
        [0.156797757735, 0.0623866709809, 0.780815571284],
        [0.027918659779, 0.846476643855, 0.125604696366],
    ]
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
