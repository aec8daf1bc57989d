"""Clips, and what media readers share of the picture: frames at even times, turned upright and resized."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any

import numpy as np
from torch import Tensor

from semblance.data.clips.bounds import Bound, Spool, blocks
from semblance.data.pictures.decode import resize

WHOLE = 0.9  # of the declared duration: a file that ends earlier is cut short
JOINED = 1.0  # seconds by which times run back where recordings were joined; less is jitter
REPEATING = ("theora",)  # codecs whose last frame may be shown by packets without content, which demuxers drop
_ALONE = 0.5  # seconds of one stream without the other that a person is told of
_EXACT = 0.001  # of a display matrix's numbers: a sixteenth of a degree
_SHORT = 0.3  # seconds missing at the end that a person is told of

ENDS = "The file ends earlier than it declares"
RESTARTED = "Times start again, as in joined recordings, and only what comes first is used"
TILTED = "The picture is to be turned by less than quarters, or stretched, and the nearest quarter turn is used"
ALONE = f"Over {_ALONE:g} s of picture without sound or sound without picture is left out"


@dataclass
class Clip:
    """frames: uint8 (T, 3, canvas, canvas) at even times; size: height and width as shown; sound: int16 (L,), mono.

    Both begin at the same moment. told: what befell the file on the way, each in words for a Tally.
    """

    frames: Tensor
    size: tuple[int, int]
    sound: Tensor
    told: list[str] = field(default_factory=list)

    def common(self, fps: float, rate: int, late: float = 0.0) -> "Clip":
        """The part that is both seen and heard. late: seconds by which the sound begins after the picture, or < 0.

        Frames that are over before the sound begins, or begin when it is over, have no counterpart, nor has sound
        before or after the picture. Views of these. ValueError where nothing is left.
        """
        count, skip = len(self.frames), max(0, floor(late * fps + 1e-3))
        kept = min(count, ceil((late + len(self.sound) / rate) * fps - 1e-3)) - skip
        if kept <= 0:
            raise ValueError("picture and sound have no moment in common")
        begins = round((late - skip / fps) * rate)  # after the first of these frames: in it, or before it
        sound = self.sound[max(0, -begins) :]
        if begins > 0:
            later = Spool(np.int16)
            later.add(np.zeros(begins, np.int16))
            for part in blocks(sound):
                later.add(part.numpy())
            sound = later.tensor()
        unused = max(count - kept, len(self.sound) / rate * fps - kept) / fps
        told = [*self.told, ALONE] if unused > _ALONE else self.told
        return Clip(self.frames[skip : skip + kept], self.size, sound[: round(kept / fps * rate)], told)


class EvenFrames:
    """Picks the frames shown at even times from the first on, and resizes only those.

    rate: frames per second of the stream, None or 0 where it is not known.
    upright: turns a frame of the library's into uint8 (H, W, 3), RGB.
    file: bytes of the file, which bound what is made of them.
    """

    def __init__(self, canvas: int, fps: float, rate: Any, upright: Callable[[Any], np.ndarray], file: int) -> None:
        self.canvas, self.fps, self.upright = canvas, fps, upright
        self.bound = Bound(file, 3 * canvas**2 * fps)
        self.usual = float(1 / (rate or fps))
        self.chosen, self.count = Spool(np.uint8), 0
        self.size = (0, 0)
        self.start = self.seconds = 0.0
        self.shown: Any = None  # the last frame added, its time since the first, and how long it lasts
        self.time = self.lasts = 0.0
        self.told: list[str] = []

    def add(self, frame: Any, time: float | None, lasts: float | None) -> None:
        """Take the next frame, shown from that time on; None: when the one before is over.

        lasts: seconds that it is shown for, by the file; None or 0 where that does not say.
        """
        if RESTARTED in self.told:
            return
        if self.shown is None:
            self.start = time or 0.0
        else:
            since = None if time is None else time - self.start
            if since is not None and since < self.time - JOINED:
                self.told.append(RESTARTED)
                return
            if since is None or since <= self.time:  # frames come in the order in which they are shown: it is a guess
                since = self.time + (self.lasts or self.usual)
            self._choose(before=since)
            self.time = since
        self.shown, self.lasts = frame, lasts or 0.0

    def finish(self, own: float | None, file: float | None, heard: float, repeats: bool) -> None:
        """Choose the last frame for as long as it is shown; raise ValueError if there is less than is declared.

        own: seconds of video that the header declares, if it does; file: seconds at which it says that all ends;
        heard: seconds at which the sound ended; repeats: whether the last frame is shown to the end of the video.
        """
        if self.shown is not None:
            self.seconds = max(self.time + (self.lasts or self.usual), own or 0.0 if repeats else 0.0)
            self._choose(before=self.seconds)
        if not self.count:
            raise ValueError("no frame in it")
        found, declared = max(self.start + self.seconds, heard), file or own or 0.0
        if own is not None and 0 < own < declared - _SHORT:  # else it may be that of all (ASF)
            found, declared = self.seconds, own
        self.told += ends_early(found, declared)

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


def ends_early(found: float, declared: float) -> list[str]:
    """What a Tally is to say where fewer seconds are found than declared; a ValueError where many are missing."""
    if found < WHOLE * declared - 0.1:
        raise ValueError(f"cut short: {found:.1f} of {declared:.1f} s")
    return [ENDS] if found < declared - max(_SHORT, 0.02 * declared) else []


def oriented(pixels: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """A stored frame (H, W, 3) as it is shown: one of eight orientations.

    matrix: the nine numbers of a display matrix, which maps (x, y) to (x m[0] + y m[3], x m[1] + y m[4]); of another
    angle than quarters of a turn, the nearest (ISO/IEC 14496-12, 6.2.2).
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def tilted(matrix: Sequence[int] | None) -> list[str]:
    """What a Tally is to say where a display matrix asks for more than one of the eight orientations."""
    if matrix is None:
        return []
    straight, crossed = ([abs(matrix[i]) for i in places] for places in ((0, 4), (1, 3)))
    less, more = sorted((straight, crossed), key=sum)
    return [TILTED] if max(less) > _EXACT * max(more) or min(more) < (1 - _EXACT) * max(more) else []
