"""Clips through PyAV, whose wheel brings FFmpeg along."""

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.bounds import MOST_PIXELS, Head, most_pixels
from semblance.data.clips.even_frames import REPEATING, Clip, EvenFrames, oriented, tilted
from semblance.data.clips.sound_track import SoundTrack
from semblance.errors import UserError

# Other formats are refused, since some of them name further files or addresses to be opened (SDP, HLS, DASH, ffconcat).
_FORMATS = (
    "aac,ac3,aiff,amr,asf,au,avi,caf,dts,dv,eac3,flac,flv,gxf,h264,hevc,ivf,loas,m4v,matroska,mov,mp3,mpeg,mpegts,"
    "mpegvideo,mxf,nut,obu,ogg,rm,tta,w64,wav,wv"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "none", "max_pixels": str(MOST_PIXELS)}
_SAYING = ("flac", "wv", "tta", "caf")  # formats of sound whose header says how long it is, in seconds alone
_ALAC = 4096  # samples of its frames, as encoders make them; FFmpeg 7 does not say
_PLANES = 7  # of sound that PyAV can take out of a frame; it reads beyond the list of more (14 to 19)


def read_clip(data: bytes, canvas: int, fps: float, rate: int, silent: bool) -> Clip:
    """As media.decode_clip."""
    with _open(data) as container:
        video, audio = _best(container, "video"), None if silent else _best(container, "audio")
        upright = _Upright()
        frames = EvenFrames(canvas, fps, video.average_rate, upright, len(data))
        sound, samples = SoundTrack(rate, _Resampler, len(data)), _Samples()
        times = _chunk_times(data)
        for stream, frame in _decoded(container, [s for s in (video, audio) if s is not None]):
            if stream is video:
                time = next(times, None) if times else frame.time
                frames.add(frame, time, frame.duration and float(frame.duration * frame.time_base))
            else:
                sound.add(*samples.of(frame))
        frames.finish(*_declared(container, video), sound.end, repeats=video.codec_context.name in REPEATING)
    wave = torch.empty(0, dtype=torch.int16) if silent else sound.wave()
    clip = Clip(frames.frames, frames.size, wave, frames.told + tilted(upright.matrix) + sound.told)
    return clip if silent else clip.common(fps, rate, sound.start - frames.start)


def read_sound(data: bytes, rate: int) -> tuple[Tensor, list[str]]:
    """As media.decode_sound, with what befell it in words for a Tally."""
    sound, samples = SoundTrack(rate, _Resampler, len(data), alone=True), _Samples()
    with _open(data) as container:
        for _, frame in _decoded(container, [audio := _best(container, "audio")]):
            sound.add(*samples.of(frame))
        sound.check(_lasts(container, audio))
    return sound.wave(), sound.told


def read_head(data: bytes) -> Head:
    """As media.probe, unchecked."""
    with _open(data) as container:
        video = _best(container, "video")
        own, file = _declared(container, video)
        codec = video.codec_context
        bits = codec.format.padded_bits_per_pixel if codec.format else 0
        return Head((codec.height, codec.width), own or file or 0.0, codec.name, bits)


@dataclass
class Untold:
    """What TorchCodec does not tell: the display matrix, the names of channels of sound, the times of AVI's frames, the
    seconds of sound that a header declares, where it does."""

    matrix: list[int] | None = None
    names: tuple[str, ...] = ()
    times: Iterator[float] | None = None
    lasts: float | None = None


def untold(data: bytes, seen: bool, heard: bool) -> Untold:
    """Of the best streams of a file: of the video's where it is `seen`, of the sound's where it is `heard`."""
    found = Untold(times=_chunk_times(data) if seen else None)
    with _open(data) as container:
        if heard:
            audio = _best(container, "audio")
            found.names, found.lasts = _names(audio.layout), _lasts(container, audio)
        if seen:
            first = next((frame for _, frame in _decoded(container, [_best(container, "video")])), None)
            found.matrix = None if first is None else _matrix(first)
    return found


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


@contextmanager
def _open(data: bytes) -> Iterator[Any]:
    """A container that is closed at the end; FFmpeg's errors become ValueErrors."""
    av = pyav()
    try:
        try:
            container = av.open(io.BytesIO(data), **_opening())
        except av.FFmpegError as error:
            if error.errno == errno.EINVAL:
                raise ValueError("damaged, or of a format that is not read: convert it to MP4") from error
            raise
        with container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(f"damaged: {error.strerror or type(error).__name__}") from error


@cache
def _opening() -> dict[str, Any]:
    """How files are opened: as _OPTIONS say, and with titles that are not UTF-8.

    Before PyAV 17.1, options that streams have too end the process where streams show late (MPEG-PS); decoders are then
    told of them in _decoded alone. PyAV 19 always reads such titles, and has no argument for it.
    """
    version = tuple(map(int, pyav().__version__.split(".")[:2]))
    titles = {"metadata_errors": "ignore"} if version < (19, 0) else {}
    return {"options" if version >= (17, 1) else "container_options": _OPTIONS, **titles}


