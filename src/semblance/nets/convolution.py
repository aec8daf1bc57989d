"""Strided convolutions that a CPU's kernels fail at: over a single pixel, and of one pixel at a time."""

import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """The same as torch's, but with stride 1 where that makes no difference, except on a GPU.

    oneDNN's bf16 gradient of the weights of a 3x3 convolution with stride 2 over 1x1 pixels is uninitialised memory,
    NaN in most draws. Its gradient of the weights of a 1x1 convolution with stride 2 and few channels, channels last,
    writes out of bounds: the process ends (8 channels of 74 x 74). Here the pixels that such a one leaves out are
    left out before it (torch 2.14, tests/nets/test_convolution.py).
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode != "zeros" or input.device.type == "cuda":
            return super()._conv_forward(input, weight, bias)
        if self.kernel_size == (1, 1) and self.padding in ((0, 0), "valid"):
            down, across = self.stride
            return F.conv2d(input[..., ::down, ::across], weight, bias, groups=self.groups)
        if input.shape[-2:] == (1, 1) and self.padding == tuple((k - 1) // 2 for k in self.kernel_size):
            return F.conv2d(input, weight, bias, 1, self.padding, self.dilation, self.groups)
        return super()._conv_forward(input, weight, bias)


def mend(module: nn.Module) -> None:
    """Turn torch's strided convolutions of a module into those above, their parameters kept."""
    for conv in module.modules():
        if type(conv) is nn.Conv2d and max(conv.stride) > 1:
            conv.__class__ = Conv2d
