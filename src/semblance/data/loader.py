"""Reading batches of samples ahead of their use."""

import ctypes
import gc
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pickle import PicklingError
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from semblance.data.byte_budget import ByteBudget, decoding_of_workers, share
from semblance.data.samples import Reader, Skipped
from semblance.errors import UserError
from semblance.runtime.device import send_raw
from semblance.runtime.ranks import everyones, gather, own_rows, world

T = TypeVar("T")
Raw = tuple[Tensor, ...]
Request = tuple[Tensor, int | None]  # indices, and the key for random choices in reading
PART = 500  # samples embedded at once, over all ranks
START = "fork" if sys.platform == "linux" else None  # of workers: they have all that this process has
PIECE = 64  # pictures that a worker decodes at once: memory may not hold several whole batches


class _Pieces(Dataset):
    """The samples of some indices, with the files found unreadable on the way."""

    def __init__(self, samples: Reader) -> None:
        self.samples = samples

    def __getitem__(self, request: Request) -> tuple[Raw | UserError, Skipped]:
        try:
            return self.samples.read(*request), self.samples.skipped
        except UserError as error:  # raised here, it would come with the worker's traceback for its words
            return error, self.samples.skipped


def _as_it_is(item: T) -> T:
    return item


def _begin(budget: ByteBudget, worker: int) -> None:
    share(budget)
    _obey_the_parent_alone()


def _obey_the_parent_alone() -> None:
    """End with the parent or at its word, even in the middle of a picture; ignore signals of others.

    A signal to all processes of a run lets the trainer save first, which needs its workers.
    """
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if hasattr(signal, "sigwaitinfo"):  # else torch's own handler ends the worker
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

        def wait() -> None:
            while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
                pass
            os._exit(0)

        threading.Thread(target=wait, daemon=True).start()


def read_ahead(samples: Reader, requests: Iterable[Request], workers: int) -> Iterator[Raw]:
    """samples.read of each batch of indices in turn: from memory, or decoded by worker processes in the same order."""
    if samples.at_hand or workers == 0:
        yield from (samples.read(index, key) for index, key in requests)
        return
    counts: deque[int] = deque()  # pieces of each batch handed out

    def pieces() -> Iterator[Request]:
        for index, key in requests:
            parts = index.split(PIECE)
            counts.append(len(parts))
            yield from ((part, key) for part in parts)

    budget = decoding_of_workers()
    loader = DataLoader(
        _Pieces(samples),
        batch_size=None,
        sampler=pieces(),
        num_workers=workers,
        prefetch_factor=4,
        collate_fn=_as_it_is,
        worker_init_fn=partial(_begin, budget),
        multiprocessing_context=START,
    )
    read: list[Raw] = []
    gc.freeze()  # a worker that freed garbage of this process would wait for threads that it lacks, such as FFmpeg's
    try:
        ahead = iter(loader)
    except (AttributeError, PicklingError, TypeError) as error:  # where processes do not fork
        raise UserError(
            f"The samples cannot be handed to worker processes ({error}): --workers 0 reads them in this one."
        ) from error
    finally:
        gc.unfreeze()
    try:
        for piece, skipped in ahead:
            samples.skipped.extend(s for s in skipped if s not in samples.skipped)  # the workers' lists are copies
            if isinstance(piece, UserError):
                raise piece
            read.append(piece)
            if len(read) == counts[0]:
                counts.popleft()
                yield tuple(torch.cat(parts) for parts in zip(*read, strict=True))
                read.clear()
    finally:
        del ahead  # which ends the workers, in the middle of a picture too
        budget.forget()


@torch.no_grad()
def in_parts(
    samples: Reader, embed: Callable[[Sequence[Tensor], Tensor], Tensor], device: torch.device, workers: int,
    track: Callable[[Sequence[Tensor]], Iterable[Tensor]] = iter, order: Tensor | None = None, key: int | None = None,
    part: int = PART,
) -> Generator[Tensor, None, None]:  # fmt: skip
    """`embed` of every sample, part by part: the rows of each part, on the device.

    embed: from the raw tensors and indices of some samples to one row each. order: the indices of all samples (N,), by
    default 0 to N - 1. key: for random choices in reading. part: samples embedded at once, over all ranks. Ranks share
    the work, so all of them must call this; each gets all rows, and hears of all files that any of them found
    unreadable. A rank for which a part has no row embeds the first one in vain.
    """
    order = torch.arange(len(samples)) if order is None else order
    parts = order.tensor_split(-(-len(order) // max(part, 2 * world()[1])))
    rows = [own_rows(len(some)) for some in parts]
    read: list[Request] = [
        (some[own] if own.start < own.stop else some[:1], key) for some, own in zip(parts, rows, strict=True)
    ]
    ahead = read_ahead(samples, read, workers)
    for some, own, (index, _), raw in zip(track(parts), rows, read, ahead, strict=True):
        found = embed(send_raw(raw, device), index)
        yield gather(found[: own.stop - own.start], len(some))
    for theirs in everyones(samples.skipped):
        samples.skipped.extend(s for s in theirs if s not in samples.skipped)


def joined(parts: Iterator[Tensor], count: int) -> Tensor:
    """The rows of all parts, `count` in all, on the CPU; joined as they come, so that they are never held twice."""
    first = next(parts)
    found = torch.empty(count, *first.shape[1:], dtype=first.dtype)
    at = 0
    for part in chain([first], parts):
        found[at : at + len(part)] = part
        at += len(part)
    return found
