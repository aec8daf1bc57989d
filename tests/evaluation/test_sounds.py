"""Folds of labelled sounds, and retrieval: what is counted, and what chance is."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from semblance.data.sources import folders
from semblance.errors import UserError
from semblance.evaluation.labelled_sounds import (
    WINDOWS,
    Recordings,
    fold_accuracies,
    is_sound,
    load_sounds,
    sound_features,
)
from semblance.evaluation.retrieval import chance, ranks, retrieval
from semblance.nets.audio import audio_backbone
from semblance.views.sound import SoundView

VIEW = SoundView(seconds=0.5, rate=4000, fft=128, hop=40)


def tone(path: Path, pitch: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(3000) / 4000
    samples = 5000 * np.sin(2 * np.pi * pitch * time) + np.random.default_rng(seed).normal(0, 500, len(time))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 4000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.mark.parametrize("named", ["esc", "folders"])
def test_sounds_that_differ_are_told_apart_on_every_fold(named: str, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    for i in range(30):
        name = f"{1 + i // 6}-{i}-A-{i % 3}.wav" if named == "esc" else f"{'abc'[i % 3]}/{i}.wav"
        tone(tmp_path / name, 300 * (1 + i % 3), i)
    sounds = load_sounds(folders.find_in_folder(tmp_path, is_sound), VIEW)
    assert sounds.windows.shape == (30, WINDOWS, 2000) and len(sounds.classes) == 3
    if named == "esc":
        assert sounds.folds.bincount().tolist() == [0, 6, 6, 6, 6, 6]
    torch.manual_seed(0)
    features = sound_features(audio_backbone("conv2d-10-w4", VIEW.bins).eval(), sounds, VIEW)
    assert min(fold_accuracies(features, sounds)) > 0.9
    sounds.labels = sounds.labels[torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    assert np.mean(fold_accuracies(features, sounds)) < 0.7


def test_a_fold_is_judged_by_machines_that_know_the_others_alone() -> None:
    """A recording by the mean of its windows, of which the first speaks for the other class. Giants are held out in the
    first fold; beside them, the others would be alike."""
    n = 30
    labels, folds = torch.arange(n) % 2, torch.arange(n) // 6 + 1
    noise = torch.randn(n, WINDOWS, 3, generator=torch.Generator().manual_seed(0))
    features = (2.0 * labels - 1)[:, None, None] + 0.1 * noise
    features[:, 0] *= -1
    sounds = Recordings(torch.zeros(n, WINDOWS, 1), labels, folds, ["a", "b"], [])
    assert fold_accuracies(features, sounds) == [1.0] * 5
    features[:3] *= 1e6
    assert fold_accuracies(features, sounds)[0] == 1.0


def test_sounds_without_classes_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    tone(tmp_path / "a.wav", 300, 0)
    with pytest.raises(UserError, match="0 labelled sounds of 0 classes"):
        load_sounds(folders.find_in_folder(tmp_path, is_sound), VIEW)


def test_retrieval_of_perfect_reversed_and_equal_embeddings() -> None:
    eye = torch.eye(20)
    perfect = retrieval(eye, eye)
    assert perfect["video_to_audio"] == {"r1": 1.0, "r5": 1.0, "r10": 1.0, "median_rank": 1.0}
    assert ranks(eye, -eye).tolist() == [20.0] * 20
    same = retrieval(torch.ones(20, 4) / 2, torch.ones(20, 4) / 2)["audio_to_video"]
    assert same == {"r1": 0.0, "r5": 0.0, "r10": 0.0, "median_rank": 10.5} and chance(20)["median_rank"] == 10.5


def test_retrieval_is_not_symmetric_and_chance_is_what_random_rows_reach() -> None:
    video = torch.tensor([[1.0, 0], [0.9, 0.435889894], [0, 1]])
    audio = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])
    found = retrieval(video, audio)
    assert found["video_to_audio"]["r1"] == pytest.approx(1 / 3) != found["audio_to_video"]["r1"]
    assert ranks(video, audio).tolist() == [1.5, 1.5, 1.0] and found["video_to_audio"]["median_rank"] == 1.5
    near = torch.tensor([[1 - 1e-6, 0.0], [1.0, 0]])  # which is another thing than equal
    assert ranks(torch.tensor([[1.0, 0], [1.0, 0]]), near).tolist() == [2.0, 1.0]
    g = torch.Generator().manual_seed(0)
    rows = [torch.nn.functional.normalize(torch.randn(1000, 16, generator=g), dim=1) for _ in range(2)]
    assert retrieval(*rows)["video_to_audio"]["r10"] == pytest.approx(chance(1000)["r10"], abs=0.01)
