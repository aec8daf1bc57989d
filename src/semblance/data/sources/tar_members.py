"""Members of a tar archive and their content: sparse ones whole, and damage told that tarfile takes for the end."""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple
from zlib import error as ZlibError

from semblance.data.pictures.formats import HEAD
from semblance.data.sources.kinds import check_size
from semblance.errors import UserError
from semblance.shown import shown

_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_DAMAGE = (tarfile.TarError, EOFError, lzma.LZMAError, ZlibError, OSError, ValueError, OverflowError)
_WITH_TEXT = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
_LONGEST_TEXT = 1 << 20  # bytes of a name or of other extended headers
_MOST_ZEROS = 64 << 20  # bytes in a row: archives end in kilobytes of them, files that are holes hold terabytes


class Member(NamedTuple):
    """A file in a tar; shown by its name.

    offset: in bytes, of its content in the uncompressed archive. size: of its content in bytes. parts: offset in a
    sparse file and length of each stretch that is stored; None where all is.
    """

    archive: str
    offset: int
    size: int
    name: str
    parts: tuple[tuple[int, int], ...] | None = None

    def __str__(self) -> str:
        return self.name


class Archive(tarfile.TarFile):
    """A tar, read to the end of its file: several may be joined.

    ended: whether an end mark was seen. zeros: bytes of zeros since the last header.
    """

    ended = False
    zeros = 0
    fileobj: Any
    members: Any


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _WITH_TEXT and header.size > _LONGEST_TEXT):
            raise tarfile.InvalidHeaderError("a size that cannot be")  # type: ignore[attr-defined]
        return header

    @classmethod
    def fromtarfile(cls, archive: Any) -> "_Header":
        try:
            header = super().fromtarfile(archive)
            archive.zeros = 0
            return header
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            archive.ended = True
            archive.zeros += tarfile.BLOCKSIZE
            if archive.zeros > _MOST_ZEROS:
                raise tarfile.ReadError(f"over {_MOST_ZEROS >> 20} MiB of zeros at byte {archive.offset:,}") from None
            raise
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            if archive.ended:  # what follows the end is no business of ours
                raise tarfile.EmptyHeaderError from error  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"{error} at byte {archive.offset:,}") from error
        except (tarfile.EmptyHeaderError, *_DAMAGE) as error:  # type: ignore[attr-defined]
            if type(error) in (ValueError, OverflowError):  # of numbers in a header
                raise tarfile.ReadError(f"damaged header at byte {archive.offset:,}") from error
            raise
        except Exception as error:  # on broken bytes tarfile raises IndexError, KeyError, RecursionError, ...
            raise tarfile.ReadError(f"damaged header at byte {archive.offset:,}") from error


def member_of(path: Path, info: tarfile.TarInfo, name: str = "") -> Member:
    """The file of a header, under a name."""
    sparse: Any = info.sparse
    parts = None if sparse is None else tuple(sparse)
    return Member(str(path), info.offset_data, info.size, name or info.name, parts)


def is_compressed(path: Path) -> bool:
    """Whether a file is compressed in one of the ways that tars are."""
    return _opener(path) is not open


def members(path: Path) -> Iterator[tuple[tarfile.TarInfo, Archive]]:
    """Each header, with the archive that it is read from: `content` may be read from its fileobj in between."""
    last = -1
    with (
        _opener(path)(path, "rb") as file,
        Archive.open(fileobj=file, mode="r:", tarinfo=_Header, ignore_zeros=True) as archive,
    ):
        while (info := archive.next()) is not None:
            if archive.offset <= last:
                raise tarfile.ReadError(f"a member that ends before it begins, at byte {last:,}")
            last = archive.offset
            archive.members.clear()  # a million take a gigabyte
            yield info, archive


@contextmanager
def damage_told(path: Path, read: Callable[[], int]) -> Iterator[None]:
    """Within, what reading an archive raises becomes a UserError. read: how many files were read."""
    try:
        yield
    except UserError:
        raise
    except _DAMAGE as error:
        raise UserError(
            f"{shown(path)} cannot be read as a tar archive: {str(error) or type(error).__name__}, after {read():,} "
            "files of it. It is cut short, damaged, or none: fetch or make it again, or give the folder that it was "
            "made of."
        ) from error


def content(file: IO[bytes], member: Member, go_on: Callable[[bytes], bool] = lambda head: True) -> bytes:
    """What a member holds, read from the uncompressed archive; its first HEAD bytes alone where go_on refuses those.

    Raises ValueError where it is damaged, or too large to be read.
    """
    check_size(member.name, member.size, member.size if member.parts is None else sum(n for _, n in member.parts))
    file.seek(member.offset)
    if member.parts is not None:
        data = _spread(file, member)
        return data if go_on(data[:HEAD]) else data[:HEAD]
    data = file.read(min(HEAD, member.size))
    if go_on(data):
        data += file.read(member.size - len(data))
        if len(data) != member.size:
            raise ValueError("the archive ends before this file does")
    return data


def _spread(file: IO[bytes], member: Member) -> bytes:
    """The content of a sparse file, of which the file gives the stored stretches; all else is zeros."""
    data = bytearray(member.size)
    for at, length in member.parts or ():
        stored = file.read(length) if 0 <= at <= at + length <= member.size else b""
        if len(stored) != length:
            raise ValueError("the map of the sparse file is damaged, or the archive ends before it does")
        data[at : at + length] = stored
    return bytes(data)


def _opener(path: Path) -> Callable[..., Any]:
    with open(path, "rb") as file:
        start = file.read(6)
    return next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open)
