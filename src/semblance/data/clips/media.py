"""One clip: the bytes of a video or sound file to uint8 frames and a waveform, through TorchCodec or PyAV."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from semblance.data.byte_budget import decoding
from semblance.data.clips.bounds import FRAME, MOST_PIXELS
from semblance.data.clips.even_frames import Clip

VIDEOS = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".mts", ".m2ts", ".3gp",
    ".ogv", ".vob", ".asf",
))  # fmt: skip
SOUNDS = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma"))


def reader() -> Any:
    """The module that reads files: that of TorchCodec where it loads, else that of PyAV.

    Both read a whole file from its beginning on and, with the same FFmpeg, give the same bits. Missing times of frames
    (B-frames in AVI) are guessed differently by each, wrong by a frame or two.
    """
    from semblance.data.clips import pyav, torchcodec

    return torchcodec if torchcodec.loads() else pyav


def decode_clip(data: bytes, canvas: int, fps: float, rate: int, silent: bool = False) -> Clip:
    """Frames at `fps` and sound at `rate` of a video file, resized to a square canvas and mixed to one channel.

    Each frame is the one shown at its time. With `silent`, the sound is left empty, to come from elsewhere. Raises
    OSError or ValueError with a short reason where the file holds no picture, no sound, or less than it declares.
    """
    with _damage_told(data):
        (height, width), _ = probe(data)
        with decoding().taken(FRAME * height * width):
            return reader().read_clip(data, canvas, fps, rate, silent)


def decode_sound(data: bytes, rate: int) -> Tensor:
    """Sound at `rate` of a sound file, or of a video's track, mixed to one channel: int16 (L,); raises likewise."""
    with _damage_told(data):
        return reader().read_sound(data, rate)


def probe(data: bytes) -> tuple[tuple[int, int], float]:
    """Height and width, and seconds, as a video file's header declares them; raises as decode_clip does."""
    with _damage_told(data):
        (height, width), seconds = reader().read_head(data)
        if not 0 < height * width <= MOST_PIXELS:  # 0 where FFmpeg was told not to decode as many
            raise ValueError("its frames are larger than those of 8K, or of no known size: make them smaller")
        return (height, width), seconds


@contextmanager
def _damage_told(data: bytes) -> Iterator[None]:
    """What readers raise on broken bytes (TypeError, OverflowError, MemoryError, ...) becomes a ValueError."""
    if not data:
        raise ValueError("empty file")
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"damaged: {str(error) or type(error).__name__}") from error
