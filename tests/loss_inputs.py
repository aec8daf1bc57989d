"""Inputs of the tests of losses, and how what comes out is compared.

The numbers of the authors' code come from running it (or, for TensorFlow and JAX, the same lines in NumPy) in float64
on the inputs of `wave`.
"""

import torch
from torch import Tensor

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
