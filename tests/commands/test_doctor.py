"""`semblance doctor`, and the verdict where `train` ends: of runs that learnt nothing, whole or not."""

import json
import shlex
import shutil
from contextlib import redirect_stderr
from html import unescape
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
    assert (
        told.startswith(found["headline"])
        and f"semblance train --config {run} --without none" in told
        and "deviation" in told
    )
    assert semblance(monkeypatch, "doctor", str(run), "--json") == 3
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))


def test_advice_is_a_command_that_runs(
    collapsed: tuple[Path, dict, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, summary, _ = collapsed
    config = TrainConfig.load(run / "config.yaml")
    own = Advice(str(run), config.lr, config.epochs, config.max_steps)
    given = [*summary["verdict"]["advice"], own.longer(), *own.other_rates(), own.lower_rate()]
    commands = [shlex.split(told[told.index("semblance train") :])[1:] for told in given]
    assert len(commands) == 5
    for command in commands:
        capsys.readouterr()
        assert semblance(monkeypatch, *command, "--dry-run") == 0
        told = capsys.readouterr().out
        assert all(value in told for flag, value in pairwise(command) if flag in ("--lr", "--epochs")), told
        assert "batch_size: 16" in told and ("without: []" in told) == ("--without" in command)


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
    told = capsys.readouterr().out
    assert "collapsed" in told and "summary.json is not there" in told
    (tmp_path / "summary.json").write_text("{")
    semblance(monkeypatch, "doctor", str(tmp_path))
    assert "summary.json cannot be read" in capsys.readouterr().out


def test_a_summary_from_before_a_run_went_on_is_not_believed(
    collapsed: tuple[Path, dict, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in ("config.yaml", "metrics.jsonl", "summary.json"):
        shutil.copy(collapsed[0] / name, tmp_path / name)
    steps = json.loads((tmp_path / "summary.json").read_text())["steps"]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        for step in range(steps + 10, 3 * steps, 10):
            file.write(json.dumps({"step": step, "epoch": step / 5, "loss": 3.0, "deviation": 0.9}) + "\n")
    semblance(monkeypatch, "doctor", str(tmp_path))
    told = capsys.readouterr().out
    assert f"summary.json is of step {steps}" in told and "It collapsed" not in told
    (tmp_path / "diverged.json").write_text(json.dumps({"step": 3 * steps + 2, "loss": "nan", "weights": []}))
    assert semblance(monkeypatch, "doctor", str(tmp_path)) == 3
    assert f"It diverged at step {3 * steps + 2}" in capsys.readouterr().out
    (tmp_path / "diverged.json").write_text(json.dumps({"step": 2, "loss": "nan", "weights": []}))  # it came by
    semblance(monkeypatch, "doctor", str(tmp_path))
    assert "diverged" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.jsonl", json.dumps({"step": 200, "epoch": 10, "loss": 1, "{x}_in_use": 1, "{a}_embedding_std": 0.1})),
        ("metrics.jsonl", "\n".join(json.dumps({"step": s, "epoch": 1, "{a}_rankme": 20 - s}) for s in (0, 19))),
        ("diverged.json", json.dumps({"step": "x", "loss": 1})),
        ("diverged.json", json.dumps({"step": 10**6, "loss": "nan", "weights": {"a": 1}})),
        ("diverged.json", "[]"),
    ],
)
def test_what_nobody_of_ours_has_written_is_no_traceback(
    name: str, text: str, collapsed: tuple[Path, dict, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("config.yaml", "metrics.jsonl"):
        shutil.copy(collapsed[0] / file, tmp_path / file)
    (tmp_path / name).write_text(text)
    assert semblance(monkeypatch, "doctor", str(tmp_path)) in (3, 4)


def test_a_log_without_a_line_and_a_backbone_alone_are_told(
    collapsed: tuple[Path, dict, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copy(collapsed[0] / "config.yaml", tmp_path / "config.yaml")
    (tmp_path / "metrics.jsonl").write_text('garbage\n{"step": -3}\n')
    assert semblance(monkeypatch, "doctor", str(tmp_path)) == 2
    assert "metrics.jsonl has no line that can be read" in capsys.readouterr().err
    assert semblance(monkeypatch, "doctor", str(collapsed[0] / "backbone.safetensors")) == 2
    assert "name the folder of its run" in " ".join(capsys.readouterr().err.split())


def test_what_diverged_is_told_with_its_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(sb.UserError, match="step"):
        sb.train(data=data, out=tmp_path / "run", max_steps=30, lr=1e12, optimizer="sgd", **QUICK)
    told = capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["verdict"]["state"] == "diverged" and summary["table"][0]["encoder"] == "untrained backbone"
    assert told.startswith(summary["verdict"]["headline"]) and "It diverged at step" in told
    assert summary["verdict"]["headline"] in unescape((tmp_path / "run" / "report.html").read_text())
    assert semblance(monkeypatch, "doctor", str(tmp_path / "run")) == 3
    assert told.splitlines()[0] == capsys.readouterr().out.splitlines()[0]
    with pytest.raises(sb.UserError, match="it diverged before its first. Begin anew with a lower rate"):
        sb.evaluate(tmp_path / "run")


def test_blank_pictures_are_the_cause(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.full((100, 16, 16, 3), 127, dtype=np.uint8))
    summary = sb.train(data=tmp_path / "grey.npy", out=tmp_path / "run", epochs=40, **QUICK | {"batch_size": 32})
    assert summary["verdict"]["state"] == "cannot-tell" and "0% of the pictures" in summary["verdict"]["headline"]


def test_where_there_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert semblance(monkeypatch, "doctor", str(tmp_path / "nothing")) not in (0, 3, 4)
