"""Clips through TorchCodec, which takes FFmpeg's shared libraries from the system.

By its demuxer and packet decoders, from a file's beginning on: its VideoDecoder seeks, and gives wrong frames where a
container has no index (MPEG program and transport streams; TorchCodec 0.17).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.even_frames import Clip, EvenFrames, SoundParts


@cache
def loads() -> bool:
    """Whether a TorchCodec that has these parts is installed and finds FFmpeg's shared libraries."""
    try:
        from torchcodec import ffmpeg_major_version
        from torchcodec.decoders import AudioConverter, ColorConverter, Demuxer  # noqa: F401
    except Exception:  # ImportError, or RuntimeError and OSError of libraries that do not load
        return False
    return ffmpeg_major_version is not None


def read_clip(data: bytes, canvas: int, fps: float, rate: int, silent: bool) -> Clip:
    """As media.decode_clip."""
    from torchcodec.decoders import ColorConverter

    with _reasons():
        demuxer, video, audio = _open(data)
        if video is None:
            raise ValueError("no video in it")
        if audio is None and not silent:
            raise ValueError("no sound in it")
        converter, decoder = ColorConverter(device="cpu"), video.make_decoder(device="cpu", num_ffmpeg_threads=1)
        sound = None if silent else _Sound(audio, rate, len(data))

        def upright(raw: Any) -> np.ndarray:
            return converter.convert(raw).data.permute(1, 2, 0).numpy()

        frames = EvenFrames(canvas, fps, video.metadata.average_fps_from_header, upright, len(data))
        for packet in demuxer:
            if packet.stream_index == video.index:
                for frame in decoder.decode(packet):
                    frames.add(frame, _time(frame))
            elif sound is not None:
                sound.add(packet)
        for frame in decoder.drain():
            frames.add(frame, _time(frame))
        frames.finish(*_declared(demuxer, video), sound.end if sound else 0.0)
        wave = torch.empty(0, dtype=torch.int16) if sound is None else sound.wave(frames.start)
        return Clip(frames.frames, frames.size, wave)


def read_sound(data: bytes, rate: int) -> Tensor:
    """As media.decode_sound."""
    with _reasons():
        demuxer, _, audio = _open(data)
        if audio is None:
            raise ValueError("no sound in it")
        sound = _Sound(audio, rate, len(data))
        for packet in demuxer:
            sound.add(packet)
        return sound.wave()


def read_head(data: bytes) -> tuple[tuple[int, int], float]:
    """As media.probe."""
    with _reasons():
        demuxer, video, _ = _open(data)
        if video is None:
            raise ValueError("no video in it")
        own, file = _declared(demuxer, video)
        return (video.metadata.height, video.metadata.width), own or file or 0.0


def _open(data: bytes) -> tuple[Any, Any, Any]:
    """The demuxer of a file, and its best streams of video and of sound, None where there is none."""
    from torchcodec.decoders import Demuxer

    demuxer = Demuxer(data, streams="all")
    streams = {stream.index: stream for stream in demuxer.streams}
    about = demuxer.metadata
    return demuxer, streams.get(about.best_video_stream_index), streams.get(about.best_audio_stream_index)


def _time(frame: Any) -> float | None:
    return frame.pts_seconds if abs(frame.pts_seconds) < 1e12 else None  # FFmpeg's "no time" is larger


def _declared(demuxer: Any, video: Any) -> tuple[float | None, float | None]:
    """Seconds that the header declares for the video and for the file, None where it does not."""
    return video.metadata.duration_seconds_from_header, demuxer.metadata.duration_seconds_from_header


class _Sound:
    """Decodes and resamples, channel by channel."""

    def __init__(self, stream: Any, rate: int, file: int) -> None:
        from torchcodec.decoders import AudioConverter

        self.rate, self.index = rate, stream.index
        self.decoder, self.converter = stream.make_decoder(), AudioConverter(sample_rate=rate)
        self.parts = SoundParts(rate, file)
        self.parts.check(stream.metadata.sample_rate)
        self.start: float | None = None

    def add(self, packet: Any) -> None:
        """Take a packet of the file, where it is of this stream."""
        if packet.stream_index == self.index:
            self._convert(self.decoder.decode(packet))

    @property
    def end(self) -> float:
        """Seconds at which it ends."""
        return (self.start or 0.0) + self.parts.samples / self.rate

    def wave(self, start: float | None = None) -> Tensor:
        """All of it from the time `start` on, or from its own beginning: int16 (L,)."""
        self._convert(self.decoder.drain())
        if self.start is None:
            raise ValueError("no sound in it")
        self.parts.add(self.converter.drain().data.numpy())
        return self.parts.wave(0.0 if start is None else self.start - start)

    def _convert(self, decoded: list[Any]) -> None:
        for samples in decoded:
            if self.start is None:
                self.start = _time(samples) or 0.0
            self.parts.add(self.converter.convert(samples).data.numpy())


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn TorchCodec's errors, which name its own source files, into ValueErrors."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [""])[0].rsplit(", ", 1)[-1].rsplit(": ", 1)[-1]
        raise ValueError(f"damaged: {reason or type(error).__name__}") from error
