"""`semblance doctor`, and the verdict where `train` ends: of runs that learnt nothing, whole or not."""

import json
import shlex
import shutil
from contextlib import redirect_stderr
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run as semblance
from tiny import striped_pictures

import semblance as sb
from semblance.evaluation.advice import Advice
from semblance.runs.config import TrainConfig

QUICK = {"backbone": "resnet10-w8-cifar", "image_size": 16, "batch_size": 16, "workers": 0, "recipe": "quick"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unlabelled pictures."""
    path = tmp_path_factory.mktemp("data") / "stripes.npy"
    np.save(path, striped_pictures(200))
    return path


@pytest.fixture(scope="module")
def collapsed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """VICReg without what keeps its embeddings apart: its folder, its summary, and what was said on the way."""
    out = tmp_path_factory.mktemp("runs") / "run"
    options = QUICK | {"epochs": 14, "without": ["variance", "covariance"]}
    with redirect_stderr(StringIO()) as told:
        summary = sb.train("vicreg", data=data, out=out, **options)
    return out, summary, " ".join(told.getvalue().split())


def test_a_collapse_is_the_first_thing_said(
    collapsed: tuple[Path, dict, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, summary, _ = collapsed
    found = summary["verdict"]
    assert (
        found["state"] == "collapsed" and found["since"] > 0 and "variance and covariance are OFF" in found["headline"]
    )
    assert semblance(monkeypatch, "doctor", str(run)) == 3
    told = capsys.readouterr().out
    assert told.startswith(found["headline"]) and "semblance train vicreg --data" in told and "deviation" in told
    assert semblance(monkeypatch, "doctor", str(run), "--json") == 3
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))


def test_advice_is_a_command_that_runs(
    collapsed: tuple[Path, dict, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, summary, _ = collapsed
    config = TrainConfig.load(run / "config.yaml")
    own = Advice(str(run), "semblance train", config.lr, config.epochs, config.max_steps)
    given = [*summary["verdict"]["advice"], own.longer(), *own.other_rates(), own.lower_rate()]
    commands = [shlex.split(told[told.index("semblance train") :])[1:] for told in given]
    assert len(commands) == 5
    for command in commands:
        capsys.readouterr()
        assert semblance(monkeypatch, *command, "--dry-run") == 0
        told = capsys.readouterr().out
        assert all(value in told for flag, value in pairwise(command) if flag in ("--lr", "--epochs")), told


def test_a_collapse_is_told_while_it_runs(collapsed: tuple[Path, dict, str]) -> None:
    assert "It seems to have collapsed, since step" in collapsed[2] and "semblance doctor" in collapsed[2]


def test_a_run_with_a_guard_off_says_so_at_its_start(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sb.train("swav", data=data, out=tmp_path / "run", without=["sinkhorn"], max_steps=2, **QUICK)
    told = " ".join(capsys.readouterr().err.split())
    assert "sinkhorn is OFF: this run is meant to fail. With it on, codes are balanced over the prototypes." in told


def test_a_run_without_labels_has_a_verdict_and_numbers(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = sb.train(data=data, out=tmp_path / "run", max_steps=3, eval_samples=20, **QUICK)
    assert summary["verdict"]["state"] == "too-short" and summary["verdict"]["headline"] in capsys.readouterr().out
    assert summary["measured"] == {"train": 20, "test": 0}
    assert [row["encoder"] for row in summary["table"]] == ["raw pixels", "untrained backbone", "trained backbone"]
    for row in summary["table"]:
        value, low, high = row["label_free"]["pictures"]["view_percentile"]
        assert 0 <= value <= 1 and low <= value <= high
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    seen = summary["table"][1]["label_free"]["pictures"]["view_percentile"][0]
    assert first["step"] == 0 and first["pictures_view_percentile"] == seen
    assert semblance(monkeypatch, "doctor", str(tmp_path / "run")) == 4


def test_a_folder_with_its_log_alone_is_judged_by_that(
    collapsed: tuple[Path, dict, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("config.yaml", "metrics.jsonl"):
        shutil.copy(collapsed[0] / name, tmp_path / name)
    assert semblance(monkeypatch, "doctor", str(tmp_path)) == 3
    assert "collapsed" in capsys.readouterr().out


def test_what_diverged_is_told_with_its_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(sb.UserError, match="step"):
        sb.train(data=data, out=tmp_path / "run", max_steps=30, lr=1e12, optimizer="sgd", **QUICK)
    assert semblance(monkeypatch, "doctor", str(tmp_path / "run")) == 3
    assert "It diverged at step" in capsys.readouterr().out


def test_blank_pictures_are_the_cause(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.full((100, 16, 16, 3), 127, dtype=np.uint8))
    summary = sb.train(data=tmp_path / "grey.npy", out=tmp_path / "run", epochs=40, **QUICK | {"batch_size": 32})
    assert summary["verdict"]["state"] == "cannot-tell" and "0% of the pictures" in summary["verdict"]["headline"]


def test_where_there_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert semblance(monkeypatch, "doctor", str(tmp_path / "nothing")) not in (0, 3, 4)
