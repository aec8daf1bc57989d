"""Log spectrograms as published, and log-mel."""

from math import floor, log10

import pytest
import torch
from torch import Tensor

from semblance.views.sound import SoundView, mel_filters

PUBLISHED = SoundView()


def tone(hertz: float, amplitude: float = 0.5, samples: int = 48_000) -> Tensor:
    return (amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(samples).double() / 24_000))[None]


def test_two_seconds_are_200_frames_of_257_bins() -> None:
    assert PUBLISHED.plain(torch.zeros(3, 48_000)).shape == (3, 1, 200, 257)
    assert SoundView(fft=512, hop=480).plain(torch.zeros(1, 48_000)).shape == (1, 1, 100, 129)
    assert SoundView(mel=64).plain(torch.zeros(1, 48_000)).shape == (1, 1, 200, 64)
    assert (PUBLISHED.bins, SoundView(fft=512).bins, SoundView(mel=64).bins) == (257, 129, 64)


@pytest.mark.parametrize("k", [2, 3, 40, 101, 500])
def test_a_tone_peaks_in_its_pair_of_bins(k: int) -> None:
    spectrogram = PUBLISHED.plain(tone(k * 24_000 / 1024))[0, 0]
    assert (spectrogram[20:180].argmax(1) == 1 + floor((k - 1) / 2)).all()


def test_twice_the_amplitude_is_six_decibels() -> None:
    noise = torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0)).double() * 0.1
    difference = PUBLISHED.plain(2 * noise) - PUBLISHED.plain(noise)
    torch.testing.assert_close(difference, torch.full_like(difference, 20 * log10(2)), atol=1e-4, rtol=0)


def test_silence_is_100_decibels_down() -> None:
    assert torch.equal(PUBLISHED.plain(torch.zeros(1, 48_000)), torch.full((1, 1, 200, 257), -100.0))


def test_the_floor_is_relative_to_a_clips_own_maximum() -> None:
    loud = PUBLISHED.plain(torch.cat([tone(1000.0, 1.0), tone(1000.0, 0.01)]))
    for spectrogram in loud:
        assert spectrogram.max() - spectrogram.min() == pytest.approx(100, abs=1e-3)


def test_240_samples_later_is_one_frame_later() -> None:
    noise = torch.randn(1, 48_240, generator=torch.Generator().manual_seed(0)).double()
    early, late = PUBLISHED.plain(noise[:, :48_000]), PUBLISHED.plain(noise[:, 240:])
    torch.testing.assert_close(late[:, :, 10:180], early[:, :, 11:181], atol=1e-5, rtol=0)


def test_volume_is_drawn_by_index_and_within_its_range() -> None:
    sounds = (tone(1000.0) * 32767).short().expand(64, -1)
    raw = (torch.empty(0), torch.empty(0), sounds)
    peaks = PUBLISHED.make(raw, torch.arange(64), 5).amax((1, 2, 3))
    level = PUBLISHED.plain(tone(1000.0)).max()
    assert (peaks - level).min() >= 20 * log10(0.9) - 0.01 and (peaks - level).max() <= 20 * log10(1.1) + 0.01
    assert (peaks - level).std() > 0.3
    torch.testing.assert_close(
        PUBLISHED.make([t[3:5] for t in raw], torch.tensor([3, 4]), 5).amax((1, 2, 3)), peaks[3:5]
    )


def test_mel_filters_are_slaneys() -> None:
    """Against librosa where it is installed; else areas, order and the linear part of the scale."""
    filters = mel_filters(64, 1024, 24_000)
    assert filters.shape == (513, 64) and (filters >= 0).all()
    assert (filters.argmax(0).diff() >= 0).all()
    torch.testing.assert_close(filters.sum(0)[20:] * 24_000 / 1024, torch.ones(44), atol=0.06, rtol=0)
    librosa = pytest.importorskip("librosa", reason="librosa, the reference of the mel scale, is not installed")
    torch.testing.assert_close(filters, torch.from_numpy(librosa.filters.mel(sr=24_000, n_fft=1024, n_mels=64)).T)
