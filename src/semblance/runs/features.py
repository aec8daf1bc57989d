"""Features in files, as people use them: .npz, .npy, .csv and .parquet, of any number of rows in little memory."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from semblance.errors import UserError
from semblance.runtime.atomic_files import write_atomically
from semblance.shown import shown

_AT_ONCE = 10_000  # rows


@dataclass
class Features:
    """rows: float32 (N, D) by stream, "features" of pictures. names: of the N samples. labels: for each thing that they
    are labelled by, the name of each one's class, "" where it has none. numbers: of the classes, int64 (N,)."""

    rows: dict[str, Tensor]
    names: list[str]
    labels: dict[str, list[str]]
    numbers: Tensor | None = None


class Spool:
    """Rows as they come: in memory or, where a folder is given, in a file of it that has no name."""

    def __init__(self, folder: Path | None) -> None:
        self.file: BinaryIO | None = None if folder is None else TemporaryFile(dir=folder)  # noqa: SIM115, mapped at last
        self.parts: list[Tensor] = []
        self.shape = (0, 0)

    def add(self, rows: Tensor) -> None:
        """rows: float32 (n, D) on the CPU."""
        self.shape = (self.shape[0] + len(rows), rows.shape[1])
        if self.file is None:
            self.parts.append(rows)
        else:
            self.file.write(rows.contiguous().numpy().data)

    def joined(self) -> Tensor:
        """All rows (N, D); a file's are mapped, and may be changed without changing it."""
        if self.file is None:
            return torch.cat(self.parts)
        self.file.flush()
        return (
            torch.from_numpy(np.memmap(self.file, np.float32, "c", shape=self.shape))
            if self.shape[0]
            else torch.empty(self.shape)
        )


def check_kind(out: Path) -> None:
    """A UserError where features cannot be written to a file of this name."""
    if out.suffix.lower() not in WRITERS or out.is_dir():
        *others, last = WRITERS
        raise UserError(f"--out {shown(out)} must be a file that ends in {', '.join(others)} or {last}.")
    if out.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise UserError("Parquet is written by pyarrow, which is not here: pip install 'semblance[parquet]'")


def write(out: Path, found: Features) -> list[Path]:
    """Write features to a file of a kind that its name says; returns what was written."""
    kind = out.suffix.lower()
    if kind == ".npy" and list(found.rows) != ["features"]:
        raise UserError(f"--out {shown(out)}: an .npy holds one array, and clips have {' and '.join(found.rows)}.")
    write_atomically(out, lambda file: WRITERS[kind](file, found))
    if kind != ".npy":
        return [out]
    beside = out.with_suffix(".names.csv")
    write_atomically(beside, lambda file: _write_csv(file, Features({}, found.names, found.labels)))
    return [out, beside]


def _write_npz(file: BinaryIO, found: Features) -> None:
    arrays: dict[str, Any] = {name: rows.numpy() for name, rows in found.rows.items()}
    arrays["names"] = np.array(found.names)
    arrays |= {f"label_{name}": np.array(values) for name, values in found.labels.items()}
    if found.numbers is not None:
        arrays["labels"] = found.numbers.numpy()
    np.savez(file, **arrays)


def _write_npy(file: BinaryIO, found: Features) -> None:
    np.save(file, found.rows["features"].numpy())


def _write_csv(file: BinaryIO, found: Features) -> None:
    """name, a column for each label, then f0, f1, ... of pictures, video0, ... and audio0, ... of clips."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    lines = csv.writer(text)
    prefixes = {name: "f" if name == "features" else name for name in found.rows}
    columns = [f"{prefixes[name]}{i}" for name, rows in found.rows.items() for i in range(rows.shape[1])]
    lines.writerow(["name", *found.labels, *columns])
    for some in _blocks(found):
        numbers = [rows[some].tolist() for rows in found.rows.values()]
        told = zip(found.names[some], *(values[some] for values in found.labels.values()), strict=True)
        for i, known in enumerate(told):
            lines.writerow([*known, *(f"{x:.9g}" for rows in numbers for x in rows[i])])  # enough for any float32
    text.flush()
    text.detach()


def _write_parquet(file: BinaryIO, found: Features) -> None:
    """name, a column for each label, and each stream as lists of one length."""
    import pyarrow as pa
    from pyarrow import parquet

    lists = {name: pa.list_(pa.float32(), rows.shape[1]) for name, rows in found.rows.items()}
    schema = pa.schema({"name": pa.string()} | dict.fromkeys(found.labels, pa.string()) | lists)
    with parquet.ParquetWriter(file, schema) as writer:
        for some in _blocks(found):
            columns = [pa.array(map(_unicode, values[some])) for values in (found.names, *found.labels.values())]
            flat = [pa.array(rows[some].flatten().numpy()) for rows in found.rows.values()]
            columns += [
                pa.FixedSizeListArray.from_arrays(x, type=kind) for x, kind in zip(flat, lists.values(), strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _blocks(found: Features) -> Iterator[slice]:
    return (slice(start, start + _AT_ONCE) for start in range(0, len(found.names), _AT_ONCE))


def _unicode(name: str) -> str | None:
    return name.encode(errors="backslashreplace").decode() or None


WRITERS: dict[str, Callable[[BinaryIO, Features], None]] = {
    ".npz": _write_npz, ".npy": _write_npy, ".csv": _write_csv, ".parquet": _write_parquet,
}  # fmt: skip
