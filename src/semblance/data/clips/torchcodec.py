"""Clips through TorchCodec, which takes FFmpeg's shared libraries from the system.

By its demuxer and packet decoders, from a file's beginning on: its VideoDecoder seeks, and gives wrong frames where a
container has no index (MPEG program and transport streams; TorchCodec 0.17). Reflections, which channel of
sound is which, and the times of AVI's frames it does not tell, and which formats to open it cannot be told; PyAV, which
the extra `torchcodec` brings too, opens each file first.
"""

from collections.abc import Callable, Iterator
from functools import cache
from math import copysign, floor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips import pyav
from semblance.data.clips.bounds import most_pixels
from semblance.data.clips.even_frames import REPEATING, Clip, EvenFrames, oriented, tilted
from semblance.data.clips.sound_track import SoundTrack

T = TypeVar("T")
_EMPTY = "status -22"  # what a decoder says of a packet without content, which shows the frame before once more


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
    about = pyav.untold(data, seen=True, heard=not silent)
    demuxer, video, audio = _open(data)
    if video is None:
        raise ValueError("no video in it")
    if audio is None and not silent:
        raise ValueError("no sound in it")
    frames = EvenFrames(canvas, fps, video.metadata.average_fps_from_header, _Upright(about.matrix), len(data))
    sound = SoundTrack(rate, _Resampler, len(data))
    streams = {video.index: _call(video.make_decoder, device="cpu", num_ffmpeg_threads=1)}
    if not silent:
        streams[audio.index] = _call(audio.make_decoder)
    most = most_pixels(video.metadata.height or 0, video.metadata.width or 0)
    for index, decoded in _decoded(demuxer, streams):
        if index == video.index:
            if decoded.height * decoded.width > most:  # which its decoder cannot be told
                raise ValueError("damaged: its frames become larger than it declares")
            time = next(about.times, None) if about.times else _time(decoded)
            frames.add(decoded, time, decoded.duration_seconds)
        else:
            sound.add(decoded.data.numpy(), decoded.sample_rate, _time(decoded), about.names)
    frames.finish(*_declared(demuxer, video), sound.end, repeats=video.metadata.codec in REPEATING)
    wave = torch.empty(0, dtype=torch.int16) if silent else sound.wave()
    clip = Clip(frames.frames, frames.size, wave, frames.told + tilted(about.matrix) + sound.told)
    return clip if silent else clip.common(fps, rate, sound.start - frames.start)


def read_sound(data: bytes, rate: int) -> tuple[Tensor, list[str]]:
    """As media.decode_sound, with what befell it in words for a Tally."""
    about = pyav.untold(data, seen=False, heard=True)
    demuxer, _, audio = _open(data)
    if audio is None:
        raise ValueError("no sound in it")
    sound = SoundTrack(rate, _Resampler, len(data), alone=True)
    for _, decoded in _decoded(demuxer, {audio.index: _call(audio.make_decoder)}):
        sound.add(decoded.data.numpy(), decoded.sample_rate, _time(decoded), about.names)
    sound.check(about.lasts)
    return sound.wave(), sound.told


def _call(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """A call of TorchCodec, whose errors, which name its own source files, become ValueErrors."""
    try:
        return function(*arguments, **named)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [""])[0].rsplit(", ", 1)[-1].rsplit(": ", 1)[-1]
        raise ValueError(f"damaged: {reason or type(error).__name__}") from error


def _open(data: bytes) -> tuple[Any, Any, Any]:
    """The demuxer of a file, and its best streams of video and of sound, None where there is none."""
    from torchcodec.decoders import Demuxer

    demuxer = _call(Demuxer, data, streams="all")
    streams = {stream.index: stream for stream in demuxer.streams}
    about = demuxer.metadata
    return demuxer, streams.get(about.best_video_stream_index), streams.get(about.best_audio_stream_index)


def _decoded(demuxer: Any, decoders: dict[int, Any]) -> Iterator[tuple[int, Any]]:
    """The decoded frames of the streams, each with the stream's index."""
    while (packet := _call(next, demuxer, None)) is not None:
        if (decoder := decoders.get(packet.stream_index)) is not None:
            yield from ((packet.stream_index, frame) for frame in _call(_of_packet, decoder, packet))
    for index, decoder in decoders.items():
        yield from ((index, frame) for frame in _call(decoder.drain))


def _of_packet(decoder: Any, packet: Any) -> list[Any]:
    try:
        return decoder.decode(packet)
    except RuntimeError as error:
        if _EMPTY in str(error):
            return []
        raise


def _time(frame: Any) -> float | None:
    return frame.pts_seconds if abs(frame.pts_seconds) < 1e12 else None  # FFmpeg's "no time" is larger


def _declared(demuxer: Any, video: Any) -> tuple[float | None, float | None]:
    """Seconds that the header declares for the video and for the file, None where it does not."""
    return video.metadata.duration_seconds_from_header, demuxer.metadata.duration_seconds_from_header


class _Upright:
    """Turns its frames into uint8 (H, W, 3), as they are shown."""

    def __init__(self, matrix: list[int] | None) -> None:
        from torchcodec.decoders import ColorConverter

        self.matrix, self.converter = matrix, _call(ColorConverter, device="cpu")

    def __call__(self, raw: Any) -> np.ndarray:
        pixels = _call(self.converter.convert, raw).data.permute(1, 2, 0).numpy()
        if self.matrix is None:
            return pixels
        # By the converter, which knows no reflections; of half a quarter as C rounds, away from zero
        turned = int(copysign(floor(abs(raw.rotation) / 90 + 0.5), raw.rotation))
        return oriented(np.rot90(pixels, -turned), self.matrix)


class _Resampler:
    def __init__(self, rate: int) -> None:
        from torchcodec.decoders import AudioConverter

        self.converter = _call(AudioConverter, sample_rate=rate)

    def convert(self, rows: np.ndarray, rate: int) -> np.ndarray:
        from torchcodec.decoders import RawAudioSamples

        samples = RawAudioSamples(torch.from_numpy(np.ascontiguousarray(rows)), rate, 0.0, rows.shape[1] / rate)
        return _call(self.converter.convert, samples).data.numpy()

    def drain(self) -> np.ndarray:
        return _call(self.converter.drain).data.numpy()
