"""Arrays of a .npz read by rows as they are unpacked, so that they need not be held beside what is made of them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import numpy as np

from semblance.errors import UserError
from semblance.runtime.memory import Limits, too_large
from semblance.shown import shown

_PIECE = 16 << 20  # bytes that are unpacked together
_VERSIONS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@contextmanager
def unreadable_told(path: Path, member: str = "") -> Iterator[None]:
    """Within, what broken and foreign files raise (RuntimeError, zlib.error, MemoryError, ...) becomes a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = " ".join(shown(error).split())[:200] or type(error).__name__
        where = f"{shown(member)} in {shown(path)}" if member else shown(path)
        raise UserError(f"{where} cannot be read as plain NumPy arrays: {told}.") from error


class Npz(Mapping[str, "NpzArray"]):
    """The arrays of a .npz by name, each opened once it is asked for: what is not used may be of any kind, or broken.

    A UserError where one is damaged, or those asked for are too large for memory; remedy: what to do then.
    """

    def __init__(self, path: Path, limits: Limits, remedy: str) -> None:
        self.path, self.limits, self.remedy = path, limits, remedy
        with unreadable_told(path):
            self.file = ZipFile(path)
        names = [name for name in self.file.namelist() if not name.endswith("/")]
        self.members = {name.removesuffix(".npy"): name for name in names if name.endswith(".npy")}
        self.members |= {name: name for name in names if not name.endswith(".npy")}  # NumPy takes these first, too
        self.opened: dict[str, NpzArray] = {}

    def __getitem__(self, name: str) -> "NpzArray":
        member = self.members[name]
        if name not in self.opened:
            with unreadable_told(self.path, member):
                self.opened[name] = NpzArray(self.path, self.file, member)
            size = sum(array.nbytes for array in self.opened.values())
            if size > self.limits.bytes:
                raise too_large(self.path, size, self.limits, self.remedy)
        return self.opened[name]

    def __contains__(self, name: object) -> bool:
        return name in self.members  # without opening it

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def unused(self) -> list[str]:
        """A note on what was not asked for, if there is any."""
        left = [name for name in self if name not in self.opened]
        return [f"Arrays that are not used: {', '.join(map(shown, left))}."] if left else []


class NpzArray:
    """An array of a .npz, read as slices of its first axis: quickly in ascending order, else from its beginning anew.

    One in Fortran order is held once any of it is read.
    """

    def __init__(self, path: Path, file: ZipFile, member: str) -> None:
        """Raises ValueError where the member is shorter than its header says, or holds objects."""
        self.path, self.file, self.member, self.lock = path, file, member, threading.Lock()
        self.stream, self.shape, self.by_columns, self.dtype = self._open()
        self.row = 0  # that the stream stands before
        self.turned: np.ndarray | None = None
        held = file.getinfo(member).file_size - self.stream.tell()
        if self.dtype.hasobject:
            raise ValueError("it holds objects; save numbers or text, as by array.astype(str)")
        if min(self.shape, default=0) < 0 or self.nbytes > held:
            raise ValueError(f"cut short: its header says {self.shape} of {self.dtype}")

    def _open(self) -> tuple[IO[bytes], tuple[int, ...], bool, np.dtype]:
        """What it is unpacked from, behind the header; what that says."""
        stream = self.file.open(self.member)
        version = np.lib.format.read_magic(stream)
        if version not in _VERSIONS:
            raise ValueError(f"version {version[0]}.{version[1]} of .npy is for structured arrays")
        return stream, *_VERSIONS[version](stream)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        if self.by_columns and self.ndim > 1:
            self.turned = self.whole() if self.turned is None else self.turned
            return self.turned[rows]
        start, stop, _ = rows.indices(len(self))
        with self.lock, unreadable_told(self.path, self.member):
            if start < self.row:
                self.stream, *_ = self._open()
                self.row = 0
            self._read(start - self.row, None)
            found = np.empty((stop - start, *self.shape[1:]), self.dtype)
            self._read(stop - start, found)
            return found

    def whole(self) -> np.ndarray:
        """All of it."""
        with self.lock, unreadable_told(self.path, self.member):
            self.stream, *_ = self._open()
            self.row = 0
            found = np.empty(self.shape[::-1] if self.by_columns else self.shape, self.dtype)
            self._read(len(self) if self.shape else 1, found)
            return found.T if self.by_columns else found

    def _read(self, rows: int, into: np.ndarray | None) -> None:
        """Unpack the next rows, in pieces, into an array of as many bytes or, if there is none, to pass them by."""
        left, at = rows * prod(self.shape[1:]) * self.dtype.itemsize, 0
        goal = None if into is None or not left else into.reshape(-1).view(np.uint8)
        while left:
            piece = self.stream.read(min(_PIECE, left))
            if not piece:
                raise ValueError("cut short")
            if goal is not None:
                goal[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at, left = at + len(piece), left - len(piece)
        self.row += rows
