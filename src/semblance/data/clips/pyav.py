"""Clips through PyAV, whose wheel brings FFmpeg along."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.bounds import MOST_PIXELS
from semblance.data.clips.even_frames import Clip, EvenFrames, SoundParts
from semblance.errors import UserError

# Other formats are refused, since some of them name further files or addresses to be opened (SDP, HLS, DASH, ffconcat).
_FORMATS = (
    "aac,ac3,aiff,amr,asf,au,avi,caf,dts,dv,eac3,flac,flv,gxf,h264,hevc,ivf,loas,m4v,matroska,mov,mp3,mpeg,mpegts,"
    "mpegvideo,mxf,nut,obu,ogg,rm,tta,w64,wav,wv"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "none", "max_pixels": str(MOST_PIXELS)}


def read_clip(data: bytes, canvas: int, fps: float, rate: int, silent: bool) -> Clip:
    """As media.decode_clip."""
    with _open(data) as container:
        video, audio = container.streams.best("video"), container.streams.best("audio")
        if video is None:
            raise ValueError("no video in it")
        if audio is None and not silent:
            raise ValueError("no sound in it")
        streams = [video] if silent else [video, audio]
        frames, sound = EvenFrames(canvas, fps, video.average_rate, _upright, len(data)), _Sound(rate, len(data))
        for stream in streams:
            stream.codec_context.thread_count = 1  # FFmpeg's own threads have deadlocked in workers
            stream.codec_context.options = {"max_pixels": _OPTIONS["max_pixels"]}
        for packet in container.demux(*streams):
            for frame in packet.decode():
                if packet.stream is video:
                    frames.add(frame, frame.time)
                else:
                    sound.add(frame)
        frames.finish(*_declared(container, video), sound.end)
        wave = torch.empty(0, dtype=torch.int16) if silent else sound.wave(frames.start)
        return Clip(frames.frames, frames.size, wave)


def read_sound(data: bytes, rate: int) -> Tensor:
    """As media.decode_sound."""
    with _open(data) as container:
        audio = container.streams.best("audio")
        if audio is None:
            raise ValueError("no sound in it")
        audio.codec_context.thread_count = 1
        sound = _Sound(rate, len(data))
        for frame in container.decode(audio):
            sound.add(frame)
        return sound.wave()


def read_head(data: bytes) -> tuple[tuple[int, int], float]:
    """As media.probe."""
    with _open(data) as container:
        video = container.streams.best("video")
        if video is None:
            raise ValueError("no video in it")
        context = video.codec_context
        own, file = _declared(container, video)
        return (context.height, context.width), own or file or 0.0


def pyav() -> Any:
    """The module `av`, or a UserError that says how to install it."""
    try:
        import av
    except ImportError as error:
        raise UserError(
            f"Video and sound files are read by PyAV, which does not load here ({error}). "
            "Install it with: pip install 'semblance[video]'"
        ) from error
    return av


def _declared(container: Any, video: Any) -> tuple[float | None, float | None]:
    """Seconds that the header declares for the video and for the file, None where it does not."""
    own = None if video.duration is None else float(video.duration * video.time_base)
    return own, None if container.duration is None else container.duration / 1e6


@contextmanager
def _open(data: bytes) -> Iterator[Any]:
    """A container that is closed at the end; FFmpeg's errors become ValueErrors."""
    av = pyav()
    try:
        try:
            container = av.open(io.BytesIO(data), metadata_errors="ignore", options=_OPTIONS)
        except av.ArgumentError as error:
            raise ValueError("damaged, or of a format that is not read: convert it to MP4") from error
        with container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(f"damaged: {error.strerror or type(error).__name__}") from error


class _Sound:
    """Resamples, channel by channel."""

    def __init__(self, rate: int, file: int) -> None:
        self.rate = rate
        self.resampler = pyav().AudioResampler(format="fltp", rate=rate)
        self.parts = SoundParts(rate, file)
        self.start: float | None = None

    def add(self, frame: Any) -> None:
        if self.start is None:
            self.start = frame.time or 0.0
        self.parts.check(frame.sample_rate)
        for part in self.resampler.resample(frame):
            self.parts.add(part.to_ndarray())

    @property
    def end(self) -> float:
        """Seconds at which it ends."""
        return (self.start or 0.0) + self.parts.samples / self.rate

    def wave(self, start: float | None = None) -> Tensor:
        """All of it from the time `start` on, or from its own beginning: int16 (L,)."""
        if self.start is None:
            raise ValueError("no sound in it")
        for part in self.resampler.resample(None):  # what it still holds
            self.parts.add(part.to_ndarray())
        return self.parts.wave(0.0 if start is None else self.start - start)


def _upright(frame: Any) -> np.ndarray:
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
