"""Evaluation and embedding with the backbone of a finished run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from .. import data as sources
from ..config import TrainConfig
from ..data.images import Source
from ..engine.checkpoint import write_atomically
from ..engine.precision import choose_precision
from ..errors import UserError
from ..nets.export import load_with_metadata
from .features import features, raw_pixels
from .table import labelled, print_notes, print_skipped, print_table, row


def _open(run: str, data: str | None, data_root: str, download: bool) -> tuple[torch.nn.Module, int, str, Source]:
    """The backbone on the best device, its image size and precision, and the pictures."""
    model, about = load_with_metadata(run)
    if "backbone" not in about:
        raise UserError(f"{run} is one of the two backbones of a run on clips: name the run's folder instead.")
    if data is None:
        config = TrainConfig.load((Path(run) if Path(run).is_dir() else Path(run).parent) / "config.yaml")
        data, data_root = config.data, config.data_root
    size = about["image_size"]
    source = sources.load(data, image_size=size, data_root=data_root, download=download)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(device), size, choose_precision("auto", device), source


def evaluate(run: str, *, data: str | None, data_root: str, download: bool) -> list[dict[str, Any]]:
    """The table of a backbone on labelled pictures: raw pixels, then the trained backbone. Or that of clips."""
    if _of_clips(run):
        from .clip_run import evaluate as evaluate_clips

        return evaluate_clips(Path(run), data)
    model, size, precision, source = _open(run, data, data_root, download)
    if source.test is None or not labelled(source):
        raise UserError(
            f"{source.train.name} has no labels to measure accuracy on. {' '.join([*source.notes, 'Put'])} the "
            "pictures of each class in a folder of its own, or name a labelled set, e.g. --data cifar10."
        )
    with Console(stderr=True).status("Measuring kNN and linear accuracy"):
        train, test = (features(model, i, size=size, precision=precision) for i in (source.train, source.test))
        table = [
            row("raw pixels", *raw_pixels(source.train, source.test), source),
            row("trained backbone", train, test, source),
        ]
    print_notes(source)
    print_table(table, len(source.test.readable))
    print_skipped(source.skipped)
    return table


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"Cannot write {out}: {error.strerror}. Choose another --out.") from error


def embed(run: str, *, data: str, out: Path | None, data_root: str, download: bool) -> Tensor | dict[str, Tensor]:
    """Features of every readable picture, in the order training, held out. Or of clips, by modality."""
    if out is not None and (out.suffix != ".npz" or out.is_dir()):
        raise UserError(f"--out {out} must be a file that ends in .npz.")
    if _of_clips(run):
        from .clip_run import embed as embed_clips

        return embed_clips(Path(run), data, out)
    model, size, precision, source = _open(run, data, data_root, download)
    if out is not None:
        make_folder_of(out)
    parts = [part for part in (source.train, source.test) if part is not None]
    vectors = [features(model, part, size=size, precision=precision) for part in parts]
    kept = [part.readable for part in parts]  # known once all have been tried
    embedded = torch.cat([v[k] for v, k in zip(vectors, kept, strict=True)])
    if out is not None:
        names = [str(part.items[i]) for part, k in zip(parts, kept, strict=True) for i in k.tolist()]
        arrays: dict[str, Any] = {"features": embedded.numpy(), "names": np.array(names)}
        if all(part.labels is not None for part in parts):
            labels = [part.labels[k] for part, k in zip(parts, kept, strict=True) if part.labels is not None]
            arrays["labels"] = torch.cat(labels).numpy()
        write_arrays(out, arrays, f"{len(embedded):,} features of {embedded.shape[1]} numbers")
    print_skipped(source.skipped)
    return embedded


def _of_clips(run: str) -> bool:
    return (Path(run) / "audio_backbone.safetensors").is_file()


def make_folder_of(out: Path) -> None:
    """Before the work, so that it is not done in vain."""
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)


def write_arrays(out: Path, arrays: dict[str, Any], what: str) -> None:
    """Write a .npz and say what it holds."""
    with _writing(out):
        write_atomically(out, lambda file: np.savez(file, **arrays))
    Console().print(f"Wrote {what} to {out}.", markup=False, highlight=False, soft_wrap=True)
