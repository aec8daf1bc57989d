"""A run from flags to results: data, method, loop, table, backbone, report."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from .. import systems
from ..config import TrainConfig, resolve
from ..data.clips import ClipSource
from ..data.images import Source
from ..errors import CannotWrite, UserError
from ..evaluation.table import labelled, print_notes
from ..nets.batchnorm import synchronise
from ..systems import Method
from . import clip_results
from . import results as picture_results
from .allocator import keep_freed_memory
from .build import build, go_on_from
from .folder import RunFolder
from .launch import launch
from .loop import fit
from .precision import choose_precision, fastest_layout
from .sharding import shard

console = Console(stderr=True)


def train(flags: dict[str, Any], *, resume: bool = False, out: str | Path | None = None) -> dict[str, Any]:
    """Train as the flags say, or go on with the run in `out`, on as many devices and workers as they say now; returns
    what summary.json holds."""
    started = time.perf_counter()
    if resume:
        if out is None:
            raise UserError("--resume needs --out FOLDER, the folder of the run to go on with.")
        folder = RunFolder(Path(out))
        anew = {name: flags[name] for name in ("devices", "workers") if flags[name] is not None}
        config = TrainConfig.load(folder.config, **anew)
        results = _results(config)
        source = results.load(config)
    else:
        folder = RunFolder(Path())  # made once the flags have proved sound
        config = resolve(flags=flags)  # before the data, so that a typo costs no reading
        results = _results(config)
        source = results.load(config)
        config = resolve(flags=flags, stored_size=source.train.canvas)
    results.check(source, config)
    fabric = launch(config.devices)
    leader, device = fabric.is_global_zero, fabric.device
    if device.type == "cpu":
        keep_freed_memory()
    if config.batch_size < 2 * fabric.world_size:
        raise UserError(f"Each of {fabric.world_size} processes wants two samples of a batch of {config.batch_size}.")
    torch.manual_seed(config.seed)
    model = build(config)
    model.prepare(len(source.train))
    results.prepare(model, source, config)
    if config.from_run is not None and not resume:
        go_on_from(config.from_run, model, source.train)
    precision = choose_precision(config.precision, device, clips=not model.of_pictures())
    if precision == "64":
        model.double()
    model.to(device)
    if not resume:
        config = _measure(config, model, precision, device, len(source.train), alone=fabric.world_size == 1)
        problem = None
        if leader:
            try:
                folder = RunFolder.new(out, f"{config.method}-{_slug(config.data)}")
            except UserError as error:
                problem = error
        folder, config, problem = fabric.broadcast((folder, config, problem))
        if problem is not None:  # on every rank: the others would wait for the leader
            raise problem
    with _resumable(folder, leader):
        if leader:
            if not resume:
                config.save(folder.config)
            _announce(config, source, device)
            if isinstance(source, Source):
                print_notes(source)
        model.to(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)
        if config.compile:
            _compile(model)
        measured = isinstance(source, ClipSource) or labelled(source)
        untrained = results.baseline(model, source, config) if measured else None
        if fabric.world_size > 1:
            synchronise(model)
        if fabric.world_size > 1 and config.shard:
            shard(model, model.backbone, device)

        def evaluate() -> dict[str, float]:
            return results.watch(model, source, config)

        evaluated = evaluate if measured else None
        trained = fit(model, source.train, config, folder, device, resume=resume, evaluate=evaluated)
        if not trained.finished:
            raise KeyboardInterrupt(f"Stopped after step {trained.step} of {trained.total}; all of it is saved.")
        return results.finish(model, source, config, folder, trained, untrained, started, leader=leader)


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
            console.print(f"{told} Go on with:", markup=False, highlight=False)
            print(command)
        raise KeyboardInterrupt(told) from None


def _results(config: TrainConfig) -> Any:
    """The module that loads and measures what the method learns from: pictures, or clips."""
    return picture_results if systems.get(config.method).of_pictures() else clip_results


def _compile(model: Method) -> None:
    """Compile the backbone, and teachers of its kind, at their first call; what does not compile runs as it is."""
    torch._dynamo.config.suppress_errors = True
    for part in model.modules():
        if type(part) is type(model.backbone):
            part.compile()


def _measure(
    config: TrainConfig, method: Method, precision: str, device: torch.device, n: int, *, alone: bool
) -> TrainConfig:
    """The configuration with the open choices of the hardware made, so that a resumed run makes them alike."""
    choices: dict[str, Any] = {"precision": precision}
    if not method.of_pictures():  # untried with networks of clips
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


def _slug(data: str) -> str:
    """A short file name for a data source."""
    return "".join(c if c.isalnum() else "-" for c in Path(data).name.split(".")[0]) or "data"


def _announce(config: TrainConfig, source: Source | ClipSource, device: torch.device) -> None:
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    layout = "channels last" if config.channels_last else "channels first"
    what = "clips" if isinstance(source, ClipSource) else "pictures"
    networks = f"{config.backbone} and {config.audio_backbone}" if config.audio_backbone else config.backbone
    console.print(
        f"{systems.get(config.method).title} on {len(source.train):,} {what} of {config.data}, "
        f"{networks} at {config.image_size} px, {config.epochs} epochs of batches of {config.batch_size}, "
        f"{config.precision} {layout}{', compiled' if config.compile else ''}, {where}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
