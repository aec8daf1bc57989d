"""A .npy file read by rows, never mapped: a file that is cut short or saved again must not end the process."""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from semblance.shown import shown


@dataclass(frozen=True)
class NpyFile:
    """An array on disk, read as slices of its first axis; refused once the file is no longer the one that was opened.

    stamp: device, inode, size in bytes and time of change in ns.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int  # bytes
    stamp: tuple[int, int, int, int]

    @classmethod
    def opened(cls, path: Path) -> "NpyFile":
        """Raises OSError or ValueError where the file is none, or shorter than its header says."""
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read:
                raise ValueError(f"version {version[0]}.{version[1]} of .npy is for structured arrays")
            shape, by_columns, dtype = read[version](file)
            found = cls(str(path), shape, dtype, file.tell(), _stamp(file.fileno()))
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded")
        if by_columns and len(shape) > 1:
            raise ValueError("it is in Fortran order; save it anew: np.save(path, np.ascontiguousarray(x))")
        if min(shape, default=0) < 0 or found.offset + prod(shape) * dtype.itemsize > found.stamp[2]:
            raise ValueError(f"cut short: its header says {shape} of {dtype}, which is more than there is")
        return found

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        each = prod(self.shape[1:]) * self.dtype.itemsize
        with open(self.path, "rb") as file:
            if _stamp(file.fileno()) != self.stamp:
                raise ValueError(f"{shown(self.path)} has been changed since it was opened")
            file.seek(self.offset + start * each)
            data = bytearray((stop - start) * each)
            if file.readinto(data) != len(data):
                raise ValueError(f"{shown(self.path)} has been cut short since it was opened")
        return np.frombuffer(data, self.dtype).reshape(stop - start, *self.shape[1:])


def _stamp(file: int) -> tuple[int, int, int, int]:
    status = os.fstat(file)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
