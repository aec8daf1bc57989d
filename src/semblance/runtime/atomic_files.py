"""Files that are either whole or not there: written aside, flushed to the disk, then renamed.

Whoever writes one holds a lock on the file beside it, which ends with the process: so what the dead have left is told
from what somebody else is about to finish. The names of such files cannot be guessed, and they are never opened
through a link.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from semblance.errors import CannotWrite
from semblance.shown import shown

_ASIDE = re.compile(r"\.semblance-[0-9a-f]{16}\.tmp")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors that keep a file from being written into CannotWrite."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save hides it
        if not isinstance(cause, OSError):
            raise
        raise CannotWrite(f"Cannot write {shown(path)}: {cause.strerror or cause}.") from error


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write` writes; a crash or a full disk at any moment leaves the old file whole.

    A link in its place is replaced, not followed. The file may be read and written by whom the umask lets. Its folder
    is made if that is all that is missing.
    """
    aside = path.with_name(name_aside())
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        try:
            with os.fdopen(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb") as file:
                with suppress(OSError):  # some network disks have no locks
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def write_text(path: Path, text: str) -> None:
    """Replace `path` by a text in UTF-8, with escapes for what that cannot hold."""
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def append(path: Path, text: str) -> None:
    """Add text to the end of a file, which is no link."""
    with writing(path):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes its name on leaving, unless another process was faster."""
    clear_leftovers(folder.parent)
    aside = folder.with_name(name_aside())
    with writing(folder):
        aside.mkdir(parents=True)
        held = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield aside
            aside.rename(folder)
        except OSError:
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            os.close(held)


def clear_leftovers(folder: Path) -> None:
    """Remove what processes that were killed here left in a folder; what living ones are writing stays."""
    for leftover in folder.glob(".semblance-*.tmp"):
        with suppress(OSError):  # held by its writer, or gone by now
            held = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if _ASIDE.fullmatch(leftover.name):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            finally:
                os.close(held)


def name_aside() -> str:
    """A name, which cannot be guessed, of a file or folder that is not yet or no longer whole."""
    return f".semblance-{secrets.token_hex(8)}.tmp"
