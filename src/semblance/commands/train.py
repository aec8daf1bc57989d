"""`semblance train`: from options to a run folder. What the method learns from is a Modality's matter."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch

from semblance import modalities, systems
from semblance.commands import begin
from semblance.commands.doctor import Watcher
from semblance.commands.dry_run import tell
from semblance.commands.finish import conclude_diverged, finish
from semblance.commands.handed_out import OfTheStart, hand_out, hand_out_kept, keeper, note_what_is_kept
from semblance.commands.loggers import check_loggers, open_loggers
from semblance.commands.measure import first_row, logged, watch
from semblance.commands.minutes import Known, plan
from semblance.commands.printing import say, status
from semblance.commands.resume import finished, folder_to_resume, given_anew
from semblance.data import Source
from semblance.engine.callbacks import call, check_callbacks
from semblance.engine.divergence import Diverged
from semblance.engine.loop import Trained, fit, run_length
from semblance.errors import CannotWrite, Stopped
from semblance.modalities.build import at_the_start, beginning
from semblance.modalities.modality import Modality
from semblance.nets.batchnorm import synchronise
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.options import TrainOptions
from semblance.runs.resolve import resolve
from semblance.runtime import fsdp, named, ranks
from semblance.runtime.allocator import keep_freed_memory
from semblance.runtime.launch import Launch
from semblance.runtime.memory import told_when_short
from semblance.runtime.precision import choose_precision, fastest_layout
from semblance.shown import quoted, shown
from semblance.systems import Method


def train(options: TrainOptions, started: float) -> dict[str, Any]:
    """Train as the options say, or go on with a run; returns what summary.json holds. started: by time.perf_counter."""
    check_callbacks(options.callbacks)
    with Launch() as launch, told_when_short(), ExitStack() as held:
        old = folder_to_resume(options)
        if old is not None:
            config = given_anew(TrainConfig.load(old.config), options)
            if (summary := finished(old, config)) is not None:
                return summary
        else:
            config = resolve(options)  # before the data, so that a typo costs no reading
        check_loggers(config.log)
        device = launch.start(config.devices)
        leader = ranks.world()[0] == 0
        if old is not None and not options.dry_run:
            begin.lock(old, held)
        modality = modalities.of(config.method)
        source = begin.load(modality, config)
        if old is None:
            exact = getattr(source.train, "exact", True)
            config = resolve(options, stored_size=source.train.canvas, exact=exact)
            config = config.model_copy(update={"grey_levels": getattr(source.train, "grey_levels", None)})
        begin.check(source, config, modality)
        if device.type == "cpu":
            keep_freed_memory()
        method = at_the_start(config, modality, source, old).to(device)
        config = _measured(config, method, device, len(source.train), options.minutes, alone=ranks.world()[1] == 1)
        config = ranks.broadcast(config)  # each has timed for itself
        method.to(memory_format=config.layout)
        known = Known()
        if options.minutes is not None:
            config, known = _planned(options.minutes, started, config, method, source, modality, device, options)
        if options.dry_run:
            RunFolder.check_free(options.out if old is None else None)
            _spread(method, config, device)
            return tell(config, method, source, modality, device, old)
        folder = old or begin.new_folder(options.out, config, held)
        with _resumable(folder, config, launch):
            if leader:
                if old is None:
                    if config.began_with_weights:
                        checkpoint.save(folder.beginning, {"method": beginning(method, config)})
                    config.save(folder.config)
                announce(config, source, modality, device)
            if config.compile:
                _compile(method, leader)
            kept = folder.best if config.keep == "best" else None
            first = first_row(
                method, source, config, modality, leader=leader, known=known.first,
                keep=None if kept and kept.exists() else kept,
            )  # fmt: skip
            per_epoch, total = run_length(config, len(source.train))
            if kept and leader:
                note_what_is_kept(first, config.eval_every * per_epoch, total)
            _spread(method, config, device)

            def evaluate() -> dict[str, float]:
                return watch(method, source, config, modality)

            told = [Watcher(folder, total), *open_loggers(config, folder, held)] if leader else []
            told += [OfTheStart(folder, config, first)] if leader and config.began_with_weights else []
            callbacks = [*told, *options.callbacks]
            try:
                trained = fit(
                    method, source.train, config, folder, device, resume=old is not None, evaluate=evaluate,
                    callbacks=callbacks, keep=keeper(folder, config, first) if kept else None, first=logged(first),
                )  # fmt: skip
            except Diverged as error:
                ended = Trained(error.step, total, error.seconds)
                if (left := hand_out_kept(method, config, folder)) is not None:
                    finish(method, source, config, modality, folder, ended, first, left, started, leader=leader)
                elif leader:
                    conclude_diverged(method, source, config, modality, folder, ended, first)
                ranks.any_rank(False)  # whoever raises ends all, and the leader may still write
                raise
            if leader and old is not None and trained.began == trained.step:
                say(f"Nothing was left to train: it had step {trained.step:,}, and ends at {trained.total:,}.")
            if not trained.finished:
                raise Stopped(f"Stopped after step {trained.step} of {trained.total}; all of it is saved.")
            handed = hand_out(method, source, config, modality, folder, trained.step, first)
            summary = finish(
                method, source, config, modality, folder, trained, first, handed, started, leader=leader,
                known=known.raw,
            )  # fmt: skip
        with noting(f"The run in {shown(folder.path)} is finished: all of it is written."):
            call(callbacks, "on_end", summary)
        return summary


def _planned(
    minutes: float, started: float, config: TrainConfig, method: Method, source: Source[Any], modality: Modality,
    device: torch.device, options: TrainOptions,
) -> tuple[TrainConfig, Known]:  # fmt: skip
    """The configuration with the steps of --minutes, by a copy of the method; and what was measured for it."""
    trial = deepcopy(method)
    if config.compile:
        _compile(trial, leader=False)
    _spread(trial, config, device)
    every = "eval_every" in options.given
    return plan(minutes, started, config, method, trial, source, modality, device, keep_eval_every=every)


def _measured(
    config: TrainConfig, method: Method, device: torch.device, n: int, minutes: float | None, *, alone: bool
) -> TrainConfig:
    """The configuration with the open choices of the hardware made; none is open where a run is resumed."""
    precision = choose_precision(config.precision, device, clips=method.modality == "clips")
    choices: dict[str, Any] = {"precision": precision}
    if config.shard:  # FSDP takes contiguous parameters
        config = config.model_copy(update={"channels_last": False})
    if not method.of_pictures():  # untried with other networks
        choices |= {"channels_last": False, "compile": bool(config.compile)}
    elif config.channels_last is None or config.compile is None:
        seen = min(config.epochs * n, config.batch_size * (config.max_steps or config.epochs * n))
        if minutes is not None:  # compiling is worth a try in more than ten
            seen = 10**9 if minutes > 10 else 0
        views = seen * sum(view.count for view in config.views)
        size = config.image_size
        own = config.batch_size // ranks.world()[1]
        with status("Timing the layout of memory", ranks.world()[0] == 0):
            measured = fastest_layout(
                method.backbone, size=size, precision=precision, device=device, views=views,
                at_once=min(own, config.micro_batch or own),
            )  # fmt: skip
        if config.channels_last is None:
            choices["channels_last"] = measured[0]
        if config.compile is None:
            choices["compile"] = measured[1] and alone  # untried with batch norms over ranks
    return config.model_copy(update=choices)


def _spread(method: Method, config: TrainConfig, device: torch.device) -> None:
    """Over the ranks: batch norms see the global batch, and with --shard each holds a part of the backbone."""
    if ranks.world()[1] > 1:
        synchronise(method)
        if config.shard:
            fsdp.shard(method, method.backbone, device)


def _compile(method: Method, leader: bool) -> None:
    """Compile the backbone, and teachers of its kind, at their first call; what does not compile runs as it is."""
    if leader:
        say("Compiling the backbone within the first step ...")
    torch._dynamo.config.suppress_errors = True
    for part in method.modules():
        if type(part) is type(method.backbone):
            part.compile()


def announce(config: TrainConfig, source: Source[Any], modality: Modality, device: torch.device) -> None:
    """What is going to be trained on what, in a line, and how the data was understood."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    layout = "channels last" if config.channels_last else "channels first"
    networks = f"{config.backbone} and {config.audio_backbone}" if config.audio_backbone else config.backbone
    say(
        f"{systems.get(config.method).title} on {len(source.train):,} {modality.samples} of "
        f"{shown(config.data_in_words)}, {networks} at {config.image_size} px, {config.epochs} epochs of batches of "
        f"{config.batch_size}, "
        f"{config.precision} {layout}{', compiled' if config.compile else ''}, {where}"
    )
    guards = systems.get(config.method).guards
    for name in config.without:
        say(f"{name} is OFF: this run is meant to fail. With it on, {guards[name]}.")
    for note in source.notes:
        say(note)
    if source.test is None or not modality.measurable(source):
        say("Without labels of two classes on both parts no accuracy is measured.")


