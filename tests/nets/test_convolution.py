"""Strided convolutions are torch's in float32, and right where torch's are not."""

import subprocess
import sys

import pytest
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
            for a, b in zip(gradients(conv, x, half=False), plain, strict=True):
                assert (a - b).norm() < 1e-5 * b.norm()
            for a, b in zip(gradients(conv, x, half=True), plain, strict=True):
                assert (a - b).norm() < 0.02 * b.norm()


@pytest.mark.parametrize(("half", "side"), [(False, 64), (False, 74), (True, 74)])
def test_few_channels_last_do_not_end_the_process(half: bool, side: int) -> None:
    """In a process of its own: torch's writes out of bounds there."""
    script = f"""
import torch
from semblance.nets.backbones import backbone
net = backbone("resnet10-w8-cifar").to(memory_format=torch.channels_last)
x = torch.zeros(16, 3, {side}, {side}).contiguous(memory_format=torch.channels_last)
for _ in range(3):
    with torch.autocast("cpu", torch.bfloat16, enabled={half}):
        y = net(x)
    y.float().sum().backward()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
