"""One training step of a method on given views: of the run's own loop, and of anybody else's (`semblance.step`)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from semblance.engine import gradients
from semblance.errors import UserError
from semblance.runtime import fsdp, ranks
from semblance.runtime.device import send
from semblance.runtime.precision import autocast
from semblance.systems.method import Clock, Embeddings, Method

Views = Sequence[Tensor] | Callable[[slice], Sequence[Tensor]]
OF_THE_RUN = ("step", "epoch", "loss", "lr", "seconds", "samples_per_second")  # numbers of its own in a line of the log


def step(
    method: Method,
    optimizer: Optimizer,
    views: Views,
    index: Tensor,
    clock: Clock,
    *,
    precision: str = "32",
    micro_batch: int | None = None,
    clip_grad: float | None = None,
    clip_each: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One training step of a method on views of a batch, as a run takes it; needs no run folder and no configuration.

    Takes the exact gradient of the loss of the batch, moves the weights by the optimiser, then the method's own state
    (teacher, queue, memory bank) by `method.update`. What a run does around it is left to the caller: the learning rate
    and weight decay are those that the optimiser's groups have now (semblance.engine.optimizers has those of the
    papers), nothing is logged, and the loss is not checked for being finite.

        from semblance.systems import Clock, get
        from semblance.nets.backbones import backbone

        method = get("simclr")(backbone("resnet18"), temperature=0.5)
        method.prepare(len(pictures))  # memory banks and labels: a row for every picture
        optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
        for n, (views, index) in enumerate(loader):  # two views (B, 3, 224, 224) of each picture, and its number
            loss, numbers = semblance.step(method, optimizer, views, index, Clock(n, total, per_epoch))

    DeepCluster, DeepCluster-v2, SeLa, SeLa-v2 and AVID-CMA also group or mine the whole set. Call
    `method.start_step(whole, clock)` before every step, and before its samples are chosen; `whole` has what
    semblance.systems.WholeSet says. The others do nothing there.

    On several ranks (torch.distributed), all call it together, with the same index and clock, each with the views of
    its own samples; batch norms see the global batch after `semblance.nets.batchnorm.synchronise(method)`.

    method: in training mode, after `method.prepare`; the number type and device of its weights are those of the step.
    optimizer: over the trainable parameters of the method.
    views: the list that `method.embed` takes, float (b, ...) each, on any device, in the order of the views of the
        method's recipes; b is this rank's share of B, all of it on one rank. Or a function from a slice of those rows
        to their views, called for each micro-batch, so that only one's views are held at a time.
    index: int64 (B,), numbers of the samples of the global batch, each below those that `method.prepare` was given.
    clock: where the training stands; schedules of the method and its random choices follow from it.
    precision: "bf16" computes embeddings under autocast; anything else in the number type of the weights.
    micro_batch: samples embedded at once, by gradient caching; the gradient stays that of the batch.
    clip_grad, clip_each: largest norm of the whole gradient, and of that of each tensor.

    Returns the loss of the global batch, a scalar without gradient, and numbers worth logging, on the device: reading
    them waits for a GPU. Raises UserError for an index, views or settings of another kind, shape or range, and for what
    a method may not return, a loss without gradient among it.
    """
    batch = _checked(method, index, micro_batch, clip_grad, clip_each)
    weight = next(method.parameters())
    device, dtype = weight.device, weight.dtype
    make = views if callable(views) else _rows_of(views, batch, method)
    index = send(index, device)

    def embed(rows: slice) -> Embeddings:
        count = rows.stop - rows.start
        own = [send(v, device) for v in _checked_views(make(rows), count, f"the {count} rows asked for", method)]
        own = [v.to(dtype) if v.is_floating_point() else v for v in own]
        with autocast(precision, device):
            return _embeddings(method, own, count)

    optimizer.zero_grad()
    loss, numbers, z = gradients.backward(
        embed, lambda z: _loss(method, z, index, clock), method, micro_batch=micro_batch or batch, batch=batch
    )
    gradients.reduce_gradients(method)
    if clip_grad is not None:
        grads = [p.grad for p in method.parameters() if p.grad is not None]
        scale = (clip_grad / (fsdp.total_norm(grads) + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale)
    if clip_each is not None:
        for p in method.parameters():
            torch.nn.utils.clip_grad_norm_([p], clip_each)
    optimizer.step()
    method.update(z, index, clock)
    return loss, numbers


def _embeddings(method: Method, views: list[Tensor], rows: int) -> Embeddings:
    found = method.embed(views)
    if not (isinstance(found, Mapping) and all(isinstance(z, Tensor) for z in found.values())):
        raise UserError(f"{method.title}.embed returns a dict of tensors by name, not {_kind(found)}.")
    for name, z in found.items():
        if z.ndim == 0 or len(z) != rows:
            joined = z.shape[:1] == (rows * len(views),)
            apart = f": take them apart again, torch.chunk(z, {len(views)})" if joined else ""
            raise UserError(
                f"{method.title}.embed: {name} is {_kind(z)}, and each embedding has one row for each of the {rows} "
                f"samples of its views{apart}."
            )
    return found


def _loss(method: Method, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and the numbers to log, as tensors."""
    found = method.objective(z, index, clock)
    pair = found if isinstance(found, tuple) and len(found) == 2 else (None, None)
    loss, numbers = pair
    if not (isinstance(loss, Tensor) and loss.numel() == 1 and isinstance(numbers, Mapping)):
        what = f"a pair of {_kind(pair[0])} and {_kind(pair[1])}" if pair is found else _kind(found)
        raise UserError(
            f"{method.title}.objective returns the loss, a tensor of one number, and a dict of numbers to log, as in "
            f"`return loss, {{}}`; not {what}."
        )
    if not loss.requires_grad:
        raise UserError(
            f"{method.title}.objective: the loss does not require grad, so nothing could be trained: leave out "
            ".detach(), .item() and torch.no_grad() on the way from the backbone to it."
        )
    if wrong := [name for name in numbers if not isinstance(name, str)]:
        raise UserError(f"{method.title}.objective: numbers to log have names, and {wrong[0]!r} is no text.")
    if taken := [name for name in numbers if name in OF_THE_RUN]:
        raise UserError(f"{method.title}.objective: {taken[0]} is a run's own number: log yours by another name.")
    try:
        return loss.reshape(()), {name: torch.as_tensor(value).reshape(()) for name, value in numbers.items()}
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{method.title}.objective: numbers to log are single ones: {error}.") from error


def _kind(found: Any) -> str:
    return f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__


def _checked(
    method: Method, index: Tensor, micro_batch: int | None, clip_grad: float | None, clip_each: float | None
) -> int:
    """The samples of the global batch."""
    if not isinstance(method, Method):
        raise UserError(f"method is an object of a class derived from semblance.Method, not {_kind(method)}.")
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1 or not len(index):
        kind = f"{str(index.dtype).removeprefix('torch.')} {tuple(index.shape)}" if isinstance(index, Tensor) else ""
        raise UserError(
            f"index holds the number of each sample of the batch, a tensor int64 (B,), not {kind or _kind(index)}."
        )
    if index.device.type == "cpu" and index.min() < 0:  # without a wait for a GPU
        raise UserError(f"index: numbers of samples count from 0, and here is {index.min()}.")
    if micro_batch is not None and not (isinstance(micro_batch, Integral) and micro_batch >= 1):
        raise UserError(f"micro_batch: a whole number is wanted, 1 or more, not {micro_batch}.")
    for name, value in {"clip_grad": clip_grad, "clip_each": clip_each}.items():
        if value is not None and not (isinstance(value, Real) and value > 0):
            raise UserError(f"{name}: a number above 0 is wanted, not {value}.")
    return len(index)


def _checked_views(views: Any, rows: int, whose: str, method: Method) -> list[Tensor]:
    """A list of tensors with as many rows; whose: these are, in words."""
    own = [views] if isinstance(views, Tensor) or not isinstance(views, Iterable) else list(views)
    if not own or isinstance(views, Tensor) or not all(isinstance(v, Tensor) for v in own):
        found = "one tensor" if isinstance(views, Tensor) else f"one of {_kind(own[0])}" if own else "an empty one"
        raise UserError(f"views is a list of tensors, one for each view, not {found}.")
    if wrong := [tuple(v.shape) for v in own if v.ndim == 0 or len(v) != rows]:
        raise UserError(f"Each view has a row for each of {whose}; one has the shape {wrong[0]}.")
    if method.of_pictures() and any(v.dtype == torch.uint8 for v in own):
        raise UserError("Views of pictures are floating point, as semblance.views.make_views gives them, not uint8.")
    return own


def _rows_of(views: Iterable[Tensor], batch: int, method: Method) -> Callable[[slice], list[Tensor]]:
    """A function from a slice of this rank's rows to their views."""
    own = ranks.shares(batch)[ranks.world()[0]]
    held = _checked_views(views, own, f"this rank's {own} of the {batch} samples of index", method)
    return lambda rows: [v[rows] for v in held]
