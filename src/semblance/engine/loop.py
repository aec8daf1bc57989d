"""The loop: every training step of every method, visible in one place."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import TrainConfig
from ..data.images import Images
from ..errors import UserError
from ..systems import Clock, Method
from ..views import random
from ..views.view import make_views
from . import checkpoint, seam
from .batches import batches
from .folder import RunFolder
from .optimizers import make_optimizer, set_lr, warmup_cosine
from .precision import autocast
from .progress import Progress

SAVE_EVERY = 60.0  # seconds between checkpoints
LOG_EVERY = 10  # steps


@dataclass
class Trained:
    """How a run ended: `step` of `total`, and the seconds it has trained in all."""

    step: int
    total: int
    seconds: float

    @property
    def finished(self) -> bool:
        return self.step == self.total


def fit(
    method: Method,
    images: Images,
    config: TrainConfig,
    folder: RunFolder,
    device: torch.device,
    *,
    resume: bool = False,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> Trained:
    """Train a method on pictures, from the last checkpoint where `resume` says so, until done or interrupted.

    evaluate: numbers to log at every config.eval_every epochs. Ranks other than 0 write nothing.
    """
    per_epoch = len(images) // config.batch_size
    total = min(config.epochs * per_epoch, config.max_steps or config.epochs * per_epoch)
    warmup = min(round(config.warmup_epochs * per_epoch), total // 2)
    optimizer = make_optimizer(
        config.optimizer, method, weight_decay=config.weight_decay, decay_1d=config.decay_1d,
        bias_lr_ratio=config.bias_lr / config.lr if config.lr else 1.0,
    )  # fmt: skip
    views, leader = config.make_views(), seam.world()[0] == 0
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    dtype = next(method.parameters()).dtype
    trained = Trained(0, total, 0.0)
    if resume:
        trained = _restore(folder, method, optimizer, total)
        folder.rewind(trained.step)

    def save() -> None:
        if leader:
            state = {"method": method.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoint.save(folder.checkpoint, state | {"step": trained.step, "seconds": trained.seconds})

    method.train()
    saved = started = time.perf_counter()
    before = trained.seconds
    stream = batches(
        images, batch_size=config.batch_size, seed=config.seed, start=trained.step, stop=total, workers=config.workers
    )
    with interruptible() as interrupted, Progress(config.method, total, config.batch_size, leader) as progress:
        for pixels, sizes, index in stream:
            clock = Clock(trained.step, total, per_epoch)
            own = index[seam.own_rows(len(index))].to(device)
            pixels, sizes = pixels.to(device, non_blocking=True), sizes.to(device, non_blocking=True)

            def embed(rows: slice) -> dict[str, Tensor]:
                crops = make_views(
                    views, pixels[rows], sizes[rows], own[rows], seed=config.seed, epoch=clock.epoch
                )  # fmt: skip
                torch.manual_seed(random.key(config.seed, "layers", clock.step, int(own[rows][0])))  # for drop-path
                with autocast(config.precision, device):
                    return method.embed([c.to(dtype, memory_format=layout) for c in crops])

            def objective(z: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
                return method.objective(z, index.to(device), clock)

            optimizer.zero_grad()
            loss, numbers, z = seam.backward(
                embed, objective, method, len(own), config.micro_batch or len(own), len(index)
            )  # fmt: skip
            seam.reduce_gradients(method)
            if config.clip_grad is not None:
                torch.nn.utils.clip_grad_norm_(method.parameters(), config.clip_grad)
            lr = config.lr * warmup_cosine(clock.step, total, warmup, config.final_lr)
            set_lr(optimizer, lr)
            optimizer.step()
            method.update(z, index.to(device), clock)

            trained.step += 1
            trained.seconds = before + time.perf_counter() - started
            logged = trained.step % LOG_EVERY == 0 or trained.step in (1, total)
            if logged:
                _check(loss, trained.step, index)
            if logged and leader:
                progress.loss = float(loss)
                folder.log(
                    step=trained.step, epoch=trained.step / per_epoch, loss=float(loss), lr=lr, seconds=trained.seconds,
                    samples_per_second=progress.speed(trained.step), **{k: float(v) for k, v in numbers.items()},
                )  # fmt: skip
            progress.advance(trained.step)
            every = config.eval_every * per_epoch
            if leader and evaluate and every and trained.step % every == 0 and trained.step < total:
                pause = time.perf_counter()
                folder.log(step=trained.step, epoch=trained.step / per_epoch, seconds=trained.seconds, **evaluate())
                started += time.perf_counter() - pause  # evaluation is not training time
            if seam.any_rank(interrupted()):
                break
            if time.perf_counter() - saved > SAVE_EVERY:
                _check(loss, trained.step, index)
                save()
                saved = time.perf_counter()
    save()
    return trained


def _restore(folder: RunFolder, method: Method, optimizer: torch.optim.Optimizer, total: int) -> Trained:
    state = checkpoint.load(folder.checkpoint)
    try:
        method.load_state_dict(state["method"])
        optimizer.load_state_dict(state["optimizer"])
        return Trained(state["step"], total, state["seconds"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder.checkpoint} does not belong to this run: {error}") from error


def _check(loss: Tensor, step: int, index: Tensor) -> None:
    """Stop at a loss that is no number, before it spoils the checkpoint."""
    if not torch.isfinite(loss):
        raise UserError(
            f"The loss is {float(loss)} at step {step}. The last checkpoint is from before. "
            "Lower --lr, set --clip-grad 1, or try --precision 32."
        )


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within, the first Ctrl-C or SIGTERM is noted, to be asked for between steps; the second one stops at once."""
    caught = []

    def note(number: int, frame: object) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: a notebook's or a server's own handling stands
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
