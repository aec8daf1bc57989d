"""Batch norm over the batch of all ranks, on any device (SyncBatchNorm refuses CPUs), over groups of it, or held."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.runtime.ranks import total


class SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return total(x)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        return SumOverRanks.forward(ctx, grads[0].contiguous())


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Normalises (N, C, ...) by the statistics of all ranks' samples; ranks may hold different numbers of them."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = total(x.new_full((1,), x.numel() / x.shape[1]))  # filled on the device, so that nothing waits for it
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
        assert self.running_mean is not None and self.running_var is not None
        seen = self.get_buffer("num_batches_tracked").add_(1)
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            # without a momentum the plain mean over batches, as torch's
            running.lerp_(new, (1 / seen).to(running.dtype) if self.momentum is None else self.momentum)


class Place(NamedTuple):
    """Where the samples of this rank lie in the batch of all ranks: from `start` on, of `total`."""

    start: int
    total: int


_places: list[Place] = []


@contextmanager
def place(start: int, total: int) -> Iterator[None]:
    """Tell grouped batch norms where their samples lie in the batch of all ranks."""
    _places.append(Place(start, total))
    try:
        yield
    finally:
        _places.pop()


class GroupedBatchNorm(GlobalBatchNorm):
    """Normalises (N, C, ...) by the statistics of groups of the batch of all ranks, as separate devices would.

    Groups are runs of neighbours ("blocks") or every `groups`-th sample ("residues"), so the samples of a block are in
    all residues. The running statistics are the means of the groups'.
    """

    groups: int
    by: Literal["blocks", "residues"]

    def forward(self, input: Tensor) -> Tensor:
        start, total = _places[-1] if _places else Place(0, len(input))
        groups = min(self.groups, total // 2)  # at least two samples each
        if not self.training or groups < 2:
            return super().forward(input)
        if not dist.is_initialized() or total == len(input):  # each of several ranks may be shown the whole batch
            return self._one_by_one(input, groups)
        everyone = torch.arange(total, device=input.device)
        everyone = everyone * groups // total if self.by == "blocks" else everyone % groups
        group = everyone[start : start + len(input)]
        counts = everyone.new_zeros(groups).index_add_(0, everyone, torch.ones_like(everyone))
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        axes, shape = [*range(2, x.ndim)], [len(x), -1] + [1] * (x.ndim - 2)

        def mean_of(values: Tensor) -> Tensor:
            """Mean over each group: (N, C, ...) -> (groups, C)."""
            own = values.mean(axes) if axes else values
            sums = own.new_zeros(groups, own.shape[1]).index_add(0, group, own)
            return SumOverRanks.apply(sums) / counts[:, None]

        mean = mean_of(x)
        centred = x - mean[group].view(shape)
        variance = mean_of(centred.square())
        if self.track_running_stats:
            number = (counts * x[0, 0].numel())[:, None]
            unbiased = variance.detach() * number / (number - 1)
            self._remember(mean.detach().mean(0), unbiased.mean(0))
        y = centred * (variance + self.eps).rsqrt()[group].view(shape)
        if self.affine:
            y = y * self.weight.view(1, *shape[1:]) + self.bias.view(1, *shape[1:])
        return y.to(input.dtype)

    def _one_by_one(self, input: Tensor, groups: int) -> Tensor:
        """Torch's batch norm of each group: several times faster, for one rank, which holds every group whole."""
        n, neighbours = len(input), self.by == "blocks"
        bounds = [-(-g * n // groups) for g in range(groups + 1)]
        rows = [slice(*pair) if neighbours else slice(g, n, groups) for g, pair in enumerate(pairwise(bounds))]
        together = input if neighbours else torch.cat([input[own] for own in rows])
        parts = together.split([len(range(n)[own]) for own in rows])
        statistics = [self.get_buffer("running_mean").new_zeros(2, input.shape[1]) for _ in parts]
        done = [
            F.batch_norm(part, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
            for part, (mean, variance) in zip(parts, statistics, strict=True)
        ]
        if self.track_running_stats:
            self._remember(*torch.stack(statistics).mean(0))
        if neighbours:
            return torch.cat(done)
        y = torch.empty_like(together)
        for own, part in zip(rows, done, strict=True):
            y[own] = part
        return y


class HeldBatchNorm(GlobalBatchNorm):
    """Normalises by the statistics that it has, in training too."""

    def train(self, mode: bool = True) -> "HeldBatchNorm":
        return super().train(False)


class _Activated:
    """timm's batch norms include the dropout and the activation that follow."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))  # type: ignore[misc]


class GlobalBatchNormAct(_Activated, GlobalBatchNorm):
    """GlobalBatchNorm, then timm's activation."""


class GroupedBatchNormAct(_Activated, GroupedBatchNorm):
    """GroupedBatchNorm, then timm's activation."""


class HeldBatchNormAct(_Activated, HeldBatchNorm):
    """HeldBatchNorm, then timm's activation."""


_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronise(module: nn.Module) -> None:
    """Turn every batch norm of a module into one over all ranks, its parameters and buffers kept."""
    for norm in _norms(module):
        norm.__class__ = GlobalBatchNorm if type(norm) in _PLAIN else GlobalBatchNormAct


def group_statistics(module: nn.Module, groups: int, by: Literal["blocks", "residues"]) -> None:
    """Turn every batch norm of a module into one over groups of the batch, its parameters and buffers kept."""
    for norm in _norms(module):
        norm.__class__ = GroupedBatchNorm if type(norm) in _PLAIN else GroupedBatchNormAct
        norm.groups, norm.by = groups, by


def hold_statistics(module: nn.Module) -> None:
    """Turn every batch norm of a module into one that keeps its statistics, its parameters and buffers kept."""
    for norm in _norms(module):
        norm.__class__ = HeldBatchNorm if type(norm) in _PLAIN else HeldBatchNormAct
        norm.eval()


def learns_statistics(module: nn.Module) -> bool:
    """Whether a module has batch norms that do not hold theirs."""
    return any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) and not isinstance(m, HeldBatchNorm) for m in module.modules()
    )


def _norms(module: nn.Module) -> list[Any]:
    """The batch norms of a module, torch's or timm's; raise UserError for others, which cannot be converted."""
    from timm.layers import BatchNormAct2d

    norms = [m for m in module.modules() if isinstance(m, _PLAIN)]
    for norm in norms:
        if type(norm) not in (*_PLAIN, BatchNormAct2d):
            raise UserError(f"{type(norm).__name__} cannot take its statistics from several ranks or groups.")
    return norms
