"""What a run begins with: the same samples on all ranks, and a folder that is its own."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from semblance.commands.printing import say
from semblance.data import Source
from semblance.data.agreement import differing
from semblance.errors import UserError
from semblance.modalities.modality import Modality
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime import named, ranks
from semblance.runtime.lock import locked
from semblance.shown import shown

T = TypeVar("T")


def load(modality: Modality, config: TrainConfig) -> Source[Any]:
    """The samples, on the first rank of each machine before the others, which find what it has fetched or decoded.

    A UserError where ranks see different ones: they would train on silently, each on its own.
    """
    if ranks.world()[0] == 0:
        say(f"Reading {shown(config.data_in_words)} ...")
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


def check(source: Source[Any], config: TrainConfig, modality: Modality) -> None:
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
            f"{shown(source.train.name)} has {count} {modality.samples} to train on{unreadable}, fewer than a batch of "
            f"{config.batch_size}. Give more {modality.samples}{remedy}."
        )


def lock(folder: RunFolder, held: ExitStack) -> None:
    """Keep other processes from training in a folder; a UserError, on every rank, where one does."""

    def take() -> None:
        if not held.enter_context(locked(folder.lock, str(folder.path))):
            say(f"The disk of {shown(folder.path)} knows no locks: see to it that no other process trains there.")

    _on_leader(take)


def new_folder(out: str | None, config: TrainConfig, held: ExitStack) -> RunFolder:
    """The locked folder of a new run, the same on all ranks."""
    made = _on_leader(lambda: RunFolder.new(out, f"{named.short(config.method)}-{_slug(config.data)}"))
    lock(made, held)
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


def _slug(given: str | list[str]) -> str:
    """A short file name for a data source."""
    data = given if isinstance(given, str) else given[0]
    if named.is_own(data, named.DATA):
        data = named.short(data)
    return "".join(c if c.isalnum() else "-" for c in Path(data).name.split(".")[0])[:40] or "data"
