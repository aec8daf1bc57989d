"""The training loop: every step of every method, visible in one place."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semblance.data.pictures.crops import as_trained
from semblance.data.samples import Samples
from semblance.engine import training_step
from semblance.engine.batches import Batch, batches
from semblance.engine.callbacks import call
from semblance.engine.divergence import Divergence
from semblance.engine.layer_rates import BACKBONES, layer_rates
from semblance.engine.optimizers import check_state, cosine, make_optimizer, set_lr, set_weight_decay, warmup_cosine
from semblance.engine.whole_set import WholeSet
from semblance.errors import UserError
from semblance.nets.batchnorm import learns_statistics
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime import fsdp, ranks
from semblance.runtime.atomic_files import clear_leftovers
from semblance.runtime.device import send_raw
from semblance.runtime.progress import Progress
from semblance.shown import shown
from semblance.systems import Clock, Method
from semblance.views.view import make_views

SAVE_EVERY = 60.0  # seconds between checkpoints
LOG_EVERY = 10  # steps


@dataclass
class Trained:
    """How a run ended: `step` of `total`, and the seconds it has trained in all; it went on from step `began`."""

    step: int
    total: int
    seconds: float
    began: int = 0

    @property
    def finished(self) -> bool:
        return self.step >= self.total  # a resumed run may have been shortened

    def samples_per_second(self, batch_size: int) -> float:
        return self.step * batch_size / max(self.seconds, 1e-9)


def fit(
    method: Method,
    samples: Samples,
    config: TrainConfig,
    folder: RunFolder,
    device: torch.device,
    *,
    resume: bool = False,
    evaluate: Callable[[], dict[str, float]] | None = None,
    callbacks: Sequence[Any] = (),
    keep: Callable[[dict[str, float]], bool] | None = None,
    first: dict[str, float] | None = None,
) -> Trained:
    """Train a method on samples, from the last checkpoint if `resume` is true, until done or interrupted.

    evaluate: returns numbers to log, every config.eval_every epochs. Only rank 0 writes.
    first: numbers of the networks before the first step, logged as step 0 with that of the first.
    keep: asked on all ranks whether networks with the numbers of `evaluate` are to be kept as best.ckpt.
    callbacks: objects with hooks (engine/callbacks.py); what one raises is raised once the step is saved.
    """
    per_epoch, total = run_length(config, len(samples))
    optimizer = optimizer_of(config, method)
    leader = ranks.world()[0] == 0
    trained = Trained(0, total, 0.0)
    fingerprint = samples.fingerprint()
    if leader:
        clear_leftovers(folder.path)
        clear_leftovers(folder.checkpoint.parent)
    if resume:
        if folder.checkpoint.exists():  # else the run stopped before its first
            trained = _restore(folder, method, optimizer, config, samples.name, fingerprint, total)
        if leader:
            folder.rewind(trained.step or -1)  # step 0 is logged with the first
            folder.diverged.unlink(missing_ok=True)
            config.save(folder.config)  # what was given anew, once the checkpoint has proved to be of this run
    trained.began = trained.step

    divergence = Divergence(method, samples, folder, leader)

    def save(path: Path, **more: Any) -> None:
        divergence.check()
        state = fsdp.full({"method": method.state_dict()} | more)
        if leader:
            about = checkpoint.about(config, fingerprint, samples.canvas, trained.step, trained.seconds)
            checkpoint.save(path, state | about)

    method.train()

    def clock_at(step: int) -> Clock:
        return Clock(step, total, per_epoch, config.seed)

    def order(epoch: int) -> Tensor:
        return method.order(len(samples), clock_at(epoch * per_epoch))

    stream = batches(
        as_trained(samples, config.views, config.crop_from), order, batch_size=config.batch_size, start=trained.step,
        stop=total, workers=config.workers, seed=config.seed,
        purpose="view" if config.crop_from == "original" else "window",
    )  # fmt: skip
    saved = time.perf_counter()
    started = saved - trained.seconds
    failed: BaseException | None = None
    title = config.method.rpartition(":")[2]
    with (
        interruptible() as interrupted,
        Progress(title, total, config.batch_size, leader) as progress,
        closing(stream),  # else its workers, which leave signals to this process, would outlive an error
    ):
        whole = WholeSet(samples, config, device, progress, divergence)
        while trained.step < total:
            method.start_step(whole, clock_at(trained.step))
            batch = next(stream)  # after start_step, which the order of an epoch may depend on
            loss, found = step(method, optimizer, batch, config, clock_at(trained.step), device)
            if taken := sorted(found.keys() & (first or {}).keys()):
                raise UserError(f"{method.title}: {taken[0]} is what a run measures itself: log yours by another name.")
            trained.step += 1
            trained.seconds = time.perf_counter() - started
            divergence.note(trained.step, trained.seconds, loss, batch[-1])
            logged = trained.step % LOG_EVERY == 0 or trained.step in (1, total)
            watched = evaluate and trained.step < total and _due(trained.step, config.eval_every * per_epoch)
            if logged or watched:
                divergence.check()
            numbers: dict[str, Any] = {"epoch": trained.step / per_epoch, "loss": loss} | found
            numbers |= {"seconds": trained.seconds, "samples_per_second": progress.speed(trained.step)}
            if logged:
                numbers = {name: float(value) for name, value in numbers.items()}
                progress.loss = numbers["loss"]
            if leader and logged:
                if first and trained.step == 1:
                    folder.log(step=0, epoch=0.0, seconds=0.0, **first)
                folder.log(step=trained.step, **numbers)
            progress.advance(trained.step)
            accuracy: dict[str, float] = {}
            if evaluate and watched:
                pause = time.perf_counter()
                accuracy = evaluate()  # on all ranks, which share the work
                if keep is not None and keep(accuracy):
                    save(folder.best)
                    saved = -math.inf  # so that no run goes on from before its best
                if leader:
                    folder.log(step=trained.step, epoch=numbers["epoch"], seconds=trained.seconds, **accuracy)
                pause = time.perf_counter() - pause
                started += pause  # evaluation is not training time
                progress.leave_out(pause)
            failed = _told(callbacks, method, trained.step, numbers, accuracy, first)
            stop, due = ranks.any_rank(interrupted() or failed is not None, time.perf_counter() - saved > SAVE_EVERY)
            if stop:
                break
            if due:
                save(folder.checkpoint, optimizer=optimizer.state_dict())
                saved = time.perf_counter()
        if trained.step > trained.began:  # a second SIGTERM still does nothing
            save(folder.checkpoint, optimizer=optimizer.state_dict())
    if failed is not None:
        raise failed
    return trained


def _told(
    callbacks: Sequence[Any], method: Method, step: int, numbers: dict[str, Any], watched: dict[str, float],
    first: dict[str, float] | None,
) -> BaseException | None:  # fmt: skip
    """Call the hooks of a step; what one of them raises, which is to end all ranks together."""
    modes = [(part, part.training) for part in method.modules()] if callbacks else []
    try:
        if first and step == 1:
            call(callbacks, "on_evaluate", 0, first, method)
        if watched:
            call(callbacks, "on_evaluate", step, watched, method)
        call(callbacks, "on_step", step, numbers, method)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return error
    finally:
        for part, training in modes:
            part.training = training
    return None


def run_length(config: TrainConfig, samples: int) -> tuple[int, int]:
    """Steps of an epoch, without its last, incomplete batch, and of the run."""
    per_epoch = samples // config.batch_size
    return per_epoch, min(config.epochs * per_epoch, config.max_steps or config.epochs * per_epoch)


def optimizer_of(config: TrainConfig, method: Method) -> torch.optim.Optimizer:
    """The optimiser of a configuration."""
    return make_optimizer(
        config.optimizer, method, weight_decay=config.weight_decay, decay_1d=config.decay_1d,
        bias_lr_ratio=config.bias_lr / config.lr if config.lr else 1.0, fixed_lr=method.fixed_lr,
        no_momentum=method.no_momentum, shares=_shares(config, method),
    )  # fmt: skip


def _shares(config: TrainConfig, method: Method) -> dict[str, float] | None:
    """Of the rate, by name of a tensor; None where the backbone takes the same as the heads from the first step."""
    if config.backbone_lr is None and config.layer_decay == 1 and not config.head_epochs:
        return None
    share = config.backbone_rate / config.lr if config.lr else 1.0
    networks = [part for part in BACKBONES if hasattr(method, part)]
    given = [part for part in networks if not (config.hold_norms and learns_statistics(getattr(method, part)))]
    return layer_rates((name for name, _ in method.named_parameters()), share, config.layer_decay, given)


def step(
    method: Method, optimizer: torch.optim.Optimizer, batch: Batch, config: TrainConfig, clock: Clock,
    device: torch.device,
) -> tuple[Tensor, dict[str, Any]]:  # fmt: skip
    """One step of a run on this rank's share of a global batch: the loss of the whole batch and numbers to log."""
    raw, own = send_raw(batch[:-1], device), batch[-1][ranks.own_rows(len(batch[-1]))]

    def views(rows: slice) -> list[Tensor]:
        made = make_views(config.views, [t[rows] for t in raw], own[rows], seed=config.seed, step=clock.step)
        return [view.to(memory_format=config.layout) for view in made]

    lr = set_schedule(optimizer, config, clock)
    loss, numbers = training_step.step(
        method, optimizer, views, batch[-1], clock, precision=config.precision, micro_batch=config.micro_batch,
        clip_grad=config.clip_grad, clip_each=config.clip_each,
    )  # fmt: skip
    return loss, numbers | {"lr": lr}


