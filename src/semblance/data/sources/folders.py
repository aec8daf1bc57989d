"""Files in a folder, flat or nested to any depth."""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from semblance.data.pictures.formats import HEAD
from semblance.data.sources.files import Files, is_picture
from semblance.data.sources.kinds import (
    HIDDEN,
    LINKED,
    MET,
    NO_FILES,
    NOWHERE,
    Sorter,
    is_hidden,
    read_whole,
)
from semblance.data.tally import Tally
from semblance.errors import UserError
from semblance.shown import shown

Identity = tuple[int, int]  # device and inode
Entry = tuple[str, str, Identity | None]  # own name; "file", "folder", "link" to a folder, or "other"; which file it is

_AT_ONCE = 15  # folders of a path opened together: a name has 255 bytes at most, and a path that is opened 4,096


def find_in_folder(path: Path, wanted: Callable[[str], bool] = is_picture, by_content: bool = False) -> Files:
    """Files below a folder whose relative names are wanted or, `by_content`, that are pictures whatever their names.

    Each folder is entered once: first those of the tree itself, then those that links lead to. Links to one file are
    all taken, and counted.
    """
    root = os.path.realpath(path)
    sorter = Sorter(wanted, by_content)
    names: list[str] = []
    met: set[int] = set()  # hashes, which are small, of identities
    for name, identity in _walk(root, sorter.tally):
        if identity is None and not wanted(name):
            sorter.tally.add(NOWHERE, name)
            continue
        if not sorter.takes(name, partial(_head, root, name)):
            continue
        names.append(name)
        if identity is not None:
            if hash(identity) in met:
                sorter.tally.add(LINKED, name)
            met.add(hash(identity))
    names.sort()
    sorter.tell_twins(names)
    return Files(Path(root), names, partial(_read, root), left_out=sorter.tally)


def _walk(root: str, tally: Tally) -> Iterator[tuple[str, Identity | None]]:
    """Relative name and identity of each file; a link that leads nowhere has none. Order depends on names alone."""
    entered = {_identity(os.stat(folder)) for folder in Path(root).parents}
    links = deque([""])
    while links:
        folders = [links.popleft()]
        while folders:
            prefix = folders.pop()
            try:
                entries = _list(root, prefix, entered)
            except OSError as error:
                if not prefix:
                    raise UserError(f"Cannot read folder {shown(root)}: {error.strerror}.") from error
                why = f"Left out as folders that cannot be read ({error.strerror})"
                tally.add(HIDDEN if is_hidden(prefix[:-1]) else why, prefix)
                continue
            if entries is None:
                tally.add(MET, prefix)
                continue
            for own, kind, identity in entries:
                name = prefix + own
                if kind == "file":
                    yield name, identity
                elif kind == "other":
                    tally.add(NO_FILES, name)
                elif kind == "link":
                    if is_hidden(name):
                        tally.add(HIDDEN, f"{name}/")
                    else:
                        links.append(f"{name}/")
            folders += [f"{prefix}{own}/" for own, kind, _ in reversed(entries) if kind == "folder"]


def _list(root: str, prefix: str, entered: set[Identity]) -> list[Entry] | None:
    """What a folder holds, by name; None where it was entered before."""
    folder = _open(root, prefix, os.O_RDONLY | os.O_DIRECTORY)
    try:
        identity = _identity(os.fstat(folder))
        if identity in entered:
            return None
        entered.add(identity)
        with os.scandir(folder) as found:
            return [(entry.name, *_kind(entry, identity[0])) for entry in sorted(found, key=attrgetter("name"))]
    finally:
        os.close(folder)


def _kind(entry: os.DirEntry[str], device: int) -> tuple[str, Identity | None]:
    try:
        if entry.is_dir(follow_symlinks=False):
            return "folder", None
        if entry.is_file(follow_symlinks=False):
            return "file", (device, entry.inode())
        status = entry.stat()
    except OSError:  # a link that leads nowhere: where it is wanted, it is told as unreadable
        return "file", None
    if S_ISDIR(status.st_mode):
        return "link", None
    return "file" if S_ISREG(status.st_mode) else "other", _identity(status)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _head(root: str, name: str) -> bytes:
    try:
        with open(_open(root, name, os.O_RDONLY), "rb", buffering=0) as file:
            return file.read(HEAD)
    except OSError:
        return b""


def _read(root: str, name: str) -> bytes:
    with open(_open(root, name, os.O_RDONLY), "rb") as file:
        return read_whole(file, name)


def _open(root: str, name: str, flags: int) -> int:
    """os.open of root/name, which may be longer than a path that the system takes."""
    try:
        return os.open(os.path.join(root, name), flags)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
    parts = name.rstrip("/").split("/")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for start in range(0, len(parts), _AT_ONCE):
        last = start + _AT_ONCE >= len(parts)
        try:
            piece = "/".join(parts[start : start + _AT_ONCE])
            inner = os.open(piece, flags if last else os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder
