"""Batch norm over the batch of all ranks, on any device (torch's SyncBatchNorm refuses CPUs)."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import UserError


class SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        return SumOverRanks.forward(ctx, grads[0].contiguous())


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Normalises (N, C, ...) by the statistics of all ranks' samples; ranks may hold different numbers of them."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = torch.tensor([x.numel() / x.shape[1]], dtype=x.dtype, device=x.device)
        dist.all_reduce(count)
        mean = SumOverRanks.apply(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = SumOverRanks.apply(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.get_buffer("num_batches_tracked").add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def synchronise(module: nn.Module) -> nn.Module:
    """Turn every batch norm of a module into one over all ranks, its parameters and buffers kept."""
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        if type(module) not in (nn.BatchNorm1d, nn.BatchNorm2d):
            raise UserError(f"{type(module).__name__} cannot be synchronised over ranks on this device.")
        module.__class__ = GlobalBatchNorm  # type: ignore[assignment]  # parameters and buffers stay in place
        return module
    for child in module.children():
        synchronise(child)
    return module
