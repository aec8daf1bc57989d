"""Files in a tar archive, which is never unpacked to disk."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import IO

from semblance.data.pictures import formats
from semblance.data.pictures.formats import HEAD
from semblance.data.sources.files import Files, is_picture
from semblance.data.sources.kinds import (
    HIDDEN,
    LINKED,
    MET,
    NO_FILES,
    NOWHERE,
    Sorter,
    folders_of,
    holes_told,
    is_hidden,
)
from semblance.data.sources.tar_members import Member, content, damage_told, is_compressed, member_of, members
from semblance.data.tally import Tally
from semblance.errors import UserError
from semblance.runtime.memory import Limits, too_large

SUFFIXES = (".tar", ".tar.xz", ".tar.gz", ".tgz", ".txz", ".tar.bz2", ".tbz2")

_ABSOLUTE = "Taken as names within the archive, though they begin with a slash"
_OUTSIDE = "Left out since their names lead out of the archive (..)"
_TWICE = "Taken as written last, since the archive has the name more than once"
_UNENDED = "Last in an archive that has no end mark, and may be cut short"

_MOST_LINKS = 40  # that a name may lead through, as on Linux

Found = dict[str, Member | str | None]  # by name; str: what a symbolic link says, None: a hard link to nothing


def find_in_tar(
    path: Path, limits: Limits, wanted: Callable[[str], bool] = is_picture, by_content: bool = False
) -> Files:
    """Files in a tar whose relative names are wanted or, `by_content`, that are pictures whatever their names.

    Those of an uncompressed tar stay there, read by seeking. A compressed one is read through, and its files are held
    as they are, which has to fit in memory. A link is the file that it leads to in the archive.
    """
    path = path.resolve()
    sorter = Sorter(wanted, by_content)
    found: Found = {}
    with damage_told(path, lambda: len(found)):
        if not is_compressed(path):
            _list(path, sorter.tally, found)
            files = [file for file in found.values() if isinstance(file, Member) and file.parts is None]
            holes_told(path, sorter.tally, ((file.name, file.offset, file.size) for file in files))
            return Files(path, _choose(found, sorter, _head), _read, left_out=sorter.tally)
        holes_told(path, sorter.tally)
        held = _Held(path, limits, sorter)
        _list(path, sorter.tally, found, held.take)
        items = _choose(found, sorter, held.head)
        held.take_missing(items)
        return Files(path, items, held.read, on_disk=False, left_out=sorter.tally)


def _list(
    path: Path, tally: Tally, found: Found, take: Callable[[IO[bytes], Member], None] = lambda file, member: None
) -> None:
    """Find what an archive holds; each file is handed to `take` while the archive, uncompressed, stands before it."""
    name, archive = "", None
    for info, archive in members(path):
        if info.isdir():
            continue
        name = normpath(info.name.lstrip("/"))
        if name == ".." or name.startswith("../"):
            tally.add(_OUTSIDE, info.name)
            continue
        if not (info.isreg() or info.islnk() or info.issym()):
            tally.add(NO_FILES, name)
            continue
        if info.name.startswith("/"):
            tally.add(_ABSOLUTE, name)
        if name in found:
            tally.add(_TWICE, name)
        if info.issym():
            found[name] = info.linkname
        elif info.islnk():  # to what was written before
            found[name] = found.get(normpath(info.linkname.lstrip("/")))
        else:
            found[name] = member = member_of(path, info, name)
            take(archive.fileobj, member)
    if archive is not None and not archive.ended:
        tally.add(_UNENDED, name)


def _choose(found: Found, sorter: Sorter, head: Callable[[Member], bytes]) -> list[Member]:
    """The files that are taken, by name; a link has its own name and the content of what it leads to."""
    folders = folders_of(found)
    files: dict[str, Member] = {}
    for name in sorted(found):
        end = _end(found, name)
        file = found.get(end) if end else None
        if isinstance(file, Member):
            files[name] = file
        elif end in folders:
            sorter.tally.add(HIDDEN if is_hidden(name) else MET, f"{name}/")
        else:
            sorter.tally.add(NOWHERE, name)
    names = [name for name, file in files.items() if sorter.takes(name, partial(head, file))]
    met = {files[name].offset for name in names if files[name].name == name}
    for name in names:
        if files[name].name != name:
            if files[name].offset in met:
                sorter.tally.add(LINKED, name)
            met.add(files[name].offset)
    sorter.tell_twins(names)
    return [files[name]._replace(name=name) for name in names]


def _end(found: Found, name: str) -> str | None:
    """Where a name leads by way of symbolic links to files and folders; None out of the archive, or in a circle."""
    if not isinstance(found[name], str):
        return name
    at, parts, links = "", name.split("/")[::-1], 0
    while parts:
        part = parts.pop()
        if part == "..":
            if not at:
                return None
            at = dirname(at)
        elif part not in ("", "."):
            at = join(at, part)
            if isinstance(link := found.get(at), str):
                links += 1
                if links > _MOST_LINKS:
                    return None
                parts += link.split("/")[::-1]
                at = "" if link.startswith("/") else dirname(at)
    return at


def _head(member: Member) -> bytes:
    try:
        with open(member.archive, "rb") as file:
            return content(file, member, lambda head: False)
    except (OSError, ValueError):
        return b""


def _read(member: Member) -> bytes:
    with open(member.archive, "rb") as file:
        return content(file, member)


class _Held:
    """Content of files of a compressed archive, by their offset in it; of those that are not taken, HEAD bytes."""

    def __init__(self, path: Path, limits: Limits, sorter: Sorter) -> None:
        self.path = path
        self.limits = limits
        self.sorter = sorter
        self.size = 0
        self.content: dict[int, bytes] = {}
        self.unreadable: dict[int, str] = {}

    def take(self, file: IO[bytes], member: Member) -> None:
        """Hold what the archive stands before, if its name is wanted or its content is a picture's."""
        if (wanted := self.sorter.wanted(member.name)) or self.sorter.leaves_open(member.name):
            self._hold(file, member, lambda head: wanted or formats.is_picture(head))

    def take_missing(self, items: list[Member]) -> None:
        """Read the archive again where links lead to files whose own names were not wanted."""
        wanted = {m.offset for m in items if len(self.content.get(m.offset, b"")) < m.size} - self.unreadable.keys()
        for info, archive in members(self.path) if wanted else ():
            if info.offset_data in wanted:
                self._hold(archive.fileobj, member_of(self.path, info), lambda head: True)

    def head(self, member: Member) -> bytes:
        return self.content.get(member.offset, b"")[:HEAD]

    def read(self, member: Member) -> bytes:
        if member.offset in self.unreadable:
            raise ValueError(self.unreadable[member.offset])
        return self.content[member.offset]

    def _hold(self, file: IO[bytes], member: Member, go_on: Callable[[bytes], bool]) -> None:
        try:
            self.content[member.offset] = content(file, member, lambda head: go_on(head) and self._has_room(member))
        except UserError:
            raise
        except ValueError as error:
            self.unreadable[member.offset] = str(error)

    def _has_room(self, member: Member) -> bool:
        self.size += member.size
        if self.size > self.limits.bytes:
            raise too_large(self.path, self.size, self.limits, "unpack it and give the folder")
        return True
