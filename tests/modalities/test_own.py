"""A kind of samples, and a method on clips, of somebody else's go through every command without a change elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from video_fixtures import mp4

import semblance as sb
from semblance.errors import UserError

HERE = Path(__file__).parent
WAVES, CLIPS = f"{HERE}/sequences.py:WaveCLR", f"{HERE}/matching.py:Matching"


def semblance(folder: Path, *arguments: str) -> str:
    """What a command prints, run in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "semblance", *arguments], cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_third_modality_is_trained_by_the_command(tmp_path: Path) -> None:
    told = semblance(tmp_path, "train", WAVES, "--hyper.temperature", "0.3")
    run = tmp_path / "runs" / "WaveCLR-sines-1"
    assert "16 held-out waves" in told and "trained encoder" in told
    summary = json.loads((run / "summary.json").read_text())
    assert [line["encoder"] for line in summary["table"]] == ["raw waves", "untrained encoder", "trained encoder"]
    assert (summary["train_waves"], summary["test_waves"], summary["steps"]) == (64, 16, 16)
    assert "temperature: 0.3" in (run / "config.yaml").read_text() and (run / "report.html").exists()
    assert "trained encoder" in semblance(tmp_path, "evaluate", str(run))
    assert "waves per second" not in (report := (run / "report.html").read_text()) and "samples per second" in report
    script = f"import semblance as sb; print(type(sb.load_backbone({str(run)!r})).__name__)"  # in a process of its own
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "Encoder\n"
    assert "WaveCLR" in semblance(tmp_path, "methods", WAVES)


def test_a_third_modality_goes_on_and_is_embedded(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert sb.train(WAVES, out=run, max_steps=5)["steps"] == 5
    assert sb.train(resume=run, max_steps=7)["steps"] == 7
    whole = sb.train(WAVES, out=tmp_path / "whole", max_steps=7)
    assert whole["steps"] == 7 and "pitch_top1" in whole
    vectors = sb.embed(run, data="sines", out=tmp_path / "features.npz")
    with np.load(tmp_path / "features.npz") as file:
        assert np.array_equal(file["features"], vectors) and set(file["label_pitch"]) == {"low", "high"}
    with pytest.raises(UserError, match="--mel: WaveCLR learns from waves alone"):
        sb.train(WAVES, mel=3)


def test_a_method_on_clips_of_somebody_else(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    for i in range(12):
        mp4(tmp_path / "films" / ("low", "high")[i % 2] / f"{i}.mp4", seconds=2.2, seed=i)
    run = tmp_path / "run"
    summary = sb.train(CLIPS, data=tmp_path / "films", out=run, precision="32", workers=0, batch_size=4)
    assert summary["positives"] == {} and set(summary["retrieval"]) == {"video_to_audio", "audio_to_video", "chance"}
    assert "Clips that agree" not in (run / "report.html").read_text()
    assert [line["encoder"] for line in sb.evaluate(run)] == ["raw input", "untrained networks", "trained networks"]
    assert set(sb.embed(run, data=tmp_path / "films")) == {"video", "audio"}


def test_a_class_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'WaveCLR'"):
        sb.train(f"{HERE}/sequences.py:WaveClr")
    with pytest.raises(UserError, match="There is no file .*nowhere.py with a method Mine"):
        sb.train(f"{tmp_path}/nowhere.py:Mine")
    for text, told in (
        ("x = 1\ndef (:", "SyntaxError at line 2"),
        ("\nimport nowhere", "ModuleNotFoundError at line 2"),
    ):
        (tmp_path / "mine.py").write_text(text)
        with pytest.raises(UserError, match=told):
            sb.train(tmp_path / "mine.py:Mine")
    (tmp_path / "mine.py").write_text("class Mine: pass")
    with pytest.raises(UserError, match="mine.py:Mine is no method: give a class derived from semblance.Method"):
        sb.train(f"{tmp_path}/mine.py:Mine")
    with pytest.raises(UserError, match="Unknown method of .*mine.py 'Main'. Did you mean 'Mine'"):
        sb.train(f"{tmp_path}/mine.py:Main")
