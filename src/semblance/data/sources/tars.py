"""Pictures in a tar archive, which is never unpacked to disk."""

import tarfile
from collections.abc import Callable
from lzma import LZMAError
from pathlib import Path
from posixpath import normpath
from typing import NamedTuple
from zlib import error as ZlibError

from semblance.data.sources.files import Files, is_picture
from semblance.errors import UserError
from semblance.runtime.memory import Limits, too_large

SUFFIXES = (".tar", ".tar.xz", ".tar.gz", ".tgz", ".txz", ".tar.bz2", ".tbz2")


class Member(NamedTuple):
    """A file inside an uncompressed tar, read by seeking; shown by its name."""

    archive: str
    offset: int
    size: int
    name: str

    def __str__(self) -> str:
        return self.name


def find_in_tar(path: Path, limits: Limits, wanted: Callable[[str], bool] = is_picture) -> Files:
    """Files in a tar whose relative names are wanted. Those of an uncompressed one stay there, read by seeking.

    A compressed one is read through once, and its files are held as they are, which has to fit in memory.
    """
    path = path.resolve()
    try:
        try:
            return Files(path, _members(path, wanted), _read)
        except tarfile.ReadError:  # compressed
            held = _read_through(path, limits, wanted)
            return Files(path, sorted(held), held.__getitem__, on_disk=False)
    except (tarfile.TarError, EOFError, LZMAError, ZlibError, OSError) as error:
        raise UserError(f"{path} cannot be read as a tar archive: {error}.") from error


def _members(path: Path, wanted: Callable[[str], bool]) -> list[Member]:
    with tarfile.open(path, "r:") as tar:
        found = {name: (info.offset_data, info.size) for info in tar if (name := _name(info, wanted))}
    return [Member(str(path), *found[name], name) for name in sorted(found)]


def _read(member: Member) -> bytes:
    with open(member.archive, "rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


def _read_through(path: Path, limits: Limits, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    held: dict[str, bytes] = {}
    total = 0
    with tarfile.open(path, "r|*") as tar:
        for info in tar:
            name = _name(info, wanted)
            if not name:
                continue
            total += info.size
            if total > limits.bytes:
                raise too_large(path, total, limits, "unpack it and give the folder")
            file = tar.extractfile(info)
            assert file is not None  # a regular file
            held[name] = file.read()
    return held


def _name(info: tarfile.TarInfo, wanted: Callable[[str], bool]) -> str | None:
    """The member's relative name if it is a wanted file."""
    name = normpath(info.name)
    return name if info.isreg() and wanted(name) else None
