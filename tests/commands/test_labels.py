"""--unlabelled, --labels and --split: what data is, of a run and of all that comes after it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import semblance as sb
from semblance.cli import app
from semblance.errors import UserError
from semblance.runs.config import TrainConfig

FAST: dict[str, Any] = {
    "recipe": "quick", "backbone": "resnet10-w8-cifar", "image_size": 8, "batch_size": 8, "epochs": 1, "eval_every": 1,
    "precision": "32", "channels_last": False, "compile": False, "workers": 0,
}  # fmt: skip


def table(path: Path, kinds: str = "xyz") -> Path:
    rows = [f"{i:02}.png,{kinds[i % len(kinds)]},{'mn'[i // 3 % 2]},{int(i % 4 > 0)}\n" for i in range(40)]
    path.write_text("file,letter,other,Split\n" + "".join(rows))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures in two folders, and a table beside the set."""
    root = tmp_path_factory.mktemp("data")
    for i in range(40):
        path = root / "set" / ("left", "right")[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 60, (8, 8, 3)) + 60 * (i % 3)
        Image.fromarray(noise.astype(np.uint8)).save(path)
    table(root / "l.csv")
    return root / "set"


@pytest.fixture(scope="module")
def finished(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, sb.train(data=pictures, labels=pictures.parent / "l.csv", out=out, **FAST)


def test_each_label_is_measured_and_it_is_said_which_one_the_rest_speaks_of(finished: tuple[Path, dict]) -> None:
    out, summary = finished
    for row in summary["table"]:
        assert {"letter_linear_top1", "other_knn_top1", "other_linear_top1"} <= row.keys()
        assert row["knn_top1"] == row["letter_knn_top1"] and row["linear_top1"] == row["letter_linear_top1"]
    assert "The log, the curves and the comparison are of letter." in summary["protocol"]
    assert (summary["train_images"], summary["test_images"]) == (30, 10)
    config = TrainConfig.load(out / "config.yaml")
    assert Path(str(config.labels)).is_absolute() and not config.unlabelled and config.split is None


def test_held_out_pictures_without_a_label_are_counted(
    finished: tuple[Path, dict], tmp_path: Path, pictures: Path
) -> None:
    """Of ten, those that the table gives a letter; what has none counts for nothing."""
    rows = table(tmp_path / "some.csv").read_text().splitlines()
    held_out = [row for row in rows[1:] if row.endswith(",0")]
    kept = [row.replace(row.split(",")[1], "", 1) if row in held_out[:3] else row for row in rows]
    (tmp_path / "some.csv").write_text("\n".join(kept) + "\n")
    summary = sb.train(data=pictures, labels=tmp_path / "some.csv", out=tmp_path / "run", **FAST)
    assert summary["measured"] == {"train": 30, "test": 7}
    assert "7 of the held-out pictures have a label." in summary["protocol"] and len(held_out) == 10
    assert "have a label" not in finished[1]["protocol"]


def test_evaluate_understands_the_data_as_the_run_did(
    finished: tuple[Path, dict], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, summary = finished
    assert sb.evaluate(str(out)) == summary["table"]
    assert "letter of 3 classes (x 14, y 13, z 13), other of 2 classes (m 21, n 19) by l.csv" in capsys.readouterr().err
    other = sb.evaluate(str(out), labels="folders")
    assert (
        "other_knn_top1" not in other[0] and "may have been trained on what is held out now" in capsys.readouterr().err
    )
    shutil.copytree(pictures, tmp_path / "moved")
    by_folder = sb.evaluate(str(out), data=str(tmp_path / "moved"))
    told = capsys.readouterr().err
    assert "--labels of the run: not of the data that is named now." in told and "(left 20, right 20) by folder" in told
    assert len(by_folder) == 3 and "may have been trained" not in told
    without = sb.evaluate(str(out), unlabelled=True)
    assert all("knn_top1" not in row and "view_percentile" in row["label_free"]["pictures"] for row in without)
    told = capsys.readouterr()
    assert "no labels" in told.err and "--labels FILE.csv" in told.err and "other view nearer than" in told.out


def test_a_run_goes_on_as_it_was_understood(
    finished: tuple[Path, dict], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    assert sb.train(resume=run, epochs=2)["train_images"] == 30
    moved = table(tmp_path / "moved.csv")
    assert sb.train(resume=run, epochs=3, labels=moved)["train_images"] == 30
    assert TrainConfig.load(run / "config.yaml").labels == str(moved)
    with pytest.raises(UserError, match="not those"):  # other samples to train on
        sb.train(resume=run, epochs=4, split="0.5")
    capsys.readouterr()
    assert sb.train(config=finished[0], dry_run=True)["config"]["labels"].endswith("l.csv")
    assert sb.train(config=finished[0], dry_run=True, unlabelled=True)["config"]["labels"] is None
    assert sb.train(config=finished[0], dry_run=True, data=pictures / "left", batch_size=4)["config"]["labels"] is None
    began = sb.train("simclr", from_run=finished[0], dry_run=True, batch_size=8, image_size=8)["config"]
    assert began["labels"].endswith("l.csv")


def test_features_carry_the_labels_they_are_told(finished: tuple[Path, dict], pictures: Path, tmp_path: Path) -> None:
    sb.embed(str(finished[0]), data=str(pictures), out=str(tmp_path / "a.npz"))
    sb.embed(str(finished[0]), data=str(pictures), out=str(tmp_path / "b.npz"), labels="folders", split="none")
    of_run, anew = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert set(of_run["label_letter"]) == {*"xyz"} and "label_letter" not in anew
    assert anew["label_class"].tolist() == ["left"] * 20 + ["right"] * 20


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "2 classes (left 20, right 20) by folder, 36 to train on, 4 held out by hash"),
        (["--unlabelled"], "no classes by --unlabelled, 40 to train on, none held out"),
        (["--split", "none"], "2 classes (left 20, right 20) by folder, 40 to train on, none held out"),
        (["--split", "0.5"], "by folder, 21 to train on, 19 held out by hash"),
        (["--split", "train=left,test=right"], "no classes, 20 to train on, 20 held out by --split"),
        (["--labels", "folders"], "2 classes (left 20, right 20) by folder"),
        (["--labels", "{}/l.csv", "--split", "0.5"], "by l.csv, 21 to train on, 19 held out by hash"),
    ],
    ids=["as it is", "unlabelled", "none", "half", "parts", "folders", "table"],
)  # fmt: skip
def test_flags_overrule_folders(
    flags: list[str], told: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = [f"--{name.replace('_', '-')}={value}" for name, value in FAST.items() if not isinstance(value, bool)]
    app(["train", "simclr", "--dry-run", "--no-compile", "--no-channels-last", "--data", str(pictures), *fast]
        + [flag.format(pictures.parent) for flag in flags])  # fmt: skip
    understood = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Understood: ")]
    assert len(understood) == 1 and told in understood[0]
    assert understood[0].endswith("; --unlabelled, --labels FILE.csv or --split ... overrule this.")


def test_what_contradicts_is_told_before_any_data_is_read(pictures: Path) -> None:
    with pytest.raises(UserError) as error:
        sb.train(data=pictures, unlabelled=True, labels="l.csv", split="some")
    assert "--unlabelled and --labels l.csv contradict each other" in str(error.value)
    assert "--split: give none, a share such as 0.2, or folders as train=Training,test=Testing (got 'some')" in str(
        error.value
    )


@pytest.mark.parametrize("method", ["simclr", "avid"])
def test_drawn_sets_say_what_they_are(
    method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("semblance.data.sources.named._SHAPES_TRAIN", 60)
    monkeypatch.setattr("semblance.data.sources.named._SHAPES_TEST", 20)
    if method == "avid":
        pytest.importorskip("av", reason="PyAV is not installed")
        monkeypatch.setattr("semblance.data.sources.bounce.TRAIN", 12)
        monkeypatch.setattr("semblance.data.sources.bounce.TEST", 8)
    sb.train(
        method, dry_run=True, batch_size=8, image_size=None if method == "avid" else 8, precision="32", compile=False
    )
    told = capsys.readouterr().out
    wanted = "(disk, ring, triangle, ...; 8 each) by the set, 60 to train on, 20 held out by the set"
    assert (wanted if method == "simclr" else "by labels.csv, 12 to train on, 8 held out by labels.csv") in told
