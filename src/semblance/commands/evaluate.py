"""`semblance evaluate`: the table of a run, finished or stopped."""

from typing import Any

from semblance.commands import begin
from semblance.commands.measure import extent, first_row, measurable, table
from semblance.commands.opened import Opened
from semblance.commands.printing import print_skipped, print_tables, say
from semblance.data import Source
from semblance.engine.loop import run_length
from semblance.errors import UserError
from semblance.modalities.build import at_the_start
from semblance.modalities.modality import Evaluation
from semblance.report.tables import without_labels
from semblance.runs.options import TrainOptions
from semblance.runtime import ranks
from semblance.runtime.launch import Launch
from semblance.runtime.memory import told_when_short
from semblance.shown import shown


def evaluate(run: str, *, network: str | None = None, devices: int = 1, **given: Any) -> list[dict[str, Any]]:
    """The rows of raw input, of the networks before training, and of the trained ones; or on labelled sounds. Without
    labels a row has what can be said without."""
    if problems := TrainOptions.of({"devices": devices}).problems:
        raise UserError(*problems)
    with Launch() as launch, told_when_short():
        launch.start(devices)
        opened = Opened.of(run, network, **given)
        found = None
        if given.get("data") is not None:
            found = opened.modality.otherwise(opened.method(), opened.config)
        found = found or _on_samples(opened)
        if ranks.world()[0] == 0:
            for note in [*found.notes, *opened.notes]:
                say(note)
            print_tables(found.printed, found.title)
            if found.protocol:
                say(found.protocol, result=True)
            print_skipped(found.skipped)
        return found.table


def _on_samples(opened: Opened) -> Evaluation:
    modality = opened.modality
    source = begin.load(modality, opened.config)
    method, config = opened.method(source.train), opened.config
    if opened.resplit and not opened.is_own(source.train):
        opened.notes.append("These parts are not the run's: it may have been trained on what is held out now.")
    measured = source.sampled(config.eval_samples)
    note_where_it_stands(opened, source)
    leader = ranks.world()[0] == 0
    first = first_row_of(opened, source, leader=leader)
    rows, parts = table(method, source, config, modality, first, opened.earlier, leader=leader)
    numbers = {"table": rows} | modality.numbers(method, source, config, rows, parts)
    if not measurable(source, modality):
        told = (
            f"{shown(source.train.name)} has no labels to measure accuracy on. Put the {modality.samples} of each "
            "class in a folder of its own, give --labels FILE.csv, or name a labelled set with --data."
        )
        if not any("label_free" in row for row in rows):
            raise UserError(told, *source.notes)
        opened.notes.append(told)
    title, printed = extent(source, measured, modality), modality.tables(numbers) or without_labels(rows)
    return Evaluation(rows, title, printed, source.skipped, numbers.get("protocol", ""), source.notes)


def note_where_it_stands(opened: Opened, source: Source[Any]) -> None:
    """That a run was stopped; where an earlier network than its last is handed out, that is told of already."""
    if opened.earlier is None and opened.state and opened.is_own(source.train):
        _, total = run_length(opened.config, len(source.train))
        if opened.step < total:
            opened.notes.append(f"Stopped after step {opened.step:,} of {total:,}: measured as it stands there.")


def first_row_of(opened: Opened, source: Source[Any], *, leader: bool = True) -> dict[str, Any] | None:
    """The networks before training, measured now; None for a backbone by itself, and where they are no more."""
    config, folder = opened.config, opened.folder
    if folder is None:
        return None
    if config.from_run is not None and not (folder.beginning.exists() and opened.is_own(source.train)):
        opened.notes.append("The networks that it began with belong to its own samples: they are not measured.")
        return None
    method = opened.placed(at_the_start(config, opened.modality, source, folder))
    return first_row(method, source, config, opened.modality, leader=leader)
