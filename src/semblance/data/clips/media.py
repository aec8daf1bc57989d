"""One clip: the bytes of a video or sound file to uint8 frames and a waveform, through TorchCodec or PyAV."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from semblance.data.byte_budget import decoding
from semblance.data.clips import pyav
from semblance.data.clips.bounds import Head
from semblance.data.clips.cut_short import check_end
from semblance.data.clips.edit_lists import speed_told
from semblance.data.clips.even_frames import Clip
from semblance.data.clips.mp3 import without_inner_tags
from semblance.runtime.allocator import give_back_freed_memory

VIDEOS = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".mts", ".m2ts", ".3gp",
    ".ogv", ".vob", ".asf",
))  # fmt: skip
_GIVEN_BACK = 64 << 20  # bytes of a decoder from which on it is not kept for the next
SOUNDS = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma"))


def reader() -> Any:
    """The module that reads files: that of TorchCodec where it loads, else that of PyAV.

    Both read a whole file from its beginning on and, with the same FFmpeg, give the same bits. Missing times of frames
    (B-frames in AVI) are guessed differently by each, wrong by a frame or two.
    """
    from semblance.data.clips import torchcodec

    return torchcodec if torchcodec.loads() else pyav


def decode_clip(data: bytes, canvas: int, fps: float, rate: int, silent: bool = False) -> Clip:
    """Frames at `fps` and sound at `rate` of a video file, resized to a square canvas and mixed to one channel.

    Each frame is the one shown at its time; what is seen and not heard, or heard and not seen, is left out. With
    `silent`, the sound is left empty, to come from elsewhere. Raises ValueError with a short reason where the file
    holds no picture, no sound, or less than it declares.
    """
    told = _check(data)
    needed = probe(data).needed
    with decoding().taken(needed):
        clip = reader().read_clip(data, canvas, fps, rate, silent)
        if needed > _GIVEN_BACK:
            give_back_freed_memory()
    return replace(clip, told=told + clip.told)


def decode_sound(data: bytes, rate: int, told: list[str] | None = None) -> Tensor:
    """Sound at `rate` of a sound file, or of a video's track, mixed to one channel: int16 (L,); raises likewise.

    What befell it is added to `told`, in words for a Tally.
    """
    words = _check(data)
    wave, more = reader().read_sound(without_inner_tags(data), rate)
    if told is not None:
        told += words + more
    return wave


def probe(data: bytes) -> Head:
    """What a video file's header declares; raises as decode_clip does."""
    if not data:
        raise ValueError("empty file")
    head = pyav.read_head(data)  # TorchCodec decodes frames of any size to find theirs
    head.check(len(data))
    return head


def _check(data: bytes) -> list[str]:
    if not data:
        raise ValueError("empty file")
    return check_end(data) + speed_told(data)
