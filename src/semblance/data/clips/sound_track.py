"""What media readers share of the sound: mixing its channels to one, and putting it where its times say."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.bounds import LEAST_RATE, Bound
from semblance.data.clips.even_frames import JOINED

JITTER = 0.04  # seconds by which times may be off without anything being missing: a frame at 25 per second
_PIECE = 1 << 16  # samples resampled at once
SILENT = 3  # of 32768: no sample of a silent track is larger
_CANCELLED = 1e-3  # of the power that unrelated channels would have together

GAPS = "The sound has gaps, which are filled with silence"
MUTE = "The sound is silent"
SOFTENED = "The channels of the sound add up to more than full scale, and it is softened to fit"
CANCELLED = "The channels of the sound cancel each other out, and the first one alone is used"

# Lo/Ro of ITU-R BS.775 to one channel, such that stereo is the mean of its two
_FRONT, _CENTRE, _SURROUND, _BACK_CENTRE = 0.5, 0.5**0.5, 0.5**1.5, 0.5
WEIGHTS = {
    "FL": _FRONT, "FR": _FRONT, "FLC": _FRONT, "FRC": _FRONT, "DL": _FRONT, "DR": _FRONT, "FC": _CENTRE,
    "BL": _SURROUND, "BR": _SURROUND, "SL": _SURROUND, "SR": _SURROUND, "BC": _BACK_CENTRE, "LFE": 0.0, "LFE2": 0.0,
}  # fmt: skip


class Resampler(Protocol):
    """Samples of one rate to another, both float32 (rows, n), in pieces."""

    def convert(self, rows: np.ndarray, rate: int) -> np.ndarray: ...

    def drain(self) -> np.ndarray: ...


class SoundTrack:
    """Collects the decoded pieces of a sound, mixed to one channel, each at its own time.

    rate: samples per second of the result. resampler: makes one for that rate. alone: whether no picture goes with it;
    then a recording whose times start again follows the one before. file: bytes of the file, which bound what is made
    of them.
    """

    def __init__(self, rate: int, resampler: Callable[[int], Resampler], file: int, alone: bool = False) -> None:
        self.rate, self.resampler, self.alone = rate, resampler, alone
        self.bound = Bound(file, 2 * rate, "its sound is ")
        self.start = 0.0  # seconds at which it begins
        self.runs: list[_Run] = []
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
        if not self.runs or begins != due or (rate, len(rows), gain) != self.runs[-1].kind:
            if self.runs:
                self.runs[-1].finish()
            self.runs.append(_Run(begins, (rate, len(rows), gain), self.resampler(self.rate)))
        for at in range(0, rows.shape[1], _PIECE):
            self.runs[-1].add(rows[:, at : at + _PIECE])
            self.bound.check(max(self.end - self.start, sum(run.taken / run.kind[0] for run in self.runs)))

    @property
    def end(self) -> float:
        """Seconds at which it ends."""
        return self.runs[-1].end if self.runs else 0.0

    def wave(self) -> Tensor:
        """All of it from its start on: int16 (L,). ValueError where there is none."""
        if self.runs:
            self.runs[-1].finish()
        length = max((self._place(run) + run.samples for run in self.runs), default=0)
        if not length:
            raise ValueError("no sound in it")
        row = 1 if self.power < _CANCELLED * self.unrelated else 0
        if row:
            self.told.append(CANCELLED)
        wave, filled = np.zeros(length, np.int16), 0
        peak = max(run.peak(row) for run in self.runs)
        if peak > 1:
            self.told.append(SOFTENED)
        for run in self.runs:
            at, by = self._place(run), run.gain(row) / peak
            for part in run.parts:
                fresh = part[min(row, len(part) - 1), max(0, filled - at) :]  # what overlaps is there already
                filled = max(filled, at)
                wave[filled : filled + len(fresh)] = fresh if by == 1 else (fresh * by).round()
                at, filled = at + part.shape[1], filled + len(fresh)
        if max(abs(int(wave.min())), int(wave.max())) <= SILENT:
            self.told.append(MUTE)
        return torch.from_numpy(wave)

    def _place(self, run: "_Run") -> int:
        return round((run.start - self.start) * self.rate)

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


class _Run:
    """A stretch of sound without a gap: where it begins, and its samples at the wanted rate, int16 (rows, n).

    kind: samples per second as it comes, rows, and the factor by which the first, of two, is too soft.
    """

    def __init__(self, start: float, kind: tuple[int, int, float], resampler: Resampler) -> None:
        self.start, self.kind, self.resampler = start, kind, resampler
        self.taken = 0  # samples, as they come
        self.parts: list[np.ndarray] = []

    @property
    def end(self) -> float:
        return self.start + self.taken / self.kind[0]

    @property
    def samples(self) -> int:
        return sum(part.shape[1] for part in self.parts)

    def gain(self, row: int) -> float:
        return 1.0 if row else self.kind[2]

    def peak(self, row: int) -> float:
        """The largest of the samples that do not fit; 1 where all do."""
        if self.gain(row) == 1:
            return 1.0
        return max(1.0, *(self.gain(row) * np.abs(part[row].astype(np.float32)).max() / 2**15 for part in self.parts))

    def add(self, rows: np.ndarray) -> None:
        self.taken += rows.shape[1]
        self._keep(self.resampler.convert(rows, self.kind[0]))

    def finish(self) -> None:
        self._keep(self.resampler.drain())

    def _keep(self, rows: np.ndarray) -> None:
        if rows.shape[1]:
            self.parts.append((rows * 2.0**15).round().clip(-(2**15), 2**15 - 1).astype(np.int16))


def _floats(data: np.ndarray) -> np.ndarray:
    """Samples of any type as float32, full scale at 1. ValueError where they are no numbers."""
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - 128) / 128
    if data.dtype.kind == "i":
        return data.astype(np.float32) / np.float32(2.0 ** (8 * data.itemsize - 1))
    if not np.isfinite(data).all():
        raise ValueError("damaged: its sound holds values that are no numbers")
    return data.astype(np.float32)