def _best(container: Any, kind: str) -> Any:
    stream, name = container.streams.best(kind), {"video": "video", "audio": "sound"}[kind]
    if stream is None:
        raise ValueError(f"no {name} in it")
    if stream.codec_context is None:
        raise ValueError(f"damaged: its {name} is of no known codec")
    return stream


def _decoded(container: Any, streams: list[Any]) -> Iterator[tuple[Any, Any]]:
    """The decoded frames of the streams, each with its stream."""
    for stream in streams:
        stream.codec_context.thread_count = 1  # FFmpeg's own threads have deadlocked in workers
        if stream.type == "video":
            most = most_pixels(stream.codec_context.height, stream.codec_context.width)
            stream.codec_context.options = {"max_pixels": str(most)}
    for packet in _packets(container, streams):
        if packet.size or packet.pts is None:  # one without content but with a time shows the frame before once more
            yield from ((packet.stream, frame) for frame in packet.decode())


def _packets(container: Any, streams: list[Any]) -> Iterator[Any]:
    """Those of the streams, in the order of the file; at the end an empty one of each."""
    with suppress(IndexError):  # PyAV's, at the very end, of a stream that a file shows only later (FLV, MPEG)
        yield from container.demux(*streams)


def _chunk_times(data: bytes) -> Iterator[float] | None:
    """Times of the frames of an AVI in the order in which they are shown; None for another file.

    AVI has a chunk for each moment, and says no more; which frame FFmpeg gives which of these times is a guess.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"AVI ":
        return None
    with _open(data) as container:
        packets = _packets(container, [_best(container, "video")])
        return iter(sorted(float(p.dts * p.time_base) for p in packets if p.size and p.dts is not None))


def _declared(container: Any, video: Any) -> tuple[float | None, float | None]:
    """Seconds that the header declares for the video and for the file, None where it does not."""
    own = None if video.duration is None else float(video.duration * video.time_base)
    return own, None if container.duration is None else container.duration / 1e6


def _lasts(container: Any, audio: Any) -> float | None:
    """Seconds of sound that the header declares; None where FFmpeg would guess, or the bytes tell (cut_short.py)."""
    if container.format.name not in _SAYING or audio.duration is None:
        return None
    # of ALAC, FFmpeg 7 counts the last frame as a whole one, and FFmpeg 8 takes away twice what it lacks
    lost = (audio.codec_context.frame_size or _ALAC) / audio.rate if audio.codec_context.name == "alac" else 0.0
    return max(0.0, float(audio.duration * audio.time_base) - lost)


class _Upright:
    """Turns frames into uint8 (H, W, 3), as they are shown: all as the first one says."""

    def __init__(self) -> None:
        self.matrix: list[int] | None = None
        self.asked = False
        self.reformatter = pyav().video.reformatter.VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        if not self.asked:
            self.matrix, self.asked = _matrix(frame), True
        pixels = self.reformatter.reformat(frame, format="rgb24").to_ndarray()
        return pixels if self.matrix is None else oriented(pixels, self.matrix)


def _matrix(frame: Any) -> list[int] | None:
    """A frame's display matrix, if it has one.

    Asked for its side data a frame becomes part of a circle, and waits for the garbage collector with all its pixels;
    so a copy of few is asked.
    """
    side = frame.reformat(width=16, height=16, format="gray").side_data.get("DISPLAYMATRIX")
    return None if side is None else np.frombuffer(bytes(side), np.int32).tolist()


def _names(layout: Any) -> tuple[str, ...]:
    return tuple(channel.name for channel in layout.channels)


class _Samples:
    """Takes the samples out of frames of one stream."""

    def __init__(self) -> None:
        self.packer: Any = None
        self.packs: tuple[str, str, int] | None = None  # format, layout and rate that the packer takes

    def of(self, frame: Any) -> tuple[np.ndarray, int, float | None, tuple[str, ...]]:
        """Samples (channels, n), their rate, the time of the first, and the names of the channels."""
        names, time = _names(frame.layout), frame.time
        if (frame.format.is_planar and len(names) > _PLANES) or frame.format.name.startswith("s64"):
            frame = self._packed(frame)
        samples = frame.to_ndarray()
        return samples if frame.format.is_planar else samples.reshape(-1, len(names)).T, frame.sample_rate, time, names

    def _packed(self, frame: Any) -> Any:
        """The same samples as floats, one time after the other."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self.packs != kind:
            self.packer, self.packs = pyav().AudioResampler(format="flt"), kind
        (packed,) = self.packer.resample(frame)
        return packed


class _Resampler:
    def __init__(self, rate: int) -> None:
        self.resampler = pyav().AudioResampler(format="fltp", rate=rate)
        self.taken = 0

    def convert(self, rows: np.ndarray, rate: int) -> np.ndarray:
        layout = "mono" if len(rows) == 1 else "stereo"
        frame = pyav().AudioFrame.from_ndarray(np.ascontiguousarray(rows), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, self.taken, Fraction(1, rate)
        self.taken += rows.shape[1]
        return self._joined(frame)

    def drain(self) -> np.ndarray:
        return self._joined(None)

    def _joined(self, frame: Any) -> np.ndarray:
        parts = [part.to_ndarray() for part in self.resampler.resample(frame) if part is not None]
        return np.concatenate(parts, 1) if parts else np.empty((1, 0), np.float32)
