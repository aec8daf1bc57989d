"""The exact gradient of the loss of the global batch, each rank embedding its share of it (docs/architecture.md).

    z    = method.embed(views)                 this rank's samples
    leaf = gather(z), detached                 the global batch
    loss = method.objective(leaf)              the same number on every rank
    loss.backward(); z.backward(leaf.grad of own rows)

The last line is the seam: the gradient of the embeddings is handed from the objective back to the networks. Summed over
ranks, the gradient of every parameter is then the exact gradient of the loss of the global batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn

from semblance.nets.batchnorm import Place, place
from semblance.runtime.fsdp import is_sharded
from semblance.runtime.ranks import gather, own_rows, shares, world
from semblance.systems.method import Embeddings


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms normalise by the batch but do not update running statistics (for a second pass over the batch)."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for m in norms:
        m.track_running_stats = False
    try:
        yield
    finally:
        for m in norms:
            m.track_running_stats = True


def backward(
    embed: Callable[[slice], Embeddings],
    objective: Callable[[Embeddings], tuple[Tensor, dict[str, Tensor]]],
    method: nn.Module,
    micro_batch: int,
    batch: int,
) -> tuple[Tensor, dict[str, Tensor], Embeddings]:
    """Compute the loss of the global batch, and put this rank's share of its exact gradient into the parameters.

    embed: embeds a slice of this rank's rows. batch: samples of all ranks. If this rank has more than micro_batch, each
    micro-batch is embedded twice, first without a graph, then with one (gradient caching, Gao et al. 2021): memory of
    a micro-batch, gradient of the batch. Batch norm then takes its statistics from the micro-batch.
    Returns the loss, the numbers to log, and the detached embeddings of the global batch.
    """
    parts, places = _parts(micro_batch, batch)
    if len(parts) == 1:
        with place(*places[0]):
            z = embed(parts[0])
        local = _detached(z)
        graded = {name for name, t in z.items() if t.requires_grad}
    else:
        pieces = []
        for part, where in zip(parts, places, strict=True):
            with torch.no_grad(), place(*where):
                pieces.append(embed(part))
        local = {name: torch.cat([p[name] for p in pieces]) for name in pieces[0]}
        graded = set(local)
    leaves = {name: gather(t, batch).to(_exact(t.dtype)).requires_grad_(name in graded) for name, t in local.items()}
    with torch.enable_grad():
        loss, numbers = objective(leaves)
    loss.backward()
    for p in method.parameters():  # used in the objective: each rank has the whole gradient, and ranks are summed
        if p.grad is not None:
            p.grad /= world()[1]
    own = own_rows(batch)
    grads = {name: leaf.grad[own] for name, leaf in leaves.items() if leaf.grad is not None}
    for part, where in zip(parts, places, strict=True):
        if len(parts) > 1:
            with frozen_statistics(method), place(*where):
                z = embed(part)
        outputs = [name for name, t in z.items() if t.requires_grad and name in grads]
        torch.autograd.backward([z[n] for n in outputs], [grads[n][part].to(z[n].dtype) for n in outputs])
    return loss.detach(), _detached(numbers), _detached(leaves)


def _parts(micro_batch: int, batch: int) -> tuple[list[slice], list[Place]]:
    """This rank's rows in parts of about equal size, and where each lies in what all ranks embed at the same time.

    All ranks have equally many parts, since batch norms wait for each other.
    """
    rank, rows = world()[0], shares(batch)
    count = max(1, min(-(-max(rows) // micro_batch), min(rows) // 2))  # batch norms need two samples
    bounds = [[n * i // count for i in range(count + 1)] for n in rows]  # of each rank
    places = []
    for i in range(count):
        sizes = [b[i + 1] - b[i] for b in bounds]
        places.append(Place(sum(sizes[:rank]), sum(sizes)))
    return [slice(*pair) for pair in pairwise(bounds[rank])], places


def _detached(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach() for name, t in tensors.items()}


def _exact(dtype: torch.dtype) -> torch.dtype:
    """The objective is computed in float32 or better."""
    return torch.promote_types(dtype, torch.float32)


def reduce_gradients(module: nn.Module) -> None:
    """Sum the gradients of all parameters over the ranks, in one all-reduce per dtype; FSDP has summed its own."""
    if world()[1] == 1:
        return
    grads = [p.grad for p in module.parameters() if p.grad is not None and not is_sharded(p.grad)]
    for dtype in dict.fromkeys(g.dtype for g in grads):  # in the same order on every rank
        same = [g for g in grads if g.dtype == dtype]
        flat = torch.cat([g.reshape(-1) for g in same])
        dist.all_reduce(flat)
        for g, summed in zip(same, flat.split([g.numel() for g in same]), strict=True):
            g.copy_(summed.view_as(g))
