"""What media readers share: picking frames at even times and resizing them, and mixing sound to one channel."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.bounds import LEAST_RATE, LONGEST, Bound, Spool
from semblance.data.pictures.decode import resize

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
    file: bytes of the file, which bound what is made of them.
    """

    def __init__(self, canvas: int, fps: float, rate: Any, upright: Callable[[Any], np.ndarray], file: int) -> None:
        self.canvas, self.fps, self.upright = canvas, fps, upright
        self.bound = Bound(file, 3 * canvas**2 * fps)
        self.lasts = float(1 / (rate or fps))
        self.chosen, self.count = Spool(np.uint8), 0
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
        if not self.count:
            raise ValueError("no frame in it")
        found, declared = (self.seconds, own) if own else (max(self.start + self.seconds, heard), file or 0)
        if found < WHOLE * declared - 0.1:
            raise ValueError(f"cut short: {found:.1f} of {declared:.1f} s")

    @property
    def frames(self) -> Tensor:
        """Those chosen: uint8 (T, 3, canvas, canvas)."""
        return self.chosen.tensor().view(-1, 3, self.canvas, self.canvas)

    def _choose(self, before: float) -> None:
        self.bound.check(before)
        count = ceil(before * self.fps - self.count - 1e-3)  # even times before that
        if count > 0:
            pixels = self.upright(self.shown)
            self.size = pixels.shape[:2]
            frame = resize(pixels, self.canvas).numpy()
            for _ in range(count):
                self.chosen.add(frame)
            self.count += count


class SoundParts:
    """Parts of a sound, float32 (channels, samples), as they come, mixed to their channels' mean.

    file: bytes of the file, which bound what is made of them.
    """

    def __init__(self, rate: int, file: int) -> None:
        self.rate, self.samples = rate, 0
        self.bound = Bound(file, 2 * rate, "its sound is ")
        self.parts = Spool(np.int16)

    def check(self, rate: int) -> None:
        """Refuse a sound of so few samples per second that resampling would make gigabytes of it."""
        if rate < LEAST_RATE:
            raise ValueError(f"damaged: its sound has {rate} samples per second")

    def add(self, part: np.ndarray) -> None:
        self.samples += part.shape[1]
        self.bound.check(self.samples / self.rate)
        self.parts.add((part.mean(0) * 2.0**15).round().clip(-(2**15), 2**15 - 1).astype(np.int16))

    def wave(self, late: float) -> Tensor:
        """The sound from the picture's beginning on: int16 (L,); raises ValueError where L is 0.

        late: seconds by which the sound begins after the picture, negative if before.
        """
        if late > LONGEST:
            raise ValueError(f"damaged: its sound begins {late:.0f} s late")
        offset = round(late * self.rate)
        wave = self.parts.tensor()[max(0, -offset) :]
        if offset > 0:
            wave = torch.nn.functional.pad(wave, (offset, 0))
        if not len(wave):
            raise ValueError("no sound in it")
        return wave
