"""What tests of damaged files share: small media that are whole, and a bound on the time that one may take."""

import io
import signal
import wave
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from semblance.data.sources.bounce import encode

SECONDS = 20  # that one file may take


@contextmanager
def no_hang() -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def film() -> bytes:
    """Two seconds of noise and a tone, MP4."""
    pytest.importorskip("av", reason="PyAV is not installed")
    frames = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    return encode(frames, tone(2), fps=8, rate=8000)


def tone(seconds: float) -> np.ndarray:
    return (np.sin(np.arange(round(seconds * 8000)) / 5) * 9000).astype(np.int16)


def sound() -> bytes:
    """A second of it, WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(tone(1).tobytes())
    return file.getvalue()
