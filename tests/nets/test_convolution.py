"""Strided convolutions over a single pixel are torch's in float32, and right in bf16, where torch's are not."""

import torch
from torch import nn

from semblance.nets.convolution import mend


def gradients(conv: nn.Conv2d, x: torch.Tensor, half: bool) -> tuple[torch.Tensor, ...]:
    conv.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        y = conv(x)
    y.float().square().sum().backward()
    return y.float(), *(p.grad for p in conv.parameters())


def test_single_pixels() -> None:
    for side in (1, 2, 5):
        for kernel, padding in ((3, 1), (1, 0), (3, 0), (5, 2)):
            if side + 2 * padding < kernel:
                continue
            torch.manual_seed(0)
            conv, x = nn.Conv2d(16, 32, kernel, 2, padding), torch.randn(144, 16, side, side)
            plain = gradients(conv, x, half=False)
            mend(net := nn.Sequential(conv))
            assert type(net[0]) is not nn.Conv2d
            torch.testing.assert_close(gradients(conv, x, half=False), plain)
            for a, b in zip(gradients(conv, x, half=True), plain, strict=True):
                assert (a - b).norm() < 0.02 * b.norm()
