"""How sound is mixed to one channel, and put where its times say: through files where such can be written here."""

import struct
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from video_fixtures import LOUD, RATE, sound_track

from semblance.data.clips import bounds
from semblance.data.clips.media import decode_sound
from semblance.data.clips.sound_track import CANCELLED, GAPS, MUTE, SOFTENED, SoundTrack

av = pytest.importorskip("av", reason="PyAV is not installed")
EITHER = pytest.mark.usefixtures("reader")
TONE = (8000 * np.sin(2 * np.pi * 440 * np.arange(LOUD) / LOUD)).astype(np.int16)


def level(wave: torch.Tensor) -> float:
    """Of a tone, in dB, against TONE."""
    middle = wave[len(wave) // 4 : -len(wave) // 4].double()
    return 10 * np.log10(middle.square().mean().item() / np.square(TONE.astype(float)).mean() + 1e-12)


def only(place: int, count: int) -> np.ndarray:
    channels = np.zeros((count, LOUD), np.int16)
    channels[place] = TONE
    return channels


@EITHER
@pytest.mark.parametrize(
    ("layout", "count", "levels"),
    [
        ("mono", 1, [0]),
        ("stereo", 2, [-6, -6]),
        ("5.1", 6, [-6, -6, -3, None, -9, -9]),  # FL FR FC LFE BL BR
        ("7.1", 8, [-6, -6, -3, None, -9, -9, -9, -9]),
        ("7.1.4", 12, [-6, -6, -3, None, *[-9] * 8]),
        ("quad", 4, [-6, -6, -9, -9]),
        ("3.0", 3, [-6, -6, -3]),
    ],
)
def test_channels_are_mixed_by_their_layout(layout: str, count: int, levels: list[float | None]) -> None:
    """As ITU-R BS.775 has it: dialogue in the centre is 3 dB softer than in both of two channels; LFE is left out."""
    for place, expected in enumerate(levels):
        told: list[str] = []
        heard = decode_sound(sound_track("wav", "pcm_s16le", layout, only(place, count)), LOUD, told)
        if expected is None:
            assert told == [MUTE]
        else:
            assert level(heard) == pytest.approx(expected, abs=0.05) and not told


@EITHER
@pytest.mark.parametrize("count", [3, 6, 8, 12, 16, 70])
def test_channels_of_no_known_layout_are_mixed_to_their_mean(count: int) -> None:
    """A WAV without a mask of its channels, as recorders of many microphones write."""
    pcm = only(count - 1, count).T.astype("<i2").tobytes()
    head = struct.pack(
        "<4sI8sIHHIIHH4sI",
        b"RIFF",
        36 + len(pcm),
        b"WAVEfmt ",
        16,
        1,
        count,
        LOUD,
        LOUD * 2 * count,
        2 * count,
        16,
        b"data",
        len(pcm),
    )
    assert level(decode_sound(head + pcm, LOUD)) == pytest.approx(-20 * np.log10(count), abs=0.1)


@EITHER
@pytest.mark.parametrize(
    ("container", "codec", "layout", "count"),
    [
        ("mp4", "aac", "7.1", 8),
        ("matroska", "libopus", "7.1", 8),
        ("flac", "flac", "7.1", 8),
        ("wv", "wavpack", "hexadecagonal", 16),
    ],
)
def test_eight_channels_and_more_are_read(container: str, codec: str, layout: str, count: int) -> None:
    """Planes of channels beyond the seventh end the process where PyAV takes them out of a frame (14 to 19)."""
    heard = decode_sound(sound_track(container, codec, layout, np.repeat(TONE[None], count, 0)), LOUD)
    assert abs(len(heard) - LOUD) < 4000 and level(heard) > -1


@EITHER
def test_what_adds_up_to_more_than_full_scale_is_softened_not_cut() -> None:
    told: list[str] = []
    heard = decode_sound(sound_track("wav", "pcm_s16le", "5.1", np.repeat(3 * TONE[None], 6, 0)), LOUD, told).double()
    assert told == [SOFTENED] and heard.abs().max() == pytest.approx(32768, abs=40)
    assert torch.fft.rfft(heard).abs()[800:].max() < 0.01 * torch.fft.rfft(heard).abs().max()  # no overtones


@EITHER
def test_channels_in_antiphase_are_told_and_the_first_is_used() -> None:
    told: list[str] = []
    heard = decode_sound(sound_track("matroska", "pcm_s16le", "stereo", np.stack([TONE, -TONE])), LOUD, told)
    assert told == [CANCELLED] and level(heard) == pytest.approx(0, abs=0.05)


class Same:
    """A resampler to the rate at which samples come."""

    def convert(self, rows: np.ndarray, rate: int) -> np.ndarray:
        return rows

    def drain(self) -> np.ndarray:
        return np.empty((1, 0), np.float32)


def pieces(*times: float | None, seconds: float = 0.5, alone: bool = False) -> SimpleNamespace:
    """Pieces of constant loudness 1, 2, 3, ... at the times: the wave in such steps, and what is told."""
    sound = SoundTrack(1000, lambda rate: Same(), 1000, alone)
    for number, time in enumerate(times, 1):
        sound.add(np.full((1, round(1000 * seconds)), number / 100, np.float32), 1000, time, ["FC"])
    return SimpleNamespace(
        wave=(sound.wave().double() / 327.68).round().int().tolist(), told=sound.told, start=sound.start
    )


def test_pieces_lie_at_their_own_times() -> None:
    gap = pieces(0.25, 1.0)
    assert gap.start == 0.25 and gap.told == [GAPS]
    assert gap.wave == [1] * 500 + [0] * 250 + [2] * 500
    overlap = pieces(0.0, 0.3, 0.8)
    assert overlap.wave == [1] * 500 + [2] * 300 + [3] * 500 and not overlap.told
    unknown = pieces(0.0, None, 1.5)
    assert unknown.wave == [1] * 500 + [2] * 500 + [0] * 500 + [3] * 500


def test_jitter_is_not_cut_out() -> None:
    times = [0.5 * i + (-1) ** i * 0.018 for i in range(6)]
    assert pieces(*times).wave == [n for n in range(1, 7) for _ in range(500)]


def test_joined_recordings_of_sound_follow_each_other() -> None:
    assert pieces(0.0, 0.5, 1.0, 0.0, 0.5, alone=True).wave == [n for n in range(1, 6) for _ in range(500)]


def test_sound_of_hours_and_of_no_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 3600 s"):
        pieces(0.0, 4000.0)
    sound = SoundTrack(1000, lambda rate: Same(), 1000)
    with pytest.raises(ValueError, match="no numbers"):
        sound.add(np.array([[0.0, np.nan]], np.float32), 1000, 0.0, ["FC"])
    with pytest.raises(ValueError, match="no sound"):
        SoundTrack(RATE, lambda rate: Same(), 1000).wave()


def test_a_gap_takes_no_more_than_the_file_can_hold() -> None:
    sound = SoundTrack(24_000, lambda rate: Same(), 1000)
    for time in (0.0, 1300.0):
        sound.add(np.ones((1, 24_000), np.float32), 24_000, time, ["FC"])
    with pytest.raises(ValueError, match="its sound is 1501 s long, which take over 1,000 times its bytes"):
        sound.add(np.ones((1, 24_000), np.float32), 24_000, 1500.0, ["FC"])


def test_of_a_thousand_gaps_one_resampler_is_left() -> None:
    alive = weakref.WeakSet()

    def resampler(rate: int) -> Same:
        alive.add(made := Same())
        return made

    sound = SoundTrack(1000, resampler, 1000)
    for i in range(1000):
        sound.add(np.ones((1, 10), np.float32), 1000, 0.1 * i, ["FC"])
        assert len(alive) <= 1
    assert sound.wave().count_nonzero() == 10_000


def test_sound_on_the_disk_is_that_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a gap, an overlap, a change of layout, and more than full scale."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    waves = []
    for most in (bounds._IN_MEMORY, 1000):
        monkeypatch.setattr(bounds, "_IN_MEMORY", most)
        sound, chance = SoundTrack(1000, lambda rate: Same(), 1000), np.random.default_rng(0)
        for time, names in ((0.0, ["FL", "FR"]), (2.5, ["FL", "FR", "FC"]), (3.1, ["FC"]), (3.0, ["FL", "FR"])):
            sound.add(chance.uniform(-1, 1, (len(names), 1000)).astype(np.float32), 1000, time, names)
        waves.append(sound.wave())
        assert sound.told == [GAPS, SOFTENED]
    assert torch.equal(*waves) and len(waves[0]) == 4100


class Late(Same):
    """It holds the last hundred samples back."""

    def __init__(self) -> None:
        self.held = np.empty((1, 0), np.float32)

    def convert(self, rows: np.ndarray, rate: int) -> np.ndarray:
        rows = np.concatenate([self.held, rows], 1)
        self.held = rows[:, -100:]
        return rows[:, :-100]

    def drain(self) -> np.ndarray:
        return self.held


def test_what_a_resampler_holds_is_heard_before_a_gap() -> None:
    waves = []
    for kind in (Same, Late):
        sound = SoundTrack(1000, lambda rate, kind=kind: kind(), 1000)
        for number, time in enumerate((0.0, 0.5, 2.0, 3.0), 1):
            sound.add(np.full((1, 500), number / 10, np.float32), 1000, time, ["FC"])
        waves.append(sound.wave())
    assert torch.equal(*waves)
