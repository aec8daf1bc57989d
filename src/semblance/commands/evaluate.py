"""`semblance evaluate`: the table of a run, finished or stopped."""

from typing import Any

from semblance.commands.measure import extent, first_row, table
from semblance.commands.opened import Opened
from semblance.commands.printing import print_skipped, print_tables, say
from semblance.data import Source
from semblance.engine.loop import run_length
from semblance.errors import UserError
from semblance.modalities.build import at_the_start


def evaluate(run: str, *, network: str | None = None, **given: Any) -> list[dict[str, Any]]:
    """The rows of raw input, of the networks before training, and of the trained ones; or on labelled sounds."""
    opened = Opened.of(run, network, **given)
    modality = opened.modality
    if given.get("data") is not None and (other := modality.otherwise(opened.method(), opened.config)) is not None:
        print_tables(other.printed, other.title)
        print_skipped(other.skipped)
        return other.table
    source = modality.load(opened.config)
    for note in source.notes:
        say(note)
    if not modality.measurable(source):
        raise UserError(
            f"{source.train.name} has no labels to measure accuracy on. {' '.join([*source.notes, 'Put'])} the "
            f"{modality.samples} of each class in a folder of its own, or name a labelled set with --data."
        )
    method = opened.method(source.train)
    config = opened.config
    measured = source.sampled(config.eval_samples)
    say_where_it_stands(opened, source)
    rows, parts = table(method, measured, config, modality, first_row_of(opened, source, measured))
    numbers = {"table": rows} | modality.numbers(method, source, config, rows, parts)
    print_tables(modality.tables(numbers), extent(source, measured, modality))
    if "protocol" in numbers:
        say(numbers["protocol"], result=True)
    print_skipped(source.skipped)
    return rows


def say_where_it_stands(opened: Opened, source: Source[Any]) -> None:
    """That a run was stopped, where it was."""
    if opened.state and opened.is_own(source.train):
        _, total = run_length(opened.config, len(source.train))
        if opened.state["step"] < total:
            say(f"Stopped after step {opened.state['step']:,} of {total:,}: measured as it stands there.")


def first_row_of(opened: Opened, source: Source[Any], measured: Source[Any]) -> dict[str, Any] | None:
    """The networks before training, measured now; None for a backbone by itself, and where they are no more."""
    config, folder = opened.config, opened.folder
    if folder is None:
        return None
    if config.from_run is not None and not (folder.beginning.exists() and opened.is_own(source.train)):
        say("The networks that it began with are not measured: they belong to the samples of the run.")
        return None
    method = opened.placed(at_the_start(config, opened.modality, source, folder))
    return first_row(method, measured, config, opened.modality)
