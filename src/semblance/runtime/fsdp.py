"""Backbones whose parameters, gradients and optimiser state are spread over the ranks (FSDP).

The rest of a method, which is small, stays whole on every rank. Checkpoints hold whole tensors, so a run may be resumed
on any number of ranks.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from semblance.errors import UserError


def check_shardable(backbone: nn.Module, name: str) -> None:
    """Raise UserError if a backbone has batch norms."""
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in backbone.modules()):
        raise UserError(f"--shard is for backbones without batch norm, such as ViTs, not for {name}: leave it out.")


def shard(method: nn.Module, backbone: nn.Module, device: torch.device) -> None:
    """Spread the backbone, and teachers of its kind, over the ranks, block by block."""
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for part in [m for m in method.modules() if type(m) is type(backbone)]:
        for block in _blocks(part):
            fully_shard(block, mesh=mesh)
        fully_shard(part, mesh=mesh, reshard_after_forward=True)  # teachers have no backward pass that would
        for m in part.modules():
            if isinstance(m, FSDPModule):
                m.set_gradient_divide_factor(1.0)  # sums over ranks, like all gradients
                m.set_force_sum_reduction_for_comms(True)  # Gloo has no multiplication on the way


def _blocks(backbone: nn.Module) -> Iterable[nn.Module]:
    """The repeated blocks of a transformer: the members of its longest list of modules."""
    lists = [m for m in backbone.modules() if isinstance(m, nn.ModuleList | nn.Sequential)]
    return max(lists, key=len, default=nn.ModuleList())


def is_sharded(tensor: Tensor) -> bool:
    """Whether each rank holds a part of it."""
    return isinstance(tensor, DTensor)


def full(state: Any) -> Any:
    """A tree with whole tensors in place of sharded ones; all ranks must call this."""
    return tree_map_only(DTensor, lambda t: t.full_tensor(), state)


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """A whole tensor, the same on all ranks, sharded as another one is."""
    return distribute_tensor(tensor, model.device_mesh, model.placements) if isinstance(model, DTensor) else tensor


def load_networks(method: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load whole tensors, sharding those that are sharded here."""
    own = method.state_dict()
    method.load_state_dict({name: like(t, own[name]) if name in own else t for name, t in weights.items()})


def load(method: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """The same of a checkpoint, with the optimiser's state; its settings stay."""
    load_networks(method, state["method"])
    settings = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": settings})
    for p, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == p.shape:
                kept[name] = like(value, p)


def own_parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this rank holds of each tensor, where it holds anything."""
    parts = [t.to_local() if isinstance(t, DTensor) else t for t in tensors]
    return [part for part in parts if part.numel()]


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm of all tensors taken as one, sharded or not."""
    tensors = list(tensors)
    kinds = [[t for t in tensors if is_sharded(t) is shared] for shared in (False, True)]
    return torch.stack([full(torch.nn.utils.get_total_norm(kind)) for kind in kinds if kind]).norm()
