"""What media readers share of the sound: mixing its channels to one, and putting it where its times say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from semblance.data.clips.bounds import LEAST_RATE, Bound, Spool, blocks
from semblance.data.clips.even_frames import JOINED, ends_early

JITTER = 0.04  # seconds by which times may be off without anything being missing: a frame at 25 per second
SILENT = 3  # of 32768: no sample of a silent track is larger
_CANCELLED = 1e-3  # of the power that unrelated channels would have together

GAPS = "The sound has gaps, which are filled with silence"
MUTE = "The sound is silent"
SOFTENED = "The channels of the sound add up to more than full scale, and it is softened to fit"
CANCELLED = "The channels of the sound cancel each other out, and the first one alone is used"

# Lo/Ro of ITU-R BS.775 to one channel, such that stereo is the mean of its two; what it does not know, above, below and
# beside, counts as surround
_FRONT, _CENTRE, _SURROUND, _BACK_CENTRE = 0.5, 0.5**0.5, 0.5**1.5, 0.5
WEIGHTS = {
    "FL": _FRONT, "FR": _FRONT, "FLC": _FRONT, "FRC": _FRONT, "DL": _FRONT, "DR": _FRONT, "FC": _CENTRE,
    "BL": _SURROUND, "BR": _SURROUND, "SL": _SURROUND, "SR": _SURROUND, "BC": _BACK_CENTRE, "LFE": 0.0, "LFE2": 0.0,
    "WL": _SURROUND, "WR": _SURROUND, "TFL": _SURROUND, "TFR": _SURROUND, "TBL": _SURROUND, "TBR": _SURROUND,
    "TSL": _SURROUND, "TSR": _SURROUND, "BFL": _SURROUND, "BFR": _SURROUND, "SDL": _SURROUND, "SDR": _SURROUND,
    "TC": _BACK_CENTRE, "TFC": _BACK_CENTRE, "TBC": _BACK_CENTRE, "BFC": _BACK_CENTRE,
}  # fmt: skip


class Resampler(Protocol):
    """Samples of one rate to another, both float32 (rows, n), in pieces."""

    def convert(self, rows: np.ndarray, rate: int) -> np.ndarray: ...

    def drain(self) -> np.ndarray: ...


class SoundTrack:
    """Collects the decoded pieces of a sound, mixed to one channel, each at its own time.

    rate: samples per second of the result. resampler: makes one for that rate. file: bytes of the file, which bound
    what is made of them. alone: whether no picture goes with it; then a recording whose times start again follows the
    one before.
    """

    def __init__(self, rate: int, resampler: Callable[[int], Resampler], file: int, alone: bool = False) -> None:
        self.rate, self.resampler, self.alone = rate, resampler, alone
        self.bound = Bound(file, 2 * rate, "its sound is ")
        self.start = self.seconds = 0.0  # at which it begins; of all pieces together
        self.runs: list[_Run] = []
        self.kept = Spool(np.int16)  # what the runs hold, one after the other, (n, rows) each
        self.open: Resampler | None = None  # that of the last run
        self.power, self.unrelated = 0.0, 0.0  # of the mix, and of as loud channels that have nothing in common
        self.told: list[str] = []

    def add(self, data: np.ndarray, rate: int, time: float | None, names: Sequence[str]) -> None:
        """Take the next piece (channels, n), integers of full scale or floats; names: those of its channels."""
        if not data.size:
            return
        if rate < LEAST_RATE:
            raise ValueError(f"damaged: its sound has {rate} samples per second")
        rows, gain = self._mixed(data, names)
        if not self.runs:
            self.start = time or 0.0
        due = self.runs[-1].end if self.runs else self.start
        goes_on = time is None or abs(time - due) <= JITTER or (self.alone and time < due - JOINED)
        begins = due if goes_on or time is None else time
        if begins > due and GAPS not in self.told:
            self.told.append(GAPS)
        if self.open is None or begins != due or (rate, len(rows), gain) != self.runs[-1].kind:
            self._finish()
            self.open = self.resampler(self.rate)
            self.runs.append(_Run(begins, (rate, len(rows), gain), self.kept.bytes // 2))
        self.runs[-1].taken += rows.shape[1]
        self.seconds += rows.shape[1] / rate
        self.bound.check(max(self.end - self.start, self.seconds))
        self._keep(self.open.convert(rows, rate))

    @property
    def end(self) -> float:
        """Seconds at which it ends."""
        return self.runs[-1].end if self.runs else 0.0

    def wave(self) -> Tensor:
        """All of it from its start on: int16 (L,). ValueError where there is none."""
        self._finish()
        row = 1 if self.power < _CANCELLED * self.unrelated else 0
        if row:
            self.told.append(CANCELLED)
        peak = max([1.0, *(run.gain(row) * run.loudest / 2**15 for run in self.runs if run.gain(row) > 1)])
        if peak > 1:
            self.told.append(SOFTENED)
        kept, wave, filled, loudest = self.kept.tensor(), Spool(np.int16), 0, 0
        for run in self.runs:
            at, by = round((run.start - self.start) * self.rate), run.gain(row) / peak
            fresh = run.samples(kept, row)[max(0, filled - at) :]  # what overlaps is there already
            if len(fresh) and at > filled:
                wave.add(np.zeros(at - filled, np.int16))
                filled = at
            for part in blocks(fresh):
                block = part.numpy()
                block = block if by == 1 else (block * by).round().astype(np.int16)
                loudest = max(loudest, -int(block.min()), int(block.max()))
                wave.add(block)
            filled += len(fresh)
        if not filled:
            raise ValueError("no sound in it")
        if loudest <= SILENT:
            self.told.append(MUTE)
        return wave.tensor()

    def check(self, declared: float | None) -> None:
        """ValueError where much of what a header declares, in seconds, is missing; less is told."""
        self.told += ends_early(max(self.end - self.start, self.seconds), declared or 0.0)

    def _finish(self) -> None:
        """End the last run: take what its resampler still holds."""
        if self.open is not None:
            self._keep(self.open.drain())
            self.open = None

    def _keep(self, rows: np.ndarray) -> None:
        if rows.shape[1]:
            part = (rows * 2.0**15).round().clip(-(2**15), 2**15 - 1).astype(np.int16)
            self.kept.add(part.T)
            self.runs[-1].count += part.shape[1]
            self.runs[-1].loudest = max(self.runs[-1].loudest, -int(part[0].min()), int(part[0].max()))

    def _mixed(self, data: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, float]:
        """float32 (1, n), or (2, n): the mix, and the first channel; and the factor by which the mix is too soft."""
        channels = _floats(data)
        if len(channels) == 1:
            return channels, 1.0
        known = len(names) == len(channels) and all(name in WEIGHTS for name in names)
        weights = np.array([WEIGHTS[n] for n in names] if known else [1 / len(channels)] * len(channels), np.float32)
        mix, gain = weights @ channels, max(1.0, float(weights.sum()))
        self.power += float(np.square(mix, dtype=np.float64).sum())
        self.unrelated += float(weights.astype(np.float64) ** 2 @ np.square(channels, dtype=np.float64).sum(1))
        return np.stack([mix / np.float32(gain), channels[0]]), gain


@dataclass
class _Run:
    """A stretch of sound without a gap: seconds at which it begins, and where its samples are kept.

    kind: samples per second as it comes, rows, and the factor by which the first, of two, is too soft.
    """

    start: float
    kind: tuple[int, int, float]
    at: int
    taken: int = 0  # samples, as they come
    count: int = 0  # at the wanted rate
    loudest: int = 0  # of the first row

    @property
    def end(self) -> float:
        return self.start + self.taken / self.kind[0]

    def gain(self, row: int) -> float:
        return 1.0 if row else self.kind[2]

    def samples(self, kept: Tensor, row: int) -> Tensor:
        """Of the row, or of the only one: int16 (count,)."""
        rows = self.kind[1]
        return kept[self.at : self.at + self.count * rows].view(-1, rows)[:, min(row, rows - 1)]


def _floats(data: np.ndarray) -> np.ndarray:
    """Samples of any type as float32, full scale at 1. ValueError where they are no numbers."""
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - 128) / 128
    if data.dtype.kind == "i":
        return data.astype(np.float32) / np.float32(2.0 ** (8 * data.itemsize - 1))
    if not np.isfinite(data).all():
        raise ValueError("damaged: its sound holds values that are no numbers")
    return data.astype(np.float32)
