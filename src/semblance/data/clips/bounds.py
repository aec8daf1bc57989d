"""What one clip may take: files of kilobytes can declare hours, and frames of any size."""

from contextlib import nullcontext
from tempfile import SpooledTemporaryFile

import numpy as np
import torch
from torch import Tensor

from semblance.runtime.disk_cache import home, telling

LONGEST = 3600  # seconds of a clip; a longer file is damaged, or too long to be held
MOST_PIXELS = 36_000_000  # of a frame: 8K films have 35 million
LEAST_RATE = 1000  # samples per second of a sound, below which little is heard
LARGEST_FILE = 4 << 30  # bytes
FRAME = 24  # bytes for each pixel of a frame that is being decoded: a few frames of the decoder's, and one in RGB
_FREE, _RATIO = 64 << 20, 1000  # a clip may take so many bytes, and so many times those of its file
_IN_MEMORY = 32 << 20  # bytes of one clip; the others lie on the disk


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
            return torch.from_numpy(np.memmap(self.file, self.dtype, mode="c"))  # type: ignore[call-overload]
        self.file.seek(0)
        return torch.from_numpy(np.frombuffer(bytearray(self.file.read()), self.dtype))
