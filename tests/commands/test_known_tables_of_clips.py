"""Tables of clips that are known beforehand: what is found by what, in which part of the data, and where in a clip."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import telling_clips as told
import torch
from video_fixtures import sound_file

import semblance as sb
from semblance.commands.opened import Opened
from semblance.evaluation.clip_features import backbone_features, embed_clips
from semblance.runs import checkpoint
from semblance.runs.folder import RunFolder

METHOD = f"{Path(__file__).parent}/telling_clips.py:TellingClips"
FAST: dict[str, Any] = {"workers": 0, "precision": "32"}
N = told.NUMBERS
SEEN, HEARD = np.arange(N), np.where(np.arange(N) < 6, np.arange(N), 0)  # of held-out clips
CLASS = np.where(np.arange(N) == 0, 1, np.arange(N) % 2)  # what is seen says nine of them, what is heard seven
# By hand. Of three windows, the one in the middle and the last show SEEN and sound like HEARD, the first five more: an
# embedding has 0.894 and 0.447 there. Sounds 0 and 6 to 9 are alike: videos 1 to 5 find their sound alone, sounds 0 to
# 5 their video.
TRAINED = {"video_to_audio_r1": 0.5, "audio_to_video_r1": 0.6, "class_from_video": 0.9, "class_from_audio": 0.7}
UNTRAINED = TRAINED | {"video_to_audio_r1": 0.0, "audio_to_video_r1": 0.1}  # 3 too high: sound 7, a 0, finds video 7
IN_FLOAT64 = TRAINED | {"video_to_audio_r1": 0.0, "audio_to_video_r1": 0.1}  # 2 too high: sound 8, a 0, finds video 8


def clips(seen: np.ndarray, heard: np.ndarray, before: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (N, 8, 16, 16, 3), of another number in the first half; a second of sound (N, 4000), of another in the
    first 0.3 s."""
    levels = told.grey(np.repeat(np.stack([(seen + before) % N, seen], 1), told.FRAMES, 1)).astype(np.uint8)
    frames = levels[..., None, None, None].repeat(told.SIDE, 2).repeat(told.SIDE, 3).repeat(3, 4)
    time = np.arange(told.RATE) / told.RATE
    numbers = np.where(time < 0.3, (heard + before)[:, None] % N, heard[:, None])
    return frames, 0.5 * np.sin(2 * np.pi * told.pitch(numbers) * time)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "clips.npz"
    ids = np.arange(2 * N) % N
    (x, sound), (x_test, sound_test) = clips(ids, ids, 0), clips(SEEN, HEARD, 5)
    np.savez(
        path, x_train=x, sound_train=sound, y_train=ids % 2, x_test=x_test, sound_test=sound_test, y_test=CLASS,
        rate=told.RATE,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, sb.train(METHOD, data=data, out=out, epochs=3, eval_every=1, **FAST)


def rows(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the networks, but for the last digits."""
    return [{name: round(row[name], 9) for name in TRAINED} for row in table[1:]]


def test_the_rows_are_of_held_out_clips_before_and_after_training(finished: tuple[Path, dict]) -> None:
    run, summary = finished
    assert rows(summary["table"]) == [UNTRAINED, TRAINED]
    assert summary["video_to_audio_r1"] == 0.5 and summary["audio_to_video_r1"] == 0.6
    assert summary["retrieval"]["chance"] == {"r1": 0.1, "r5": 0.5, "r10": 1.0, "median_rank": 5.5}
    assert (summary["train_clips"], summary["test_clips"]) == (2 * N, N)
    assert sb.evaluate(run) == summary["table"]


def test_the_log_is_of_held_out_clips_and_training_goes_on_in_training_mode(finished: tuple[Path, dict]) -> None:
    lines = RunFolder(finished[0]).read_metrics()
    trains = [(line["loss"], line["backbone"], line["audio_backbone"]) for line in lines if "loss" in line]
    assert trains == [(1.0, 1.0, 1.0), (10.0, 1.0, 1.0), (12.0, 1.0, 1.0)]
    watched = {ln["step"]: (ln["video_to_audio_r1"], ln["audio_to_video_r1"]) for ln in lines[1:] if "loss" not in ln}
    assert watched == {4: (0.5, 0.6), 8: (0.5, 0.6)}  # by the window in the middle


def test_networks_are_asked_in_the_precision_of_the_run(data: Path, tmp_path: Path) -> None:
    summary = sb.train(METHOD, data=data, out=tmp_path / "run", **FAST | {"precision": "64", "eval_every": 0})
    assert rows(summary["table"]) == [IN_FLOAT64, IN_FLOAT64]
    assert sb.evaluate(tmp_path / "run") == summary["table"]
    found = sb.embed(tmp_path / "run", data=str(data))["video"]
    assert found.argmax(1).tolist() == [*[(i + told.FLOAT64) % N for i in [*range(N)] * 2], *((SEEN + 2) % N)]


def test_embeddings_are_unit_rows_in_the_precision_of_the_run(finished: tuple[Path, dict]) -> None:
    """bf16, which no run on a CPU has."""
    opened = Opened.of(finished[0])
    method, clips = opened.method(), opened.modality.load(opened.config).held_out
    config = opened.config.model_copy(update={"precision": "bf16"})
    rows = embed_clips(method, clips, config).embeddings
    assert (rows["video"].argmax(1) - told.BF16).remainder(N).tolist() == SEEN.tolist()
    for row in rows.values():
        torch.testing.assert_close(row.norm(dim=1), torch.ones(N))
        assert row.count_nonzero(1).tolist() == [2] * N  # they differ from window to window
    features = backbone_features(method.backbone, method.audio_backbone, clips, config)["video"]
    assert (features.argmax(1) - told.BF16).remainder(N).tolist() == SEEN.tolist()


def test_features_names_and_labels_are_of_the_same_clips(
    finished: tuple[Path, dict], data: Path, tmp_path: Path
) -> None:
    sb.embed(finished[0], data=str(data), out=str(tmp_path / "rows.npz"))
    with np.load(tmp_path / "rows.npz") as file:
        ids = [*range(N)] * 2
        assert file["video"].argmax(1).tolist() == [*ids, *SEEN] and file["audio"].argmax(1).tolist() == [*ids, *HEARD]
        assert file["video"][2 * N].tolist() == pytest.approx([2 / 3, *[0] * 4, 1 / 3, *[0] * 4])  # over three windows
        assert file["label_class"].tolist() == [str(i) for i in [*(i % 2 for i in ids), *CLASS]]
        assert file["names"].tolist() == [str(i) for i in [*range(2 * N), *range(N)]]


def test_sounds_are_standardised_by_those_to_train_on(finished: tuple[Path, dict]) -> None:
    """Every number is heard as often there, so low bins are as loud as high ones; half of the held-out ones are 0."""
    state = checkpoint.load(RunFolder(finished[0]).checkpoint)["method"]
    mean = state["audio_backbone.standardise.mean"][told.FIRST :][:N]
    torch.testing.assert_close(mean, mean.flip(0), rtol=0, atol=0.5)


@pytest.mark.parametrize("precision", ["32", "64"])
def test_sounds_are_heard_as_the_run_computed_by_networks_that_know_them(
    precision: str, data: Path, tmp_path: Path
) -> None:
    """The class is the pitch; before training too, the level of these sounds is known."""
    pytest.importorskip("av", reason="PyAV is not installed")
    sb.train(METHOD, data=data, out=tmp_path / "run", **FAST | {"precision": precision, "eval_every": 0})
    for i in range(12):
        time = np.arange(told.RATE) / told.RATE
        wave = 16_000 * np.sin(2 * np.pi * told.pitch(3 + i % 2) * time)
        sound_file(tmp_path / "sounds" / f"{1 + i // 4}-{i}-A-{i % 2}.wav", wave, told.RATE)
    table = sb.evaluate(tmp_path / "run", data=str(tmp_path / "sounds"))
    assert [line["folds"] for line in table] == [[1.0] * 3] * 2
