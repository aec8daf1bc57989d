"""`semblance embed`: features of samples by the backbones of a finished run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.commands import begin
from semblance.commands.opened import Opened
from semblance.commands.printing import print_skipped, say, status
from semblance.data.samples import Samples
from semblance.errors import UserError
from semblance.runtime.atomic_files import write_atomically
from semblance.runtime.memory import told_when_short
from semblance.shown import shown


@told_when_short()
def embed(
    run: str, *, data: str | None = None, out: Path | None, network: str | None = None, **given: Any
) -> Tensor | dict[str, Tensor]:
    """Features of every readable sample, in the order training, held out: of pictures (N, D), of clips by stream."""
    if out is not None and (out.suffix != ".npz" or out.is_dir()):
        raise UserError(f"--out {shown(out)} must be a file that ends in .npz.")
    opened = Opened.of(run, network, data=data, **given)
    modality = opened.modality
    if out is not None:
        with _writing(out):  # before the work, so that it is not done in vain
            out.parent.mkdir(parents=True, exist_ok=True)
    source = begin.load(modality, opened.config)
    method = opened.method()
    with status(f"Embedding {modality.samples}"):
        features, parts = modality.features(method, source, opened.config)
    if out is not None:
        arrays = _arrays(features, parts)
        with _writing(out):
            write_atomically(out, lambda file: np.savez(file, **arrays))
        widths = " and ".join(f"{name} of {rows.shape[1]} numbers" for name, rows in features.items())
        say(f"Wrote {widths} for {len(arrays['names']):,} {modality.samples} to {shown(out)}.", result=True)
    else:
        told = ", ".join(f"{len(rows):,} rows of {rows.shape[1]} numbers ({name})" for name, rows in features.items())
        say(f"{told}; --out FILE.npz keeps them.")
    for name, rows in features.items():
        if lost := int((~rows.isfinite()).any(1).sum()):
            opened.notes.append(f"{lost:,} of {len(rows):,} rows of {name} hold numbers that are not finite.")
    for note in [*source.notes, *opened.notes]:
        say(note)
    print_skipped(list(dict.fromkeys(skipped for part in parts for skipped in part.skipped)))
    return features["features"] if list(features) == ["features"] else features


def _arrays(features: dict[str, Tensor], parts: list[Samples]) -> dict[str, Any]:
    """Features by name, names, and for each attribute of all parts label_ATTRIBUTE, the name of each one's class; of
    pictures also the number of the class, as labels."""
    arrays: dict[str, Any] = {name: rows.numpy() for name, rows in features.items()}
    arrays["names"] = np.array([str(item) for part in parts for item in part.items])
    for name in parts[0].attributes:
        if all(name in part.attributes for part in parts):
            own = [part.attributes[name] for part in parts]
            arrays[f"label_{name}"] = np.array([value for known in own for value in known.names])
            if name == "class" and "features" in features:
                arrays["labels"] = torch.cat([known.values for known in own]).numpy()
    return arrays


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"Cannot write {shown(out)}: {error.strerror}. Choose another --out.") from error
