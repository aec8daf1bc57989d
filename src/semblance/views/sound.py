"""Sound as the network hears it: log spectrograms of a whole batch, on its device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from semblance.runtime import random
from semblance.runtime.device import send
from semblance.views.ranges import hold_to_ranges

FLOOR = 1e-10  # of the power, -100 dB
RANGE = 100.0  # dB below a clip's own maximum that are kept

Volume = Annotated[float, Field(ge=0, le=1000)]


@dataclass(frozen=True)
class SoundView:
    """How long a window of sound is, its sampling rate, its spectrogram, and what happens to it.

    The defaults are AVID's: power in adjacent pairs of the bins of a 1024-point transform, 100 frames a second. Its
    configuration says 512, which its code doubles.
    """

    seconds: Annotated[float, Field(ge=0.1, le=3600)] = 2.0
    rate: Annotated[int, Field(ge=100, le=1_000_000)] = 24_000  # samples per second
    fft: Annotated[int, Field(ge=4, le=1 << 16, multiple_of=4)] = 1024
    hop: Annotated[int, Field(ge=1, le=1 << 20)] = 240
    mel: Annotated[int, Field(ge=0, le=128)] = 0  # mel bands, 0 for pairs of bins
    volume: tuple[Volume, Volume] = (0.9, 1.1)  # range of the factor drawn for each clip
    count: Literal[1] = 1

    def __post_init__(self) -> None:
        hold_to_ranges(self, SoundView)

    @property
    def samples(self) -> int:
        return round(self.seconds * self.rate)

    @property
    def bins(self) -> int:
        return self.mel or self.fft // 4 + 1

    def scaled(self, ratio: float) -> "SoundView":
        """The same view: the size of pictures does not matter to sound."""
        return self

    def make(self, raw: Sequence[Tensor], index: Tensor, key: int | Tensor) -> Tensor:
        """Frames, sizes and sounds int16 (N, samples) to spectrograms in dB, float32 (N, 1, time, bins)."""
        low, high = self.volume
        factor = low + random.uniform(random.key(key, "volume"), index) * (high - low)
        return self.plain(raw[2].float() / 32767 * send(factor, raw[2].device))

    def plain(self, wave: Tensor) -> Tensor:
        """Log spectrograms of waveforms in [-1, 1]: float (N, samples) -> (N, 1, samples // hop, bins)."""
        power = spectrum(wave, self.fft, self.hop)
        if self.mel:
            power = power @ send(mel_filters(self.mel, self.fft, self.rate), power.device).to(power.dtype)
        else:
            power = torch.cat([power[..., :1], power[..., 1:].unflatten(-1, (-1, 2)).mean(-1)], -1)
        return decibel(power)[:, None]


def spectrum(wave: Tensor, fft: int, hop: int) -> Tensor:
    """Power of a periodic Hann window's transform, centred, reflected at the ends: (N, L) -> (N, L // hop, fft/2 + 1).

    As librosa's frames (before 0.9), without the last one.
    """
    window = torch.hann_window(fft, device=wave.device, dtype=wave.dtype)
    waves = torch.stft(wave, fft, hop, window=window, center=True, pad_mode="reflect", return_complex=True)
    return waves.abs().square().transpose(1, 2)[:, : wave.shape[1] // hop]


def decibel(power: Tensor) -> Tensor:
    """10 log10 of power (N, ...), floored at -100 dB and 100 dB below each clip's own maximum."""
    level = 10 * power.clamp(min=FLOOR).log10()
    return torch.maximum(level, level.flatten(1).amax(1).view(-1, *[1] * (level.ndim - 1)) - RANGE)


@lru_cache(maxsize=8)
def mel_filters(bands: int, fft: int, rate: int) -> Tensor:
    """Triangles of equal area, evenly spaced on Slaney's mel scale from 0 Hz to rate / 2: float32 (fft/2 + 1, bands).

    librosa.filters.mel(sr=rate, n_fft=fft, n_mels=bands).T
    """
    bend, step = 1000.0, torch.log(torch.tensor(6.4, dtype=torch.float64)) / 27  # linear below, logarithmic above

    def to_hz(mel: Tensor) -> Tensor:
        return torch.where(mel < 15, mel * 200 / 3, bend * torch.exp(step * (mel - 15)))

    top = torch.tensor(rate / 2, dtype=torch.float64)
    top_mel = top * 3 / 200 if rate / 2 < bend else 15 + torch.log(top / bend) / step
    edges = to_hz(torch.linspace(0, 1, bands + 2, dtype=torch.float64) * top_mel)
    frequency = torch.linspace(0, rate / 2, fft // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (frequency - left) / (centre - left), (right - frequency) / (right - centre)
    return (torch.minimum(rise, fall).clamp(min=0) * 2 / (right - left)).float()
