"""`semblance train`: from options to a run folder. What the method learns from is a Modality's matter."""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from semblance import modalities, systems
from semblance.commands.dry_run import tell
from semblance.commands.finish import finish
from semblance.commands.printing import say, status
from semblance.commands.resume import finished, folder_to_resume, given_anew
from semblance.data import Source
from semblance.data.agreement import differing
from semblance.engine.loop import fit
from semblance.errors import CannotWrite, Stopped, UserError
from semblance.modalities.build import build
from semblance.modalities.modality import Modality
from semblance.nets.batchnorm import synchronise
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.from_run import go_on_from
from semblance.runs.options import TrainOptions
from semblance.runs.resolve import resolve
from semblance.runtime import fsdp, ranks
from semblance.runtime.allocator import keep_freed_memory
from semblance.runtime.launch import Launch
from semblance.runtime.lock import locked
from semblance.runtime.precision import choose_precision, fastest_layout
from semblance.systems import Method

T = TypeVar("T")


def train(options: TrainOptions) -> dict[str, Any]:
    """Train as the options say, or go on with a run; returns what summary.json holds."""
    started = time.perf_counter()
    with Launch() as launch, ExitStack() as held:
        old = folder_to_resume(options)
        if old is not None:
            config = given_anew(TrainConfig.load(old.config), options)
            if (summary := finished(old, config)) is not None:
                return summary
        else:
            config = resolve(options)  # before the data, so that a typo costs no reading
        device = launch.start(config.devices)
        leader = ranks.world()[0] == 0
        if old is not None and not options.dry_run:
            _lock(old, held)
        modality = modalities.of(config.method)
        source = _load(modality, config)
        if old is None:
            config = resolve(options, stored_size=source.train.canvas)
        _check(source, config, modality)
        if device.type == "cpu":
            keep_freed_memory()
        method = _build(config, modality, source, old).to(device)
        config = _measured(config, method, device, len(source.train), alone=ranks.world()[1] == 1)
        if options.dry_run:
            RunFolder.check_free(options.out if old is None else None)
            _spread(method, config, device)
            return tell(config, method, source, modality, device, old)
        folder = old or _new_folder(options.out, config, held)
        config = ranks.broadcast(config)
        with _resumable(folder, launch):
            if leader:
                if old is None:
                    if config.from_run is not None:
                        checkpoint.save(folder.beginning, {"method": method.state_dict()})
                    config.save(folder.config)
                announce(config, source, modality, device)
            method.to(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)
            if config.compile:
                _compile(method)
            untrained = None
            if modality.measurable(source):
                name = _before_training(modality, config)
                with status(f"Measuring the {name}", leader):
                    untrained = {"encoder": name} | modality.measure(modality.embed(method, source, config), source)
            _spread(method, config, device)

            def watch() -> dict[str, float]:
                return modality.watch(method, source, config)

            evaluate = None if untrained is None else watch
            trained = fit(method, source.train, config, folder, device, resume=old is not None, evaluate=evaluate)
            if leader and old is not None and trained.began == trained.step:
                say(f"Nothing was left to train: it had step {trained.step:,}, and ends at {trained.total:,}.")
            if not trained.finished:
                raise Stopped(f"Stopped after step {trained.step} of {trained.total}; all of it is saved.")
            return finish(method, source, config, modality, folder, trained, untrained, started, leader=leader)


def _load(modality: Modality, config: TrainConfig) -> Source[Any]:
    """The samples, on the first rank of each machine before the others, which find what it has fetched or decoded.

    A UserError where ranks see different ones: they would train on silently, each on its own.
    """
    first = ranks.first_here()
    if not first:
        ranks.any_rank(False)
    source = modality.load(config)
    if first:
        ranks.any_rank(False)
    for part, samples in (("to train on", source.train), ("held out", source.test)):
        if (problem := differing(samples)) is not None:
            raise UserError(f"The ranks see different {modality.samples} {part}: {problem}. All need the same data.")
    return source


def _before_training(modality: Modality, config: TrainConfig) -> str:
    """What the row of the networks before the first step is called."""
    name = modality.encoders[1]
    return name if config.from_run is None else f"{name.removeprefix('untrained ')} it began with"


def _check(source: Source[Any], config: TrainConfig, modality: Modality) -> None:
    """A UserError where a batch is more than the samples that can be read, or too little for all ranks."""
    count, world = len(source.train.readable), ranks.world()[1]
    if config.batch_size < 2 * world:
        raise UserError(
            f"Each of {world} processes wants two samples of a batch, so --batch-size {config.batch_size} is too few: "
            f"give {2 * world} or more, or start fewer processes."
        )
    if count < config.batch_size:
        remedy = f", or --batch-size {max(2, count // 4)}" if count > 1 else ""
        unreadable = f" ({len(source.skipped)} more cannot be read)" if source.skipped else ""
        raise UserError(
            f"{source.train.name} has {count} {modality.samples} to train on{unreadable}, fewer than a batch of "
            f"{config.batch_size}. Give more {modality.samples}{remedy}."
        )


