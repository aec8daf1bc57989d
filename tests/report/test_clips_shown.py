"""Clips on the page: what they may weigh at worst, and that sounds stay what they are."""

import base64
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import Page, report
from PIL import Image

from semblance.modalities.clip_page import DRAWN, FOUND, HEARD
from semblance.report.clips import ClipPage, Shown, moving, playable
from semblance.report.gallery import Gallery

FPS, RATE = 25, 44_100


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def content(address: str) -> bytes:
    return base64.b64decode(address.partition("base64,")[2])


def test_a_page_of_noise_stays_below_3_mb(tmp_path: Path) -> None:
    """Long, large clips; all rows full; everything with a name."""
    sound = torch.randint(-30_000, 30_000, (10 * RATE,), dtype=torch.int16)
    shown = Shown(moving(noise(10 * FPS, 3, 224, 224), FPS), playable(sound, RATE), "a class", "clips/a.mp4", "other")
    row = (shown, [shown] * FOUND)
    ways = ("video_to_audio", "audio_to_video", "chance")
    found: dict[str, Any] = {way: {"r1": 0.1, "r5": 0.2, "r10": 0.3, "median_rank": 9.5} for way in ways}
    ranks = {way: torch.arange(1.0, 1001) for way in ways[:2]}
    page = ClipPage([row] * HEARD, [row] * DRAWN, ranks, found, {}, "those")
    gallery = Gallery(noise(1000, 3, 112, 112), torch.randn(1000, 8), names=[f"clips/{i}.mp4" for i in range(1000)])
    views = noise(6, 4, 3, 224, 224)
    summary = {"retrieval": found, "test_clips": 1000}
    html = report(tmp_path, clips=page, gallery=gallery, views=views, summary=summary, constants={})
    assert len(html) < 3_000_000
    assert Page(html).count("audio") == (1 + FOUND) * (HEARD + DRAWN)


@pytest.mark.parametrize("rate", [8000, 11_025, 24_000, 44_100])
def test_a_sound_keeps_its_tone_and_is_as_loud_as_it_can_be(rate: int) -> None:
    tone = 500 * np.sin(2 * np.pi * 440 * np.arange(4 * rate) / rate)
    with wave.open(io.BytesIO(content(playable(torch.from_numpy(tone.astype(np.int16)), rate)))) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), np.uint8).astype(float) - 128
        seconds, peak = len(heard) / file.getframerate(), np.abs(np.fft.rfft(heard)).argmax()
    assert 2 <= seconds <= 3.01 and len(heard) <= 24_000  # bytes
    assert peak / seconds == pytest.approx(440, abs=1) and 100 < np.abs(heard).max() < 128


def test_a_moving_picture_lasts_as_long_as_its_clip() -> None:
    frames = torch.arange(40, dtype=torch.uint8).mul(6)[:, None, None, None].expand(40, 3, 48, 48)
    with Image.open(io.BytesIO(content(moving(frames, 16)))) as film:
        lasted, levels = 0, []
        for number in range(film.n_frames):
            film.seek(number)
            film.load()
            lasted += film.info["duration"]
            levels.append(np.array(film.convert("RGB")).mean())
    assert lasted == pytest.approx(2500, abs=30) and (np.diff(levels) > 0).all() and levels[-1] > 200
