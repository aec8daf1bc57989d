"""Pictures in a folder, flat or nested to any depth."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from semblance.data.sources.files import Files, is_picture
from semblance.errors import UserError


def find_in_folder(path: Path, wanted: Callable[[str], bool] = is_picture) -> Files:
    """Files below a folder whose relative names are wanted.

    Links are followed, except from a folder back to one that holds it.
    """
    root = path.resolve()
    try:
        return Files(root, sorted(_walk(str(root), "", frozenset(), wanted)), partial(_read, str(root)))
    except OSError as error:
        raise UserError(f"Cannot read folder {error.filename}: {error.strerror}.") from error


def _walk(folder: str, prefix: str, above: frozenset[str], wanted: Callable[[str], bool]) -> Iterator[str]:
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            regular = entry.is_file(follow_symlinks=False)
            if not regular and os.path.isdir(entry.path):
                yield from _walk(entry.path, f"{name}/", above | {here}, wanted)
            # A broken link is kept, to be reported as unreadable; a pipe or a device would block the reader.
            elif wanted(name) and (regular or os.path.isfile(entry.path) or not os.path.exists(entry.path)):
                yield name


def _read(root: str, name: str) -> bytes:
    return Path(root, name).read_bytes()
