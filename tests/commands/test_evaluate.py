"""What a run is measured on: its own pixels, precision and network, whether it is finished, stopped or asked again."""

import json
import math
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import semblance as sb
from semblance.cli import app
from semblance.commands import finish
from semblance.commands import train as train_command
from semblance.commands.doctor import doctor
from semblance.commands.report import report
from semblance.errors import UserError
from semblance.evaluation import batch_norms
from semblance.evaluation.batch_norms import batch_norms_of_the_data
from semblance.modalities import pictures
from semblance.runs import checkpoint
from semblance.runs.folder import RunFolder

FAST: dict[str, Any] = {
    "recipe": "quick", "backbone": "resnet10-w8-cifar", "batch_size": 8, "epochs": 1, "eval_every": 0,
    "precision": "32", "channels_last": False, "compile": False, "workers": 0,
}  # fmt: skip
KINDS, TRAIN, TEST = 3, 14, 6
EACH = TRAIN + TEST


def texture(kind: int, number: int, height: int = 56, width: int = 70) -> np.ndarray:
    """uint8 (height, width, 3): stripes of a kind's direction and period, somewhere, under noise."""
    r = np.random.default_rng((kind, number))
    y, x = np.mgrid[:height, :width]
    wave = np.sin((x * np.cos(kind) + y * np.sin(kind)) / (1.5 + kind) + 6.3 * r.random())
    return (128 + 30 * wave[..., None] + r.normal(0, 30, (height, width, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are neither square nor of the size of the views, in class folders of a train and a test part."""
    root = tmp_path_factory.mktemp("data") / "textures"
    for kind in range(KINDS):
        for i in range(EACH):
            path = root / ("train" if i < TRAIN else "test") / f"kind {kind}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(texture(kind, i)).save(path)
    return root


@pytest.fixture(scope="module")
def finished(textures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A run of DINO, which has two networks, that no test changes, and its summary."""
    out = tmp_path_factory.mktemp("runs") / "dino"
    return out, sb.train("dino", data=textures, out=out, image_size=16, **FAST)


def stopped(out: Path, textures: Path, monkeypatch: pytest.MonkeyPatch, at: int = 2, **options: Any) -> Path:
    """A run that was stopped by Ctrl-C after some steps."""
    from contextlib import contextmanager

    seen = iter(range(100))

    @contextmanager
    def interruptible() -> Any:
        yield lambda: next(seen) == at - 1

    with monkeypatch.context() as patch:
        patch.setattr("semblance.engine.loop.interruptible", interruptible)
        with pytest.raises(KeyboardInterrupt):
            sb.train(data=textures, out=out, **FAST | options)
    assert checkpoint.load(RunFolder(out).checkpoint)["step"] == at
    return out


RARER = [pytest.param(kind, marks=pytest.mark.long) for kind in ("tar", "disk", "64 channels last")]


@pytest.mark.parametrize("kind", ["folder", "npz", "bf16", "64 px", *RARER])
def test_evaluate_repeats_the_table_of_the_run(
    kind: str, textures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, options = str(textures), dict(FAST)
    if kind == "tar":
        data = str(tmp_path / "textures.tar")
        with tarfile.open(data, "w") as file:
            file.add(textures, "textures")
    if kind == "npz":
        pictures = [texture(k, i) for k in range(KINDS) for i in range(EACH)]
        np.savez(tmp_path / "x.npz", x=np.stack(pictures), y=np.arange(KINDS).repeat(EACH))
        data = str(tmp_path / "x.npz")
    if kind == "disk":
        monkeypatch.setattr("semblance.runtime.memory._available", lambda: 0)
    if kind == "bf16":
        options["precision"] = "bf16"
    if kind == "64 channels last":
        options |= {"precision": "64", "channels_last": True}
    if kind == "64 px":
        options |= {"image_size": 64, "max_steps": 1}
    summary = sb.train(out=tmp_path / "run", **options | {"data": data})
    assert sb.evaluate(tmp_path / "run") == summary["table"] and len(summary["table"]) == 3


def accuracies(rows: list[dict]) -> list[dict]:
    """Without numbers of views, which a backbone by itself does not know."""
    return [{name: value for name, value in row.items() if name != "label_free"} for row in rows]


def test_a_backbone_by_itself_sees_the_same_pixels(finished: tuple[Path, dict], textures: Path, tmp_path: Path) -> None:
    run, summary = finished
    raw, _, trained = summary["table"]
    alone = shutil.copy(run / "backbone.safetensors", tmp_path / "mine.safetensors")
    assert accuracies(sb.evaluate(alone, data=str(textures))) == accuracies([raw, trained])
    with pytest.raises(UserError, match="lies in no run.*--data"):
        sb.evaluate(alone)
    with pytest.raises(UserError, match="is the teacher alone"):
        sb.evaluate(alone, data=str(textures), network="student")


def test_the_network_that_the_authors_evaluate_is_measured_and_handed_out(
    finished: tuple[Path, dict], textures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, summary = finished
    weights = checkpoint.load(RunFolder(run).checkpoint)["method"]
    teacher, student = (
        {n[len(p) :]: v for n, v in weights.items() if n.startswith(p)} for p in ("target.0.", "backbone.")
    )
    with safe_open(run / "backbone.safetensors", "pt") as file:
        assert all(value.equal(teacher[name]) for name, value in load_file(run / "backbone.safetensors").items())
        assert json.loads(file.metadata()["semblance"])["network"] == summary["network"] == "teacher"
    assert any(not teacher[name].equal(student[name]) for name in teacher)
    vectors = sb.embed(run, data=str(textures))
    assert vectors.equal(sb.embed(run))  # of the run's own data
    assert vectors.equal(sb.embed(run, data=str(textures), network="teacher"))
    assert not vectors.equal(sb.embed(run, data=str(textures), network="student"))
    app(["evaluate", str(run), "--network", "student", "--knn-k", "1"])
    assert "the 1 nearest of" in capsys.readouterr().out
    with pytest.raises(UserError, match="student or teacher"):
        sb.evaluate(run, network="both")


def test_a_method_without_a_slow_copy_has_no_teacher(textures: Path, tmp_path: Path) -> None:
    summary = sb.train(data=textures, out=tmp_path / "run", max_steps=1, **FAST)
    assert summary["network"] == "student"
    with pytest.raises(UserError, match="SimCLR has no teacher"):
        sb.evaluate(tmp_path / "run", network="teacher")


def test_a_stopped_run_is_measured_embedded_and_drawn(
    textures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(tmp_path / "run", textures, monkeypatch)
    rows = sb.evaluate(run)
    assert [row["encoder"] for row in rows] == ["raw pixels", "untrained backbone", "trained backbone"]
    assert "Stopped after step 2 of 5: measured as it stands there." in capsys.readouterr().err
    assert len(sb.embed(run, data=str(textures))) == KINDS * EACH
    app(["report", str(run)])
    page = (run / "report.html").read_text()
    assert "Stopped after step 2 of 5" in page and "untrained backbone" in page
    assert json.loads((run / "summary.json").read_text())["verdict"]["headline"] == doctor(run).headline
    whole = sb.train(resume=run)  # is not taken for finished
    assert whole["steps"] == 5 and sb.evaluate(run) == whole["table"]
    (run / "report.html").unlink()
    app(["report", str(run)])
    assert "Stopped" not in (run / "report.html").read_text()


def test_a_run_without_a_checkpoint_says_so(textures: Path, tmp_path: Path, finished: tuple[Path, dict]) -> None:
    run = Path(shutil.copytree(finished[0], tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    assert sb.evaluate(run)[2] == finished[1]["table"][2]  # by its backbone
    with pytest.raises(UserError, match="no checkpoint to draw a report from"):
        app(["report", str(run)])
    (run / "backbone.safetensors").unlink()
    with pytest.raises(UserError, match="no checkpoint to measure"):
        sb.evaluate(run)


@pytest.mark.parametrize("lost", ["all of the network", "one tensor", "shape"])
def test_weights_are_loaded_whole_or_not_at_all(lost: str, finished: tuple[Path, dict], tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished[0], tmp_path / "run"))
    state = checkpoint.load(RunFolder(run).checkpoint)
    names = [name for name in state["method"] if name.startswith("target.0.")]
    for name in names if lost == "all of the network" else names[:1]:
        if lost == "shape":
            state["method"][name] = state["method"][name][:1]
        else:
            del state["method"][name]
    checkpoint.save(RunFolder(run).checkpoint, state)
    with pytest.raises(UserError, match="does not hold the networks of its config.yaml"):
        sb.evaluate(run)


@pytest.mark.parametrize("method", ["simclr", "deepcluster"])
@pytest.mark.parametrize("kind", ["one channel is constant", "all alike"])
def test_pictures_without_variance_are_measured(kind: str, method: str, tmp_path: Path) -> None:
    pictures = np.stack([texture(k, i, 12, 12) for k in range(KINDS) for i in range(EACH)])
    pictures[..., 0] = 77
    if kind == "all alike":
        pictures[:] = pictures[0]
    np.savez(tmp_path / "x.npz", x=pictures, y=np.arange(KINDS).repeat(EACH))
    clusters = {"hyper": {"clusters": 3}} if method == "deepcluster" else {}
    summary = sb.train(method, data=tmp_path / "x.npz", out=tmp_path / "run", image_size=12, **FAST | clusters)
    assert all(0 <= row["linear_top1"] <= 1 for row in summary["table"]) and len(summary["table"]) == 3
    assert (tmp_path / "run" / "report.html").exists()


def test_knn_is_as_it_is_asked_for(finished: tuple[Path, dict], textures: Path, tmp_path: Path) -> None:
    run, summary = finished
    assert "kNN: the 4 nearest of" in summary["protocol"] and "temperature 0.1 " in summary["protocol"]
    accuracies = {
        sb.evaluate(run, knn_k=k, knn_temperature=t)[0]["knn_top1"] for k, t in ((1, 0.1), (40, 1.0), (40, 0.01))
    }
    assert len(accuracies) > 1
    with pytest.raises(UserError, match="(?s)--knn-k: .*--knn-temperature: "):
        sb.evaluate(run, knn_k=0, knn_temperature=-1.0)
    own = sb.train(data=textures, out=tmp_path / "run", max_steps=1, knn_k=1, knn_temperature=0.5, **FAST)
    assert "kNN: the 1 nearest" in own["protocol"] and "temperature 0.5 " in own["protocol"]
    assert sb.evaluate(tmp_path / "run") == own["table"]


def test_a_sample_is_measured_and_counted(
    textures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], finished: tuple[Path, dict]
) -> None:
    own = sb.train(data=textures, out=tmp_path / "run", eval_samples=20, **FAST | {"eval_every": 1, "epochs": 2})
    held_out = finished[1]["test_images"]
    assert own["measured"] == {"train": 20, "test": 4} and own["test_images"] == held_out == 18
    told = f"4 of {held_out} held-out pictures, by 20 of {KINDS * TRAIN} to train on"
    assert told in " ".join(capsys.readouterr().out.split()) and "of 20 training pictures" in own["protocol"]
    assert all(row["linear_top1"] * 4 == int(row["linear_top1"] * 4) for row in own["table"])
    assert sb.evaluate(tmp_path / "run") == own["table"]
    assert told in " ".join(capsys.readouterr().out.split())
    sb.evaluate(tmp_path / "run", eval_samples=0)
    assert f"{held_out} held-out pictures" in capsys.readouterr().out


def test_untrained_networks_know_the_data_and_training_begins_as_it_did(
    textures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without learning ends where the row of untrained networks stands; without statistics, it does not."""
    seen = []

    def first_row(method: torch.nn.Module, *args: Any, **options: Any) -> dict:
        before = {name: value.clone() for name, value in method.state_dict().items()}
        row = real(method, *args, **options)
        seen.append((before, {name: value.clone() for name, value in method.state_dict().items()}))
        assert method.training and all(m.momentum == 0.1 for m in method.modules() if hasattr(m, "running_mean"))
        return row

    real = train_command.first_row
    monkeypatch.setattr(train_command, "first_row", first_row)
    summary = sb.train(data=textures, out=tmp_path / "run", lr=0.0, **FAST | {"epochs": 12})
    ((before, after),) = seen
    assert all(value.equal(after[name]) for name, value in before.items())
    _, untrained, trained = summary["table"]
    assert abs(untrained["knn_top1"] - trained["knn_top1"]) <= 2 / summary["test_images"]


@pytest.mark.parametrize(("network", "precision"), [("backbone", "32"), ("encoder", "32"), ("backbone", "bf16")])
def test_batch_norms_are_given_the_mean_over_views(network: str, precision: str, finished: tuple[Path, dict]) -> None:
    """Those of the student, and of the teacher, which is what is measured of DINO; never rounded to bf16."""
    from semblance.commands.opened import Opened
    from semblance.modalities.build import at_the_start

    opened = Opened.of(finished[0])
    source = opened.modality.load(opened.config)
    method = at_the_start(opened.config, opened.modality, source)
    norm = getattr(method, network).bn1
    seen = []
    norm.register_forward_hook(lambda module, args, _: seen.append(args[0].detach()) if module.training else None)
    config = opened.config.model_copy(update={"precision": precision})
    with batch_norms_of_the_data(method, source.train, config):
        assert {x.dtype for x in seen} == {torch.float32}
        expected = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
        torch.testing.assert_close(norm.running_mean, expected)
        assert not method.training and len(seen) >= len(source.train) // config.batch_size
    assert norm.running_mean.eq(0).all() and norm.running_var.eq(1).all()


def test_batch_norms_are_told_of_the_whole_set(finished: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    """By samples from all over it, where it has more than they are shown."""
    from semblance.commands.opened import Opened

    monkeypatch.setattr(batch_norms, "BATCHES", 2)
    opened = Opened.of(finished[0])
    train, seen = opened.modality.load(opened.config).train, []
    read = train.read
    monkeypatch.setattr(type(train), "read", lambda self, index, key=None: seen.append(index) or read(index, key))
    with batch_norms_of_the_data(opened.method(), train, opened.config):
        shown = torch.cat(seen)
        assert len(shown) == len(shown.unique()) == 16 < len(train)
        assert train.attributes["class"].values[shown].unique().tolist() == list(range(KINDS))


def test_a_finished_run_is_measured_anew_where_that_is_asked_for(
    finished: tuple[Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished[0], tmp_path / "run"))
    assert sb.train(resume=run) == json.loads((run / "summary.json").read_text())
    assert "is finished" in capsys.readouterr().err
    again = sb.train(resume=run, knn_k=1000)
    of = KINDS * TRAIN
    assert f"the {of} nearest of {of} training" in again["protocol"] and again["steps"] == finished[1]["steps"]
    assert sb.evaluate(run) == again["table"]
    rows = sb.evaluate(run / "backbone.safetensors"), again["table"]
    assert accuracies(rows[0])[-1] == accuracies(rows[1])[-1]  # which says how kNN voted


def test_the_report_of_a_run_from_before_there_were_numbers_without_labels_measures_and_keeps_them(
    finished: tuple[Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished[0], run := tmp_path / "run")
    old = json.loads((run / "summary.json").read_text())
    for row in old["table"]:
        row.pop("label_free", None)
    (run / "summary.json").write_text(json.dumps(old))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    plain = [{name: value for name, value in line.items() if not name.startswith("pictures_")} for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in plain))
    assert any("no numbers that need no labels" in missing for missing in doctor(run).missing)
    report(str(run))
    told = capsys.readouterr().out
    found = json.loads((run / "summary.json").read_text())
    assert all("label_free" in row for row in found["table"]) and doctor(run).headline in told
    assert not doctor(run).missing and found["verdict"]["headline"] == doctor(run).headline


def test_the_report_is_of_the_runs_own_numbers(textures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level of its loss, its last accuracy and label-free numbers, and held-out pictures of all classes by their
    names, where only a few are shown."""
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(finish, "write_report", lambda path, **shown: drawn.update(shown))
    monkeypatch.setattr(pictures, "SHOWN", 6)
    summary = sb.train("simclr", data=textures, out=tmp_path / "run", **FAST | {"max_steps": 1})
    assert list(drawn["constants"].values()) == [pytest.approx(2 * math.log(2 * FAST["batch_size"] - 1))]
    trained, last = summary["table"][-1], drawn["metrics"][-1]
    assert (last["step"], last["knn_top1"]) == (1, trained["knn_top1"])
    assert last["pictures_view_percentile"] == trained["label_free"]["pictures"]["view_percentile"][0]
    assert all(Path(textures / name).is_file() for name in drawn["gallery"].names) and drawn["groups"] is None
    assert len(drawn["gallery"].labels) <= 6 and drawn["gallery"].labels.unique().tolist() == list(range(KINDS))


def test_rows_that_are_not_finite_are_counted(
    finished: tuple[Path, dict], textures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though one number of theirs alone is not."""
    run = Path(shutil.copytree(finished[0], tmp_path / "run"))
    state = checkpoint.load(RunFolder(run).checkpoint)
    state["method"]["target.0.layer4.0.bn2.weight"][0] = 3e38
    checkpoint.save(RunFolder(run).checkpoint, state)
    rows = sb.embed(run, data=str(textures))
    lost = int((~rows.isfinite()).any(1).sum())
    assert lost > 0 and rows[:, 1:].isfinite().all()
    assert f"{lost} of {KINDS * EACH} rows of features hold numbers that are not finite." in capsys.readouterr().err


def test_a_damaged_summary_is_measured_anew(finished: tuple[Path, dict], tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished[0], tmp_path / "run"))
    (run / "summary.json").write_text(json.dumps({"steps": finished[1]["steps"]}))
    app(["report", str(run)])
    assert "untrained backbone" in (run / "report.html").read_text()


def test_what_cannot_be_is_refused_and_what_is_given_is_used(finished: tuple[Path, dict], tmp_path: Path) -> None:
    run, _ = finished
    for devices in (0, -1):
        with pytest.raises(UserError, match="--devices"):
            sb.evaluate(run, devices=devices)
    with pytest.raises(UserError, match=f"mnist was not found in {tmp_path}"):
        sb.evaluate(run, data="mnist", data_root=str(tmp_path))
    with pytest.raises(UserError, match=f"semblance train --out {tmp_path}/nowhere"):
        sb.evaluate(tmp_path / "nowhere" / "backbone.safetensors")


def test_waits_are_told_where_no_wheel_can_turn(
    finished: tuple[Path, dict], capsys: pytest.CaptureFixture[str]
) -> None:
    sb.evaluate(finished[0])
    told = capsys.readouterr().err
    assert "Measuring the untrained backbone ..." in told and "Measuring the trained backbone ..." in told
