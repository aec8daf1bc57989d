"""`semblance train --dry-run`: everything that a run would be, and what it would take, without training."""

import resource
import sys
import time
from typing import Any

import torch

from semblance.commands.printing import say
from semblance.data import Source
from semblance.data.pictures.crops import as_trained
from semblance.engine.loop import optimizer_of, run_length, step
from semblance.modalities.modality import Modality
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime.progress import duration
from semblance.runtime.ranks import own_rows, world
from semblance.shown import shown
from semblance.systems import Clock, Method

TIMED = 3  # steps, after one that allocates


def tell(
    config: TrainConfig,
    method: Method,
    source: Source[Any],
    modality: Modality,
    device: torch.device,
    old: RunFolder | None,
) -> dict[str, Any]:
    """Print the configuration, how the data was understood, and steps, time and memory by a few steps on this machine.

    old: the folder of a run that would go on. Returns config, steps, seconds, bytes. Nothing is written; the method is
    changed.
    """
    per_epoch, total = run_length(config, len(source.train))
    done = 0
    if old is not None and old.checkpoint.exists():
        done, _ = checkpoint.progress(checkpoint.load(old.checkpoint), old.checkpoint)
    left = max(0, total - done)
    seconds, peak = _measure(config, method, source, device, per_epoch, total)
    found = {"config": config.model_dump(), "steps": left, "seconds": seconds * left, "bytes": peak}
    if world()[0] > 0:
        return found
    say(config.yaml(), result=True)
    held = f", {len(source.test):,} held out" if source.test is not None else ", none held out"
    labels = ", ".join(source.train.attributes) or "none"
    say(
        f"{shown(source.train.name)}: {len(source.train):,} {modality.samples} to train on{held}; labels: {labels}",
        result=True,
    )
    for note in source.notes:
        say(note, result=True)
    for name, why in source.skipped[:10]:
        say(f"  left out: {shown(name)}: {shown(why)}", result=True)
    if len(source.skipped) > 10:
        say(f"  and {len(source.skipped) - 10:,} more", result=True)
    more = " Work on the whole set between steps comes on top." if _has_work_between_steps(method) else ""
    shared = f" on {world()[1]} processes" if world()[1] > 1 else ""
    say(
        f"{left:,} steps{f' after {done:,}' if done else ''}, {per_epoch:,} an epoch. "
        f"About {duration(seconds * left)} of training at "
        f"{seconds:.3g} s a step{shared}, and {peak / 2**30:.1f} GiB of memory ({TIMED} steps measured here). "
        f"Measuring and the report come on top.{more}",
        result=True,
    )
    return found


def _measure(
    config: TrainConfig, method: Method, source: Source[Any], device: torch.device, per_epoch: int, total: int
) -> tuple[float, int]:
    """Seconds of a step, the median of a few, and the largest memory so far in bytes."""
    method.train()
    optimizer = optimizer_of(config, method)
    index = torch.arange(config.batch_size)
    own = index[own_rows(len(index))]
    samples = as_trained(source.train, config.views, config.crop_from)
    taken = []
    for n in range(1 + TIMED):
        started = time.perf_counter()
        batch = (*samples.read(own, key=n), index)
        loss, _ = step(method, optimizer, batch, config, Clock(n, total, per_epoch, config.seed), device)
        float(loss)  # waits for a GPU
        taken.append(time.perf_counter() - started)
    if device.type == "cuda":
        return sorted(taken[1:])[TIMED // 2], torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return sorted(taken[1:])[TIMED // 2], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _has_work_between_steps(method: Method) -> bool:
    return type(method).start_step is not Method.start_step
