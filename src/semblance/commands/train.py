"""`semblance train`: from options to a run folder. What the method learns from is a Modality's matter."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from semblance import modalities, systems
from semblance.commands.dry_run import tell
from semblance.commands.finish import finish
from semblance.commands.measure import first_row
from semblance.commands.printing import say, status
from semblance.commands.resume import finished, folder_to_resume, given_anew
from semblance.data import Source
from semblance.engine.loop import fit
from semblance.errors import CannotWrite, UserError
from semblance.modalities.build import at_the_start
from semblance.modalities.modality import Modality
from semblance.nets.batchnorm import synchronise
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.options import TrainOptions
from semblance.runs.resolve import resolve
from semblance.runtime import fsdp
from semblance.runtime.allocator import keep_freed_memory
from semblance.runtime.launch import launch
from semblance.runtime.precision import choose_precision, fastest_layout
from semblance.runtime.ranks import world
from semblance.systems import Method


def train(options: TrainOptions) -> dict[str, Any]:
    """Train as the options say, or go on with a run; returns what summary.json holds."""
    started = time.perf_counter()
    old = folder_to_resume(options)
    if old is not None:
        config = given_anew(TrainConfig.load(old.config), options)
        if (summary := finished(old, config)) is not None:
            return summary
        modality = modalities.of(config.method)
        source = modality.load(config)
    else:
        config = resolve(options)  # before the data, so that a typo costs no reading
        modality = modalities.of(config.method)
        source = modality.load(config)
        exact = getattr(source.train, "exact", True)
        config = resolve(options, stored_size=source.train.canvas, exact=exact)
    _check(source, config, modality)
    fabric = launch(config.devices)
    leader, device = fabric.is_global_zero, fabric.device
    if device.type == "cpu":
        keep_freed_memory()
    if config.batch_size < 2 * fabric.world_size:
        raise UserError(f"Each of {fabric.world_size} processes wants two samples of a batch of {config.batch_size}.")
    method = at_the_start(config, modality, source).to(device)
    config = _measured(config, method, device, len(source.train), alone=fabric.world_size == 1)
    if options.dry_run:
        RunFolder.check_free(options.out if old is None else None)
        _spread(method, config, fabric)
        return tell(config, method, source, modality, device, old)
    folder = old or _new_folder(options.out, config, fabric)
    config = fabric.broadcast(config)
    with _resumable(folder, leader):
        if leader:
            if old is None:
                config.save(folder.config)
            announce(config, source, modality, device)
        method.to(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)
        if config.compile:
            _compile(method)
        first, measured = None, source.sampled(config.eval_samples)
        if measures := source.test is not None and modality.measurable(source):
            first = first_row(method, measured, config, modality, leader=leader)
        _spread(method, config, fabric)

        def watch() -> dict[str, float]:
            return modality.watch(method, measured, config)

        evaluate = watch if measures else None
        trained = fit(method, source.train, config, folder, device, resume=old is not None, evaluate=evaluate)
        if leader and old is not None and trained.began == trained.step:
            say(f"Nothing was left to train: it had step {trained.step:,}, and ends at {trained.total:,}.")
        if not trained.finished:
            raise KeyboardInterrupt(f"Stopped after step {trained.step} of {trained.total}; all of it is saved.")
        return finish(method, source, config, modality, folder, trained, first, started, leader=leader)


def _check(source: Source[Any], config: TrainConfig, modality: Modality) -> None:
    """A UserError where a batch is more than the samples that can be read."""
    count = len(source.train.readable)
    if count < config.batch_size:
        remedy = f", or --batch-size {max(2, count // 4)}" if count > 1 else ""
        unreadable = f" ({len(source.skipped)} more cannot be read)" if source.skipped else ""
        raise UserError(
            f"{source.train.name} has {count} {modality.samples} to train on{unreadable}, fewer than a batch of "
            f"{config.batch_size}. Give more {modality.samples}{remedy}."
        )


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
        own = config.batch_size // world()[1]
        with status("Timing the layout of memory", world()[0] == 0):
            measured = fastest_layout(
                method.backbone, size=size, precision=precision, device=device, views=views,
                at_once=min(own, config.micro_batch or own),
            )  # fmt: skip
        if config.channels_last is None:
            choices["channels_last"] = measured[0]
        if config.compile is None:
            choices["compile"] = measured[1] and alone  # untried with batch norms over ranks
    return config.model_copy(update=choices)


def _new_folder(out: str | None, config: TrainConfig, fabric: Fabric) -> RunFolder:
    """The folder of a new run, the same on all ranks."""
    made: RunFolder | UserError | None = None
    if fabric.is_global_zero:
        try:
            made = RunFolder.new(out, f"{config.method.rpartition(':')[2]}-{_slug(config.data)}")
        except UserError as error:
            made = error
    made = fabric.broadcast(made)
    if isinstance(made, UserError):  # on every rank: the others would wait for the leader
        raise made
    assert made is not None
    return made


def _spread(method: Method, config: TrainConfig, fabric: Fabric) -> None:
    """Over the ranks: batch norms see the global batch, and with --shard each holds a part of the backbone."""
    if fabric.world_size > 1:
        synchronise(method)
        if config.shard:
            fsdp.shard(method, method.backbone, fabric.device)


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
    if source.test is None or not modality.measurable(source):
        say("Without labels on both parts no accuracy is measured.")


@contextmanager
def _resumable(folder: RunFolder, leader: bool) -> Iterator[None]:
    """Within, what stops the run at any moment, Ctrl-C or a full disk, says how to go on."""
    command = f"semblance train --resume --out {shlex.quote(str(folder.path))}"
    try:
        yield
    except CannotWrite as error:
        raise CannotWrite(f"{error} Once that is mended, go on with: {command}") from error
    except KeyboardInterrupt as stop:
        told = str(stop) or "Stopped."
        if not folder.config.exists():
            raise
        if leader:
            say(f"{told} Go on with:")
            print(command)
        raise KeyboardInterrupt(told) from None