def set_schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, clock: Clock) -> float:
    """Set the learning rates and weight decay of a step; returns the rate of what follows the schedule."""
    warmup = min(round(config.warmup_epochs * clock.steps_per_epoch), clock.total_steps // 10)
    lr = config.lr * warmup_cosine(clock.step, clock.total_steps, warmup, config.final_lr)
    fixed = config.lr * warmup_cosine(clock.step, clock.total_steps, warmup, final=1.0)
    alone = min(round(config.head_epochs * clock.steps_per_epoch), clock.total_steps // 5)
    taken = clock.step + 1 - alone  # steps of the backbone
    set_lr(optimizer, lr, fixed, held_back=min(1.0, max(0, taken) / max(1, warmup)) if config.head_epochs else 1.0)
    if config.final_weight_decay is not None:
        set_weight_decay(optimizer, cosine(config.weight_decay, config.final_weight_decay, clock.progress))
    return lr


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _restore(
    folder: RunFolder, method: Method, optimizer: torch.optim.Optimizer, config: TrainConfig, name: str,
    fingerprint: str, total: int,
) -> Trained:  # fmt: skip
    state = checkpoint.load(folder.checkpoint)
    if state.get("run") != config.identity():
        raise UserError(
            f"{shown(folder.checkpoint)} is of another run than the config.yaml beside it. Put its own back."
        )
    if state.get("samples") != fingerprint:
        raise UserError(
            f"The samples of {shown(name)} are not those that the run in {shown(folder.path)} began with. Put those "
            "back, or start a new run without --resume."
        )
    try:
        checkpoint.check_networks(method.state_dict(), state["method"])
        check_state(optimizer, state["optimizer"])
        fsdp.load(method, optimizer, state)
    except (AttributeError, LookupError, TypeError, RuntimeError, ValueError) as error:
        raise UserError(f"{shown(folder.checkpoint)} does not belong to this run: {error}") from error
    step, seconds = checkpoint.progress(state, folder.checkpoint)
    return Trained(step, total, seconds)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Only note Ctrl-C and SIGTERM, for the loop to check between steps; a second Ctrl-C stops at once.

    A launcher may send SIGTERM more than once, to the process and to its group.
    """
    caught = []

    def note(number: int, frame: object) -> None:
        caught.append(number)
        if number == signal.SIGINT:
            signal.signal(number, before[number])

    try:
        before: dict[int, Any] = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the handlers of a notebook or server stay
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
