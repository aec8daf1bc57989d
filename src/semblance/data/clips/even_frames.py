"""What media readers share: picking frames at even times and resizing them, and mixing sound to one channel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.data.pictures.decode import resize

LONGEST = 3600  # seconds of a clip; a longer file is damaged, or too long to be held
WHOLE = 0.9  # of the declared duration: a file that ends earlier is cut short


@dataclass
class Clip:
    """frames: uint8 (T, 3, canvas, canvas) at even times; size: height and width as shown; sound: int16 (L,), mono.

    Both begin with the first frame.
    """

    frames: Tensor
    size: tuple[int, int]
    sound: Tensor


class EvenFrames:
    """Picks the frames shown at even times from the first on, and resizes only those.

    rate: frames per second of the stream, None or 0 where it is not known.
    upright: turns a frame of the library's into uint8 (H, W, 3), RGB.
    """

    def __init__(self, canvas: int, fps: float, rate: Any, upright: Callable[[Any], np.ndarray]) -> None:
        self.canvas, self.fps, self.upright = canvas, fps, upright
        self.lasts = float(1 / (rate or fps))
        self.chosen: list[Tensor] = []
        self.size = (0, 0)
        self.start = self.seconds = 0.0
        self.shown: Any = None  # the last frame added, and its time since the first
        self.time = 0.0

    def add(self, frame: Any, time: float | None) -> None:
        """Take the next frame, shown from that time on; None: one frame's duration after the one before."""
        if self.shown is None:
            self.start = time or 0.0
        else:
            time = time - self.start if time is not None else self.time + self.lasts
            if time > LONGEST:
                raise ValueError(f"longer than {LONGEST} s, or damaged: cut it into clips")
            self._choose(before=time)
            self.time = time
        self.shown = frame

    def finish(self, own: float | None, file: float | None, heard: float) -> None:
        """Choose the last frame for as long as it is shown; raise ValueError if there is less than is declared.

        own: seconds of video that the header declares, if it does; file: seconds at which it says that all ends;
        heard: seconds at which the sound ended.
        """
        if self.shown is not None:
            self.seconds = self.time + self.lasts
            self._choose(before=self.seconds)
        if not self.chosen:
            raise ValueError("no frame in it")
        found, declared = (self.seconds, own) if own else (max(self.start + self.seconds, heard), file or 0)
        if found < WHOLE * declared - 0.1:
            raise ValueError(f"cut short: {found:.1f} of {declared:.1f} s")

    def _choose(self, before: float) -> None:
        count = ceil(before * self.fps - len(self.chosen) - 1e-3)  # even times before that
        if count > 0:
            pixels = self.upright(self.shown)
            self.size = pixels.shape[:2]
            self.chosen += [resize(pixels, self.canvas)] * count


class SoundParts:
    """Parts of a sound, float32 (channels, samples), as they come; too many of them are refused."""

    def __init__(self, rate: int) -> None:
        self.rate, self.samples = rate, 0
        self.parts: list[np.ndarray] = []

    def add(self, part: np.ndarray) -> None:
        self.samples += part.shape[1]
        if self.samples > LONGEST * self.rate:
            raise ValueError(f"its sound is longer than {LONGEST} s, or damaged: cut it into clips")
        self.parts.append(part)


def mono(parts: Sequence[np.ndarray], late: float, rate: int) -> Tensor:
    """Parts of a sound, float32 (channels, samples), as their channels' mean from the picture's beginning on.

    late: seconds by which the sound begins after it, negative if before. int16 (L,); raises ValueError where L is 0.
    """
    if late > LONGEST:
        raise ValueError(f"damaged: its sound begins {late:.0f} s late")
    samples = round(late * rate)
    wave = np.concatenate([np.zeros(max(0, samples), np.float32), *(p.mean(0) for p in parts)])[max(0, -samples) :]
    if not len(wave):
        raise ValueError("no sound in it")
    return torch.from_numpy((wave * 2.0**15).round().clip(-(2**15), 2**15 - 1).astype(np.int16))