def _build(config: TrainConfig, modality: Modality, source: Source[Any], old: RunFolder | None) -> Method:
    """The method as it was before its first step, also where a checkpoint is going to be loaded into it."""
    torch.manual_seed(config.seed)
    method = build(config, modality)
    method.prepare(len(source.train))
    modality.prepare(method, source, config)
    if config.from_run is not None and old is None:
        go_on_from(config.from_run, method, source.train)
    if config.precision == "64":
        method.double()
    if config.from_run is not None and old is not None:  # the other run may have gone on, or away
        method.load_state_dict(checkpoint.load(old.beginning)["method"])
    return method


def _measured(config: TrainConfig, method: Method, device: torch.device, n: int, *, alone: bool) -> TrainConfig:
    """The configuration with the open choices of the hardware made; none is open where a run is resumed."""
    precision = choose_precision(config.precision, device, clips=method.modality == "clips")
    choices: dict[str, Any] = {"precision": precision}
    if not method.of_pictures():  # untried with other networks
        choices |= {"channels_last": False, "compile": bool(config.compile)}
    elif config.channels_last is None or config.compile is None:
        seen = min(config.epochs * n, config.batch_size * (config.max_steps or config.epochs * n))
        views = seen * sum(view.count for view in config.views)
        size = config.image_size
        measured = fastest_layout(method.backbone, size=size, precision=precision, device=device, views=views)
        if config.channels_last is None:
            choices["channels_last"] = measured[0]
        if config.compile is None:
            choices["compile"] = measured[1] and alone  # untried with batch norms over ranks
    return config.model_copy(update=choices)


def _lock(folder: RunFolder, held: ExitStack) -> None:
    """Keep other processes from training in a folder; a UserError, on every rank, where one does."""

    def take() -> None:
        if not held.enter_context(locked(folder.lock, str(folder.path))):
            say(f"The disk of {folder.path} knows no locks: see to it yourself that no other process trains there.")

    _on_leader(take)


def _new_folder(out: str | None, config: TrainConfig, held: ExitStack) -> RunFolder:
    """The locked folder of a new run, the same on all ranks."""
    made = _on_leader(lambda: RunFolder.new(out, f"{config.method.rpartition(':')[2]}-{_slug(config.data)}"))
    _lock(made, held)
    _on_leader(lambda: RunFolder.check_free(made.path))  # by a run that was started at the same moment
    return made


def _on_leader(work: Callable[[], T]) -> T:
    """What the first rank makes, on all; its UserError, too, which the others would wait for."""
    made: T | UserError
    try:
        made = work() if ranks.world()[0] == 0 else UserError()
    except UserError as error:
        made = error
    made = ranks.broadcast(made)
    if isinstance(made, UserError):
        raise made
    return made


def _spread(method: Method, config: TrainConfig, device: torch.device) -> None:
    """Over the ranks: batch norms see the global batch, and with --shard each holds a part of the backbone."""
    if ranks.world()[1] > 1:
        synchronise(method)
        if config.shard:
            fsdp.shard(method, method.backbone, device)


def _compile(method: Method) -> None:
    """Compile the backbone, and teachers of its kind, at their first call; what does not compile runs as it is."""
    torch._dynamo.config.suppress_errors = True
    for part in method.modules():
        if type(part) is type(method.backbone):
            part.compile()


def _slug(data: str) -> str:
    """A short file name for a data source."""
    return "".join(c if c.isalnum() else "-" for c in Path(data).name.split(".")[0]) or "data"


def announce(config: TrainConfig, source: Source[Any], modality: Modality, device: torch.device) -> None:
    """What is going to be trained on what, in a line, and how the data was understood."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    layout = "channels last" if config.channels_last else "channels first"
    networks = f"{config.backbone} and {config.audio_backbone}" if config.audio_backbone else config.backbone
    say(
        f"{systems.get(config.method).title} on {len(source.train):,} {modality.samples} of {config.data}, "
        f"{networks} at {config.image_size} px, {config.epochs} epochs of batches of {config.batch_size}, "
        f"{config.precision} {layout}{', compiled' if config.compile else ''}, {where}"
    )
    for note in source.notes:
        say(note)
    if not modality.measurable(source):
        say("Without labels on both parts no accuracy is measured.")


@contextmanager
def _resumable(folder: RunFolder, launch: Launch) -> Iterator[None]:
    """Within, what stops the run at any moment, Ctrl-C or a full disk, says how to go on."""
    command = f"semblance train --resume --out {shlex.quote(str(folder.path))}"
    launch.advise(f"Go on with: {command}")
    try:
        yield
    except CannotWrite as error:
        raise CannotWrite(f"{error} Once that is mended, go on with: {command}") from error
    except KeyboardInterrupt as stop:
        told = str(stop) or "Stopped."
        if not folder.config.exists():
            raise
        if ranks.world()[0] == 0 if isinstance(stop, Stopped) else launch.first_to_tell(stop):
            say(f"{told} Go on with:")
            print(command)
        raise type(stop)(told) from None
