"""What one clip may take: files of kilobytes can declare hours, and frames of any size."""

import mmap
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from semblance.runtime.disk_cache import home, telling

LONGEST = 3600  # seconds of a clip; a longer file is damaged, or too long to be held
MOST_PIXELS = 36_000_000  # of a frame: 8K films have 35 million
LEAST_RATE = 1000  # samples per second of a sound, below which little is heard
LARGEST_FILE = 4 << 30  # bytes
_FREE, _RATIO = 64 << 20, 1000  # a clip may take so many bytes, and so many times those of its file
_IN_MEMORY = 32 << 20  # bytes of one clip; the others lie on the disk
_SET_FREE, _SET_RATIO = 128 << 20, 16  # a set is held in memory up to so many bytes, and so many times its files'
_BLOCK = 2 << 20  # bytes of a clip on the disk that are looked at together
_DECODER = 1000 << 20  # bytes that a decoder may take, whatever the file
# Frames that a decoder holds: those that others refer to and those that wait to be shown, at most 16 of each, and a few
_HELD = {"h264": 36, "hevc": 36}
_HELD_BY_OTHERS = 12
_PADDED = 64  # pixels by which a side may be stored larger than it is shown
_GROWS = 1 << 21  # pixels that a frame may have whatever the header says
_IN_RGB = 6  # bytes for each pixel of the frame that is being taken over


@dataclass(frozen=True)
class Head:
    """What a video file declares: height and width, seconds, FFmpeg's name of the codec, bits of a decoded pixel."""

    size: tuple[int, int]
    seconds: float
    codec: str
    bits: int

    @property
    def needed(self) -> int:
        """Bytes that its decoder takes, at most."""
        return self.size[0] * self.size[1] * (self.bits * _HELD.get(self.codec, _HELD_BY_OTHERS) // 8 + _IN_RGB)

    def check(self, file: int) -> None:
        """Raise ValueError where its frames are too large, or take too much for the bytes of its file."""
        if not 0 < self.size[0] * self.size[1] <= MOST_PIXELS:  # 0 where FFmpeg was told not to decode as many
            raise ValueError("its frames are larger than those of 8K, or of no known size: make them smaller")
        if self.needed > max(_DECODER, _RATIO * file):
            raise ValueError(
                f"damaged: decoding takes {self.needed / (1 << 30):.1f} GiB, over {_RATIO:,} times its bytes"
            )


def most_pixels(height: int, width: int) -> int:
    """Of a frame of a video whose header says that its frames are so large."""
    return max((height + _PADDED) * (width + _PADDED), _GROWS)


def held_in_memory(files: int) -> int:
    """Bytes that a set of clips may take in memory, whose files take so many; a larger one lies on the disk.

    Films and speech unpack to some ten times their bytes, silence to hundreds of times.
    """
    return _SET_FREE + _SET_RATIO * files


class Bound:
    """How long a clip may last.

    file: bytes of its file. second: bytes that a second of it takes. what: of it, for the error.
    """

    def __init__(self, file: int, second: float, what: str = "") -> None:
        self.seconds, self.what = min(LONGEST, (_FREE + _RATIO * file) / second), what

    def check(self, seconds: float) -> None:
        """Raise ValueError where it lasts longer."""
        if seconds > LONGEST:
            raise ValueError(f"{self.what}longer than {LONGEST} s, or damaged: cut it into clips")
        if seconds > self.seconds:
            raise ValueError(f"damaged: {self.what}{seconds:.0f} s long, which take over {_RATIO:,} times its bytes")


class Spool:
    """An array that grows, in memory or, once it is large, in a file without a name beside the caches on the disk."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self.dtype, self.bytes = np.dtype(dtype), 0
        self.file = SpooledTemporaryFile(_IN_MEMORY, dir=str(home()))  # noqa: SIM115, closed with this

    def __del__(self) -> None:
        self.file.close()  # a mapping of it stays

    def add(self, part: np.ndarray) -> None:
        """Append the values of a part."""
        self.bytes += part.nbytes
        with telling() if self.bytes > _IN_MEMORY else nullcontext():
            self.file.write(np.ascontiguousarray(part, self.dtype).data)

    def tensor(self) -> Tensor:
        """All of it, flat."""
        if self.bytes > _IN_MEMORY:
            self.file.flush()
            array: Any = np.memmap(self.file, self.dtype, mode="c")  # type: ignore[call-overload]
            _mappings[array.ctypes.data] = array._mmap
            return torch.from_numpy(array)
        self.file.seek(0)
        return torch.from_numpy(np.frombuffer(bytearray(self.file.read()), self.dtype))


_mappings: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()  # of spools on the disk, by where they begin


def blocks(values: Tensor) -> Iterator[Tensor]:
    """Parts of a clip's frames or sound along the first axis, one after the other. Of one that lies on the disk no more
    than a part is in memory."""
    mapping = _mappings.get(values.untyped_storage().data_ptr())
    for part in values.split(max(1, _BLOCK // values[:1].nbytes)) if len(values) else ():
        yield part
        if mapping is not None:
            mapping.madvise(mmap.MADV_DONTNEED)
