"""The table of a run: raw input, the networks before training, the trained ones."""

from contextlib import nullcontext
from typing import Any

from semblance.commands.printing import status
from semblance.data import Source
from semblance.data.samples import Samples
from semblance.errors import UserError
from semblance.evaluation.batch_norms import batch_norms_of_the_data
from semblance.modalities.modality import Modality, Parts
from semblance.runs.config import TrainConfig
from semblance.systems import Method

Row = dict[str, Any]


def first_row(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, *, leader: bool = True
) -> Row:
    """The networks before the first step: random ones whose batch norms know the data, or those of another run."""
    untrained = config.from_run is None
    name = modality.encoders[1] if untrained else f"{modality.encoders[1].removeprefix('untrained ')} it began with"
    with status(f"Measuring the {name}", leader):
        with batch_norms_of_the_data(method, source.train, config) if untrained else nullcontext():
            parts = modality.embed(method, source, config)
        return _row(name, parts, source, config, modality)


def table(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, first: Row | None, *,
    leader: bool = True,
) -> tuple[list[Row], Parts]:  # fmt: skip
    """Every row, and what the trained networks make of both parts. first: of the networks before training, if known."""
    raw_name, _, name = modality.encoders
    with status(f"Measuring the {name}", leader):
        raw = modality.raw(source, config)
        rows = [] if raw is None else [_row(raw_name, raw, source, config, modality)]
        del raw  # as large as the features
        parts = modality.embed(method, source, config)
        return [*rows, *filter(None, [first]), _row(name, parts, source, config, modality)], parts


def extent(source: Source[Any], measured: Source[Any], modality: Modality) -> str:
    """What a table was measured on, in words."""
    held_out = f"{_some(measured.held_out, source.held_out)}{' held-out' if source.test else ''} {modality.samples}"
    whole = len(measured.train) == len(source.train)
    return held_out if whole else f"{held_out}, by {_some(measured.train, source.train)} to train on"


def _some(part: Samples, of: Samples) -> str:
    """How many samples, and of how many where that is more."""
    return f"{len(part.readable):,}{f' of {len(of):,}' if len(part) < len(of) else ''}"


def _row(name: str, parts: Parts, source: Source[Any], config: TrainConfig, modality: Modality) -> Row:
    try:
        return {"encoder": name} | modality.measure(parts, source, config)
    except UserError as error:
        raise UserError(f"Measuring the {name}: {error}") from error