@contextmanager
def noting(remedy: str) -> Iterator[None]:
    """Within, what is raised carries a note, which is printed below its traceback."""
    try:
        yield
    except Exception as error:
        error.add_note(remedy)
        raise


@contextmanager
def _resumable(folder: RunFolder, config: TrainConfig, launch: Launch) -> Iterator[None]:
    """Within, what stops the run at any moment, Ctrl-C or a full disk, says how to go on."""
    command = f"semblance train --resume --out {quoted(folder.path)}"
    parts = {"method": config.method, "backbone": config.backbone, "data": config.data}
    if again := [name for name, text in parts.items() if isinstance(text, str) and named.is_handed_over(text)]:
        given = ", ".join(f"{name}=..." for name in again)  # which no other process can make again
        command = f"sb.train({given}, resume={str(folder.path)!r})"
    launch.advise(f"Go on with: {command}")
    try:
        with noting(f"Go on with: {command}"):
            yield
    except CannotWrite as error:
        raise CannotWrite(f"{error} Once that is mended, go on with: {command}") from error
    except KeyboardInterrupt as stop:
        told = str(stop) or "Stopped."
        if not folder.config.exists():
            raise
        if ranks.world()[0] == 0 if isinstance(stop, Stopped) else launch.first_to_tell(stop):
            say(f"{told} Go on with:")
            say(command, result=True)
        raise type(stop)(told) from None
