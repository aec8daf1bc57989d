"""Small videos and sounds, encoded where they are needed."""

import io
import wave as wav
from fractions import Fraction
from pathlib import Path

import numpy as np

from semblance.data.clips.pyav import pyav
from semblance.data.sources.bounce import encode

RATE = 8000


def film(seconds: float = 2.0, fps: int = 8, flash: float | None = None, seed: int = 0, side: int = 32):
    """Frames whose grey grows with time, and a click with a white frame at the time `flash`."""
    count = round(seconds * fps)
    grey = np.linspace(40, 200, count).astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (count, side, side, 3)).copy()
    sound = (np.random.default_rng(seed).normal(0, 20, round(seconds * RATE))).astype(np.int16)
    if flash is not None:
        frames[round(flash * fps)] = 255
        sound[round(flash * RATE) : round(flash * RATE) + 80] = 20_000
    return frames, sound


def mp4(path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(*film(**options), fps=8, rate=RATE))
    return path


def sound_file(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wav.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def without_video() -> bytes:
    """An MP4 that holds sound alone."""
    av, buffer = pyav(), io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(film()[1][None], format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


FLASHES = (0.6, 1.6, 2.6)  # seconds at which flash_and_beep is white and beeps
LOUD = 48_000  # its samples per second


def flash_and_beep(
    container: str, video: str, audio: str, *, layout: str = "stereo",
    late_picture: float = 0, late_sound: float = 0, lost: tuple[float, float] = (0, 0), b_frames: int = 0,
    uneven: bool = False, seconds: float = 3.2, sound_seconds: float = 0,
) -> bytes:  # fmt: skip
    """A film of 25 grey frames a second, white for two frames at each of FLASHES, while it beeps.

    layout: of the sound. lost: packets of sound that begin between these seconds are left out. uneven: every third
    frame is left out, and the one before lasts longer. sound_seconds: of sound, if not as many as of picture.
    """
    av, buffer = pyav(), io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        heard = file.add_stream(audio, rate=LOUD, layout=layout)
        seen = file.add_stream(video, rate=25, width=96, height=64, options=_OPTIONS.get(video, {}))
        seen.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        seen.bit_rate, seen.codec_context.time_base, seen.codec_context.thread_count = 1_000_000, Fraction(1, 25), 1
        if video != "libsvtav1":
            seen.codec_context.max_b_frames = b_frames
        if audio == "wmav2":
            heard.bit_rate = 128_000
        if audio == "vorbis":
            heard.codec_context.options = {"strict": "experimental"}
        for number in range(round(seconds * 25)):
            white = any(0 <= number - round(flash * 25) < 2 for flash in FLASHES)
            if uneven and not white and number % 3 == 1:
                continue
            pixels = np.full((64, 96, 3), 255 if white else 40, np.uint8)
            pixels[:, number % 96] = 90  # no frame is the one before
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number + round(late_picture * 25), Fraction(1, 25)
            file.mux(seen.encode(frame))
        for packet in _beeps(heard, layout, sound_seconds or seconds, late_sound):
            if not (lost[0] <= float(packet.pts * packet.time_base) < lost[1]):
                file.mux(packet)
        file.mux(seen.encode())
    return buffer.getvalue()


_OPTIONS = {"libx264": {"preset": "ultrafast"}, "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
            "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"}, "libvpx-vp9": {"cpu-used": "8"}}  # fmt: skip


def _beeps(stream, layout: str, seconds: float, late: float):
    """Packets of a sound that beeps at FLASHES, all channels alike."""
    av = pyav()
    time = np.arange(round(seconds * LOUD)) / LOUD
    on = np.any([(time >= flash) & (time < flash + 0.08) for flash in np.arange(0.6, seconds, 1)], axis=0)
    wave = (12_000 * np.sin(2 * np.pi * 1000 * time) * on).astype(np.int16)
    count = av.AudioLayout(layout).nb_channels
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, count)[None], format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = LOUD, round(late * LOUD), Fraction(1, LOUD)
    convert = av.AudioResampler(format=stream.format, layout=layout, rate=LOUD, frame_size=stream.frame_size or 1024)
    for part in [*convert.resample(frame), *convert.resample(None), None]:
        yield from stream.encode(part)


def flashes_and_beeps(frames, sound, fps: float, rate: int) -> tuple[list[float], list[float]]:
    """When a clip's frames turn white, and when its sound sets in, in seconds."""
    bright = frames.float().mean((1, 2, 3)) > 150
    loud = np.abs(sound.numpy().astype(float))
    loud = loud > 0.3 * loud.max()
    return _onsets(bright.numpy(), fps), _onsets(loud, rate)


def _onsets(on: np.ndarray, per_second: float) -> list[float]:
    """Where it is on after 0.3 s of being off, or at first."""
    times = np.flatnonzero(on) / per_second
    return times[np.diff(times, prepend=-1) > 0.3].tolist()


def sound_track(
    container: str, codec: str, layout: str, channels: np.ndarray, rate: int = LOUD, **options: str
) -> bytes:
    """A sound file of int16 channels (C, L)."""
    av, buffer = pyav(), io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout, options=options)
        frame = av.AudioFrame.from_ndarray(channels.T.reshape(1, -1).copy(), format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        convert = av.AudioResampler(
            format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size or 1024
        )
        for part in [*convert.resample(frame), *convert.resample(None), None]:
            file.mux(stream.encode(part))
    return buffer.getvalue()
