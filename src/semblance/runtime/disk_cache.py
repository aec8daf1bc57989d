"""Folders that are kept between runs: within a share of the disk, least recently used out first, none that is in use.

Whoever maps a folder's files holds a shared lock on one of them for as long; who removes it, an exclusive one.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import BinaryIO

from semblance.errors import CannotWrite
from semblance.runtime.atomic_files import clear_leftovers, name_aside, writing
from semblance.shown import shown

_PREFIX = "clips-"


def home() -> Path:
    """Where they lie: semblance/ in the user's folder of caches, or in that of temporary files if there is no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "semblance"
    except RuntimeError:
        return Path(gettempdir()) / "semblance"


def place(identity: str) -> Path:
    """The folder of what has this identity, a hash in letters and digits."""
    return home() / f"{_PREFIX}{identity}"


@contextmanager
def telling() -> Iterator[None]:
    """Within, what keeps the cache from being written becomes a CannotWrite that says where it lies and what to do."""
    try:
        with writing(home()):
            home().mkdir(parents=True, exist_ok=True)
            yield
    except CannotWrite as error:
        raise CannotWrite(
            f"{error} Decoded clips that memory does not hold lie in {shown(home())}: make room there, or name another "
            "folder by XDG_CACHE_HOME=FOLDER."
        ) from error


def hold(file: BinaryIO) -> bool:
    """Keep a file's folder for as long as it, or a mapping of it, is open; False where it is being removed."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks, from which nothing is removed
        return True
    return os.fstat(file.fileno()).st_nlink > 0


def make_room(needed: int, lock: str) -> int:
    """Remove folders, least recently used first, until those left and `needed` bytes take half of what the disk has
    for them at most; how many were removed. lock: the name of the file in each that is held by who uses it.

    Raises CannotWrite where the disk has no room for as much.
    """
    clear_leftovers(home())
    sizes = {folder: size(folder) for folder in sorted(home().glob(f"{_PREFIX}*"), key=_used)}
    kept, removed = sum(sizes.values()), 0
    allowed = (shutil.disk_usage(home()).free + kept) // 2
    for folder, taken in sizes.items():
        if kept + needed > allowed and remove(folder, lock):
            kept -= taken
            removed += 1
    free = shutil.disk_usage(home()).free
    if needed > free:
        raise CannotWrite(f"Cannot write {shown(home())}: {gib(needed)} are needed, {gib(free)} are free.")
    return removed


def remove(folder: Path, lock: str) -> bool:
    """Remove a folder unless a living process uses it."""
    with suppress(OSError):
        held = os.open(folder / lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)  # to write, as NFS wants it
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            discard(folder)
            return True
        finally:
            os.close(held)
    return False


def discard(folder: Path) -> None:
    """Remove a folder, whole or not, by way of a name that says so if that is cut short."""
    with suppress(FileNotFoundError):  # another process was faster
        shutil.rmtree(folder.rename(folder.with_name(name_aside())))


def told(folder: Path) -> str:
    """Where a folder lies and how large it is, in a sentence, noting that it is used."""
    with suppress(OSError):  # somebody else's, to be read only
        os.utime(folder)
    others = sum(map(size, home().glob(f"{_PREFIX}*")))
    return f"Decoded clips lie in {shown(folder)}, {gib(size(folder))}; all such folders take {gib(others)}."


def size(folder: Path) -> int:
    """Bytes that a folder's files take on the disk."""
    with suppress(OSError):
        return sum(file.stat().st_blocks * 512 for file in folder.iterdir())
    return 0  # gone by now


def stamp(status: os.stat_result) -> list[int]:
    """What a file is known by where hashing it would take minutes: inode, size, times of the last change of its content
    and of its inode (ctime), which nobody can set. So a file that is written over, or that replaces another, is
    another, though size and date be equal."""
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def gib(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB"


def _used(folder: Path) -> float:
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0
