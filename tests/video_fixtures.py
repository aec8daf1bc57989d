"""Small videos and sounds, encoded where they are needed."""

import io
import wave as wav
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
