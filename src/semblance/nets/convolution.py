"""Strided convolutions over a single pixel."""

import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """The same as torch's, but over a single pixel with stride 1, which makes no difference there.

    oneDNN's bf16 gradient of the weights of a 3x3 convolution with stride 2 over 1x1 pixels is uninitialised memory,
    NaN in most draws (torch 2.14, tests/nets/test_convolution.py).
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        single = input.shape[-2:] == (1, 1) and self.padding == tuple((k - 1) // 2 for k in self.kernel_size)
        if not single or self.padding_mode != "zeros":
            return super()._conv_forward(input, weight, bias)
        return F.conv2d(input, weight, bias, 1, self.padding, self.dilation, self.groups)


def mend(module: nn.Module) -> None:
    """Turn torch's strided convolutions of a module into those above, their parameters kept."""
    for conv in module.modules():
        if type(conv) is nn.Conv2d and max(conv.stride) > 1:
            conv.__class__ = Conv2d
