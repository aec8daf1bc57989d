"""Files that are either whole or not there: written aside, flushed to the disk, then renamed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from semblance.errors import CannotWrite


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors that keep a file from being written into CannotWrite."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save hides it
        if not isinstance(cause, OSError):
            raise
        raise CannotWrite(f"Cannot write {path}: {cause.strerror or cause}.") from error


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write` writes; a crash or a full disk at any moment leaves the old file whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself
        finally:
            os.close(folder)


def clear_leftovers(folder: Path) -> None:
    """Remove the files that processes killed in write_atomically left in a folder."""
    for leftover in folder.glob(".*.[0-9]*.tmp"):
        with writing(leftover):
            leftover.unlink()
