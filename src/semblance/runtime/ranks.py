"""Ranks: the processes that train together, and which rows of a batch or of a set each of them holds."""

import socket
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
UNANSWERED = timedelta(days=1)  # of a collective: a rank that lives may take its time (watch.py sees to others)


def world() -> tuple[int, int]:
    """(rank, number of ranks)."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def first_here() -> bool:
    """Whether this process is the first of its machine."""
    hosts = everyones(socket.gethostname())
    return hosts.index(hosts[world()[0]]) == world()[0]


def shares(n: int) -> list[int]:
    """How many of n samples each rank holds: contiguous blocks whose sizes differ by one at most."""
    size = world()[1]
    return [n // size + (r < n % size) for r in range(size)]


def own_rows(n: int) -> slice:
    """The rows of a batch of n that this rank holds."""
    rank, counts = world()[0], shares(n)
    return slice(sum(counts[:rank]), sum(counts[: rank + 1]))


def gather(x: Tensor, n: int) -> Tensor:
    """Rows of all ranks in order, without gradient: (own, ...) -> (n, ...)."""
    counts = shares(n)
    if len(counts) == 1:
        return x.detach()
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def total(own: Tensor) -> Tensor:
    """Sum over the ranks, without gradient, the same on all."""
    result = own.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(result)
    return result


def broadcast(value: T) -> T:
    """What the first rank has, on all."""
    if world()[1] == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def everyones(value: T) -> list[T]:
    """What each rank has, in their order."""
    if world()[1] == 1:
        return [value]
    found: list[Any] = [None] * world()[1]
    dist.all_gather_object(found, value)
    return found


@cache
def _of_processors(world: dist.ProcessGroup) -> Any:
    """All ranks, talking without their GPUs: what NCCL carries waits for the work that a GPU has yet to do."""
    return dist.new_group(backend="gloo", timeout=UNANSWERED) if dist.get_backend(world) == "nccl" else world


def any_rank(*flags: bool) -> list[bool]:
    """For each flag, whether it is set on any rank; all ranks must call this, and get the same answer."""
    if world()[1] == 1:
        return list(flags)
    up = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(up, dist.ReduceOp.MAX, group=_of_processors(dist.group.WORLD))
    return [bool(flag) for flag in up.tolist()]
