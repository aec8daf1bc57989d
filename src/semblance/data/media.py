"""One clip: the bytes of a video or sound file to uint8 frames and a waveform, through PyAV."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.data.decode import channels_first
from semblance.errors import UserError

VIDEOS = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".mts", ".m2ts", ".3gp",
    ".ogv", ".vob", ".asf",
))  # fmt: skip
SOUNDS = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma"))

LONGEST = 6 * 3600  # seconds of a clip; times beyond are those of a damaged file
WHOLE = 0.9  # of the declared duration: a file that ends earlier is cut short


@dataclass
class Clip:
    """frames: uint8 (T, 3, canvas, canvas) at even times; size: height and width as shown; sound: int16 (L,), mono.

    Both begin with the first frame.
    """

    frames: Tensor
    size: tuple[int, int]
    sound: Tensor


def decode_clip(data: bytes, canvas: int, fps: float, rate: int, silent: bool = False) -> Clip:
    """Frames at `fps` and sound at `rate` of a video file, resized to a square canvas and mixed to one channel.

    A frame is what is shown at its moment. Where the sound is to come from elsewhere (silent), it is left empty. Raises
    OSError or ValueError with a short reason where the file holds no picture, no sound, or less than it declares.
    """
    with _open(data) as container:
        if not container.streams.video:
            raise ValueError("no video in it")
        if not container.streams.audio and not silent:
            raise ValueError("no sound in it")
        video = container.streams.video[0]
        streams = [video] if silent else [video, container.streams.audio[0]]
        frames, sound = _Frames(canvas, fps), _Sound(rate)
        for stream in streams:
            stream.codec_context.thread_count = 1  # threads of FFmpeg's own have deadlocked in workers
        for packet in container.demux(*streams):
            for frame in packet.decode():
                (frames if packet.stream is video else sound).add(frame)
        frames.finish(video.average_rate)
        if not frames.chosen:
            raise ValueError("no frame in it")
        declared = (container.duration or 0) / 1e6
        if frames.seconds < WHOLE * declared - 0.1:
            raise ValueError(f"cut short: {frames.seconds:.1f} of {declared:.1f} s")
        wave = torch.empty(0, dtype=torch.int16) if silent else sound.wave(frames.start)
        return Clip(torch.stack(frames.chosen), frames.size, wave)


def decode_sound(data: bytes, rate: int) -> Tensor:
    """Sound at `rate` of a sound file, or of a video's track, mixed to one channel: int16 (L,); raises likewise."""
    with _open(data) as container:
        if not container.streams.audio:
            raise ValueError("no sound in it")
        audio = container.streams.audio[0]
        audio.codec_context.thread_count = 1
        sound = _Sound(rate)
        for frame in container.decode(audio):
            sound.add(frame)
        return sound.wave(sound.start)


def probe(data: bytes) -> tuple[tuple[int, int], float]:
    """Height and width, and seconds, as a video file's head declares them; raises as decode_clip does."""
    with _open(data) as container:
        if not container.streams.video:
            raise ValueError("no video in it")
        context = container.streams.video[0].codec_context
        return (context.height, context.width), (container.duration or 0) / 1e6


def pyav() -> Any:
    """The module `av`, or how to get it."""
    try:
        import av
    except ImportError as error:
        raise UserError(
            f"Video and sound files are read by PyAV, which does not load here ({error}). "
            "Install it with: pip install 'semblance[video]'"
        ) from error
    return av


@contextmanager
def _open(data: bytes) -> Iterator[Any]:
    """A container that is closed at the end, its errors turned into ours."""
    av = pyav()
    if not data:
        raise ValueError("empty file")
    try:
        with av.open(io.BytesIO(data), metadata_errors="ignore") as container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(f"damaged: {error.strerror or type(error).__name__}") from error
    except (OSError, ValueError):
        raise
    except Exception as error:  # on broken bytes: TypeError, OverflowError, MemoryError, ...
        raise ValueError(f"damaged: {str(error) or type(error).__name__}") from error


class _Frames:
    """Picks the frames shown at even times, and resizes only those."""

    def __init__(self, canvas: int, fps: float) -> None:
        self.canvas, self.fps = canvas, fps
        self.chosen: list[Tensor] = []
        self.size = (0, 0)
        self.start = self.seconds = 0.0
        self.shown: Any = None  # the last frame that has come, and the time since the first that it came at
        self.time = 0.0

    def add(self, frame: Any) -> None:
        if self.shown is None:
            self.start = frame.time or 0.0
            turned = frame.rotation % 180 != 0
            self.size = (frame.width, frame.height) if turned else (frame.height, frame.width)
            self.time = 0.0
        else:
            time = frame.time - self.start if frame.time is not None else self.time
            if time > LONGEST:
                raise ValueError(f"damaged: a frame {time:.0f} s after the first")
            self._choose(before=time)
            self.time = time
        self.shown = frame

    def finish(self, rate: Any) -> None:
        """Choose the last frame for as long as it is shown, at `rate` frames per second."""
        if self.shown is not None:
            self.seconds = self.time + float(1 / rate if rate else 1 / self.fps)
            self._choose(before=self.seconds)

    def _choose(self, before: float) -> None:
        count = ceil(before * self.fps - len(self.chosen) - 1e-3)  # even times before that
        if count > 0:
            self.chosen += [self._resized()] * count

    def _resized(self) -> Tensor:
        frame = self.shown.reformat(self.canvas, self.canvas, format="rgb24", interpolation="BICUBIC")
        return channels_first(np.rot90(frame.to_ndarray(), self.shown.rotation // 90))


class _Sound:
    """Resamples to 16-bit mono."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.resampler = pyav().AudioResampler(format="s16", layout="mono", rate=rate)
        self.parts: list[np.ndarray] = []
        self.start: float | None = None

    def add(self, frame: Any) -> None:
        if self.start is None:
            self.start = frame.time or 0.0
        self.parts += [part.to_ndarray()[0] for part in self.resampler.resample(frame)]

    def wave(self, start: float | None) -> Tensor:
        """All of it from the time `start` on, silence where it begins later."""
        self.parts += [part.to_ndarray()[0] for part in self.resampler.resample(None)]  # what it holds back
        if self.start is None or start is None:
            raise ValueError("no sound in it")
        if self.start - start > LONGEST:
            raise ValueError(f"damaged: its sound begins {self.start - start:.0f} s late")
        late = round((self.start - start) * self.rate)
        wave = np.concatenate([np.zeros(max(0, late), np.int16), *self.parts])[max(0, -late) :]
        if not len(wave):
            raise ValueError("no sound in it")
        return torch.from_numpy(wave)
