"""The table of a run: raw input, the networks before training, the trained ones."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor

from semblance.commands.printing import status
from semblance.data import Source
from semblance.data.samples import Samples
from semblance.errors import UserError
from semblance.evaluation.batch_norms import batch_norms_of_the_data, never_trained
from semblance.evaluation.gains import LEAVE_ONE_OUT
from semblance.evaluation.label_free.numbers import numbers, points
from semblance.modalities.looked_at import FEWEST, OF_MANY_VIEWS, VIEWS, drawn, looked_at
from semblance.modalities.modality import Modality, Parts
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.systems import Method

Row = dict[str, Any]


def measurable(source: Source[Any], modality: Modality) -> bool:
    """Whether accuracies can be measured; label-free numbers can be of all but a handful of samples."""
    return source.test is not None and modality.measurable(source)


def first_row(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, *, leader: bool = True,
    keep: Path | None = None, known: Row | None = None,
) -> Row:  # fmt: skip
    """The networks before the first step: random ones whose batch norms know the data, or those that were given.

    source: all samples. keep: the checkpoint that they are to be kept as. known: their accuracies, if measured already.
    """
    name, fresh = modality.encoders[1], knows_no_data(method, config)
    name = f"{name.removeprefix('untrained ')} it began with" if config.began_with_weights else name
    measured = source.sampled(config.eval_samples)
    with status(f"Measuring the {name}", leader):
        with batch_norms_of_the_data(method, measured.train, config) if fresh else nullcontext():
            parts = modality.embed(method, measured, config) if measurable(source, modality) and not known else None
            seen = views_of(method, source, config, modality)
            if keep is not None and leader:
                about = checkpoint.about(config, source.train.fingerprint(), source.train.canvas, 0, 0.0)
                checkpoint.save(keep, {"method": method.state_dict()} | about)
        return _row(name, parts, measured, config, modality, seen, known)


def table(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, first: Row | None, step: int | None,
    *, leader: bool = True, known: Row | None = None,
) -> tuple[list[Row], Parts | None]:  # fmt: skip
    """Every row, and what the trained networks make of both parts, None where no accuracy is measured. source: all
    samples. first: of the networks before training, if known. step: that of the networks where it is not the last.
    known: accuracies of raw input, if measured already."""
    raw_name, _, name = modality.encoders
    name = _of_step(name, step)
    measured = source.sampled(config.eval_samples)
    parts = None
    with status(f"Measuring the {name}", leader):
        raw = modality.raw(measured, config) if measurable(source, modality) and not known else None
        seen = views_of(None, source, config, modality)
        rows = (
            [_row(raw_name, raw, measured, config, modality, seen, known)] if raw is not None or known or seen else []
        )
        if seen:
            rows[0]["telling"] = modality.telling(looked_at(source, config))
        del raw  # as large as the features
        if measurable(source, modality):
            parts = modality.embed(method, measured, config)
        trained = _row(name, parts, measured, config, modality, views_of(method, source, config, modality))
        return [*rows, *filter(None, [first]), trained], parts


def views_of(
    method: Method | None, source: Source[Any], config: TrainConfig, modality: Modality
) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Of each stream, features of two views of some held-out samples, and of many views of fewer."""
    samples = looked_at(source, config)
    if len(samples) < FEWEST:
        return {}
    pairs = modality.views_of(method, samples, config, 2)
    many = {} if method is None else modality.views_of(method, drawn(samples, OF_MANY_VIEWS), config, VIEWS)
    return {name: (rows, many.get(name) if name != "between" else None) for name, rows in pairs.items()}


def watch(method: Method, source: Source[Any], config: TrainConfig, modality: Modality) -> dict[str, float]:
    """Numbers for the log in mid-run."""
    found = modality.watch(method, source.sampled(config.eval_samples), config) if measurable(source, modality) else {}
    samples = looked_at(source, config)
    seen = modality.views_of(method, samples, config, 2) if len(samples) >= FEWEST else {}
    return found | _named({stream: points(pairs) for stream, pairs in seen.items()})


def logged(row: Row) -> dict[str, float]:
    """The numbers of a row as the log has them."""
    found = {
        stream: {name: of[0] for name, of in numbers.items() if isinstance(of, list) and of and name != "spectrum"}
        for stream, numbers in (row.get("label_free") or {}).items()
    }
    return {name: value for name, value in row.items() if name in ("knn_top1", LEAVE_ONE_OUT)} | _named(found)


def _named(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """With the stream before each name."""
    return {f"{stream}_{name}": value for stream, numbers in found.items() for name, value in numbers.items()}


def extent(source: Source[Any], measured: Source[Any], modality: Modality) -> str:
    """What a table was measured on, in words."""
    held_out = f"{_some(measured.held_out, source.held_out)}{' held-out' if source.test else ''} {modality.samples}"
    whole = len(measured.train) == len(source.train)
    return held_out if whole else f"{held_out}, by {_some(measured.train, source.train)} to train on"


def _some(part: Samples, of: Samples) -> str:
    """How many samples, and of how many where that is more."""
    return f"{len(part.readable):,}{f' of {len(of):,}' if len(part) < len(of) else ''}"


def _of_step(name: str, step: int | None) -> str:
    """What trained networks are called that are of an earlier step than the last."""
    if step == 0:
        return f"{name.removeprefix('trained ')} handed out (its start)"
    return name if step is None else f"{name}, step {step:,}"


def knows_no_data(method: Method, config: TrainConfig) -> bool:
    """Whether the batch norms of the first networks are to be given the statistics of the data."""
    return not config.began_with_weights or never_trained(method.backbone)


def accuracies(name: str, parts: Parts, source: Source[Any], config: TrainConfig, modality: Modality) -> Row:
    """What a row says of labels. name: of the networks. source: what is measured on."""
    try:
        return modality.measure(parts, source, config)
    except UserError as error:
        raise UserError(f"Measuring the {name}: {error}") from error


def _row(
    name: str, parts: Parts | None, source: Source[Any], config: TrainConfig, modality: Modality,
    seen: dict[str, tuple[Tensor, Tensor | None]], known: Row | None = None,
) -> Row:  # fmt: skip
    row = {"encoder": name} | (known or {})
    row |= accuracies(name, parts, source, config, modality) if parts is not None else {}
    try:
        found = {stream: numbers(*views) for stream, views in seen.items()}
        return row | ({"label_free": found} if found else {})
    except UserError as error:
        raise UserError(f"Measuring the {name}: {error}") from error
