"""Whole runs, from flags to the folder they leave."""

import html
import json
import shutil
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from ranks import processes

import semblance as sb
from semblance import systems
from semblance.engine import loop
from semblance.errors import UserError
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder

FAST = {
    "recipe": "quick", "backbone": "resnet10-w8-cifar", "batch_size": 8, "epochs": 1, "hyper": {"hidden": 16},
    "precision": "32", "channels_last": False, "compile": False, "workers": 0,
}  # fmt: skip


def write_pictures(root: Path, count: int = 26, sides: tuple[int, ...] = (50, 60, 70)) -> Path:
    """Pictures of several sizes in two class folders, one file of them broken."""
    for i in range(count):
        path = root / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = sides[i % len(sides)], sides[(i + 1) % len(sides)]
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    (root / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return root


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that no test changes."""
    return write_pictures(tmp_path_factory.mktemp("data") / "pets")


@pytest.fixture(scope="module")
def finished(pets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A run on them, that no test changes, and its summary."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, sb.train(data=pets, out=out, **FAST)


@pytest.fixture
def run(finished: tuple[Path, dict], tmp_path: Path) -> Path:
    """A copy of it for a test of its own."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def weights(run: Path) -> dict:
    return checkpoint.load(RunFolder(run).checkpoint)["method"]


def test_a_run_leaves_what_the_readme_says(finished: tuple[Path, dict]) -> None:
    out, summary = finished
    assert {p.name for p in out.iterdir()} == {
        "config.yaml", "metrics.jsonl", "summary.json", "checkpoints", "backbone.safetensors", "report.html"
    }  # fmt: skip
    assert json.loads((out / "summary.json").read_text())["table"] == summary["table"]
    assert [line["encoder"] for line in summary["table"]] == ["raw pixels", "untrained backbone", "trained backbone"]
    assert [Path(name).name for name, _ in summary["skipped"]] == ["broken.png"]
    assert summary["train_images"] + summary["test_images"] == 26
    model = sb.load_backbone(out)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, model.num_features)


def test_the_lines_of_the_report_give_the_features_of_the_run(
    finished: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word for word, on a picture of the size that the network sees."""
    folder = write_pictures(tmp_path / "tiny", sides=(32,))
    (folder / "cat" / "broken.png").unlink()
    sb.embed(finished[0], data=str(folder), out=str(tmp_path / "rows.npz"))
    shutil.copy(folder / "dog" / "7.png", tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    here = executed(finished[0])
    with np.load(tmp_path / "rows.npz") as rows:
        row = rows["features"][[str(name) for name in rows["names"]].index("dog/7.png")]
    assert here["features"].shape == (1, len(row)) and np.allclose(here["features"].detach()[0], row, atol=1e-4)


def executed(run: Path) -> dict:
    """What the lines of Python on the page of a run leave."""
    page = (run / "report.html").read_text()
    lines = html.unescape(page[page.index("<code>") + len("<code>") : page.index("</code>")])
    here: dict = {}
    exec(lines, here)
    return here


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_resumed_run_reads_the_same_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool) -> None:
    """Pictures that are neither square nor alike, whose canvas depends on what they are loaded for."""
    if on_disk:
        monkeypatch.setattr("semblance.runtime.memory._available", lambda: 0)
    pictures = str(write_pictures(tmp_path / "pets"))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    sb.train(data=pictures, out=str(whole), **FAST | {"epochs": 3})
    with monkeypatch.context() as patch:
        steps = iter(range(100))
        patch.setattr(loop, "interruptible", lambda: _interrupting(lambda: next(steps) == 3))
        with pytest.raises(KeyboardInterrupt):
            sb.train(data=pictures, out=str(stopped), **FAST | {"epochs": 3})
    assert checkpoint.load(RunFolder(stopped).checkpoint)["step"] == 4
    sb.train(resume=True, out=str(stopped), workers=2)
    torch.testing.assert_close(weights(stopped), weights(whole), rtol=0, atol=0)


def test_memory_does_not_change_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same samples in the same order from memory and from disk, unreadable files among them."""
    pictures = str(write_pictures(tmp_path / "pets"))
    memory = sb.train(data=pictures, out=str(tmp_path / "memory"), **FAST)
    monkeypatch.setattr("semblance.runtime.memory._available", lambda: 0)
    disk = sb.train(data=pictures, out=str(tmp_path / "disk"), **FAST | {"workers": 2})
    torch.testing.assert_close(weights(tmp_path / "disk"), weights(tmp_path / "memory"), rtol=0, atol=0)
    assert memory["table"] == disk["table"] and memory["skipped"] == disk["skipped"]


class _interrupting:
    def __init__(self, interrupted) -> None:
        self.interrupted = interrupted

    def __enter__(self):
        return self.interrupted

    def __exit__(self, *error: object) -> None:
        pass


def test_a_crash_before_the_first_checkpoint_loses_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = str(write_pictures(tmp_path / "pets"))
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"
    sb.train(data=pictures, out=str(whole), **FAST)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", lambda path, state: sys.exit("killed"))
        with pytest.raises(SystemExit):
            sb.train(data=pictures, out=str(crashed), **FAST)
    sb.train(resume=True, out=str(crashed))
    torch.testing.assert_close(weights(crashed), weights(whole), rtol=0, atol=0)


@pytest.mark.parametrize("method", [m for m in sb.methods() if systems.get(m).of_pictures()])
def test_every_recipe_runs(method: str, tmp_path: Path) -> None:
    """The published recipes too, on small views, and in double precision."""
    pictures = str(write_pictures(tmp_path / "pets"))
    small = ("hidden", "dim", "prototypes", "clusters", "components", "outputs")
    hyper = {name: 16 for name in small if name in _hyper(method)}
    for recipe, precision in (("imagenet", "64"), ("small", "bf16")):
        flags = FAST | {"recipe": recipe, "precision": precision, "hyper": hyper, "image_size": 32, "max_steps": 2}
        summary = sb.train(method, data=pictures, out=str(tmp_path / recipe), **flags)
        assert summary["steps"] == 2


def _hyper(method: str) -> list[str]:
    from inspect import signature

    return list(signature(systems.get(method)).parameters)


def test_an_error_in_a_step_ends_the_workers_too(pets: Path, tmp_path: Path) -> None:
    """Pictures are read from the disk by processes that leave signals to the one that trains."""
    script = tmp_path / "script.py"
    flags = FAST | {"data": str(pets), "out": str(tmp_path / "run"), "workers": 2, "max_steps": 5}
    script.write_text(
        "import semblance as sb\nfrom semblance import systems\nfrom semblance.runtime import memory\n"
        "memory._available = lambda: 0\n"
        "def broken(*arguments): raise RuntimeError('broken')\n"
        f"systems.get('simclr').objective = broken\nsb.train(**{flags!r})\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "\nRuntimeError: broken\n" in ended.stderr


def test_two_devices_leave_one_run(tmp_path: Path) -> None:
    """A script that trains on two devices goes on in both processes with the same summary."""
    pictures = write_pictures(tmp_path / "pets")
    flags = FAST | {"data": str(pictures), "out": str(tmp_path / "run"), "devices": 2}
    script = tmp_path / "script.py"
    script.write_text(
        "import semblance as sb, torch, os, json, pathlib\n"
        "torch.set_num_threads(1)\n"
        f"summary = sb.train(**{flags!r})\n"
        "rank = os.environ.get('LOCAL_RANK', '0')\n"
        f"pathlib.Path({str(tmp_path)!r}, f'rank-{{rank}}.json').write_text(json.dumps(summary['table']))\n"
    )
    subprocess.run([sys.executable, script], check=True, timeout=240, capture_output=True)
    tables = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert tables[0] == tables[1] and len(tables[0]) == 3
    alone = sb.train(**flags | {"devices": 1, "out": str(tmp_path / "alone")})
    assert alone["steps"] == json.loads((tmp_path / "run" / "summary.json").read_text())["steps"]
    for name, weight in weights(tmp_path / "alone").items():
        torch.testing.assert_close(weights(tmp_path / "run")[name], weight, rtol=1e-3, atol=1e-4)


def test_problems_are_told_before_the_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="(?s)guard of SimCLR.*optimizer.*'sgd'"):
        sb.train(data=str(tmp_path / "nowhere"), without=["negative"], optimizer="sdg")


def test_fewer_pictures_than_a_batch_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fewer than a batch of 64.*--batch-size"):
        sb.train(data=str(write_pictures(tmp_path / "pets")), **FAST | {"batch_size": 64})


def test_unreadable_pictures_do_not_fill_a_batch(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pets", count=5) / "cat"
    for i in range(20):
        (pictures / f"broken-{i}.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="fewer than a batch of 8"):
        sb.train(data=str(pictures), **FAST)


def test_ctrl_c_at_any_moment_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where nothing listens for it: in the table at the end, here."""

    def interrupt(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    monkeypatch.setattr("semblance.commands.train.finish", interrupt)
    monkeypatch.setattr(sys, "argv", ["semblance"])
    with pytest.raises(KeyboardInterrupt, match="Stopped"):
        sb.train(data=str(write_pictures(tmp_path / "pets")), out=str(out), **FAST)
    assert capsys.readouterr().out.strip() == f"semblance train --resume --out {out}"
    monkeypatch.undo()
    assert sb.train(resume=True, out=str(out))["steps"] > 0


def test_resume_refuses_other_pictures(tmp_path: Path) -> None:
    pictures, out = write_pictures(tmp_path / "pets"), str(tmp_path / "run")
    sb.train(data=str(pictures), out=out, **FAST)
    first = (pictures / "cat" / "2.png").read_bytes()
    for change in (
        lambda: (pictures / "cat" / "2.png").rename(pictures / "cat" / "another.png"),
        lambda: (
            (pictures / "cat" / "another.png")
            .rename(pictures / "cat" / "2.png")
            .write_bytes((pictures / "dog" / "1.png").read_bytes())
        ),
    ):
        change()
        before = Path(out, "config.yaml").read_text()
        with pytest.raises(UserError, match="not those that the run"):
            sb.train(resume=True, out=out, epochs=2)
        assert Path(out, "config.yaml").read_text() == before  # what is refused changes nothing
    (pictures / "cat" / "2.png").write_bytes(first)
    assert sb.train(resume=True, out=out, epochs=2)["table"]


def test_a_log_that_a_crash_spoilt_does_not_stop_a_resume(run: Path) -> None:
    lines = RunFolder(run).read_metrics()
    with (run / "metrics.jsonl").open("ab") as log:
        log.write(b'\0\0\0\n7\n{"step": "x"}\n{"step": null}\n\xff\xfe{')
    assert RunFolder(run).read_metrics() == lines
    assert sb.train(resume=True, out=run, epochs=2)["steps"] == 6


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"seed": 2**64}, "--seed"),
        ({"warmup_epochs": float("inf")}, "--warmup-epochs"),
        ({"lr": float("inf")}, "--lr"),
        ({"micro_batch": 1}, "--micro-batch"),
        ({"image_size": 1}, "--image-size"),
    ],
    ids=str,
)
def test_flags_are_held_to_their_ranges(flags: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        sb.train(**flags)


def test_a_run_made_shorter_is_finished_at_resume(run: Path) -> None:
    summary = sb.train(resume=run, max_steps=2)
    assert "knn_top1" in summary and (summary["steps"], summary["max_steps"]) == (3, 2)


def test_a_run_is_resumed_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    sb.train(data="pets", out=str(tmp_path / "run"), **FAST)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert sb.train(resume=tmp_path / "run", epochs=2)["steps"] == 6


def test_a_damaged_configuration_is_told(run: Path, tmp_path: Path) -> None:
    whole = (run / "config.yaml").read_text()
    for text in ("method: [", "method: simclr\n", "- 1\n", whole.replace("hidden:", "hiden:")):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match="not a whole configuration"):
            sb.train(resume=True, out=str(tmp_path))


@pytest.mark.parametrize(
    ("hyper", "told"),
    [
        ({"dim": 0}, "--hyper.dim.*greater than 0"),
        ({"temperature": 0.0}, "--hyper.temperature"),
        ({"hidden": 1.5}, "--hyper.hidden.*integer"),
        ({"momentum": 2.0}, "--hyper.momentum.*less than or equal to 1"),
        ({"dimm": 8}, "Did you mean 'dim'"),
    ],
)
def test_hyper_parameters_are_held_to_their_ranges(hyper: dict[str, float], told: str) -> None:
    method = "moco" if "momentum" in hyper else "simclr"
    with pytest.raises(UserError, match=told):
        sb.train(method, hyper=hyper)


def test_labels_of_one_part_only_are_told_and_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "half.npz", x_train=pictures, x_test=pictures, y_test=np.arange(20) % 2)
    table = sb.train(data=str(tmp_path / "half.npz"), out=str(tmp_path / "run"), **FAST)["table"]
    assert all("label_free" in row and "knn_top1" not in row for row in table)
    assert "Only one of the training and the test part has labels" in " ".join(capsys.readouterr().err.split())


def test_a_backbone_for_one_size_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not take views of 32 px.*--image-size 224"):
        sb.train(data=str(write_pictures(tmp_path / "pets")), **FAST | {"backbone": "mixer_s32_224"})


def test_resume_takes_what_does_not_change_the_run(
    run: Path, pets: Path, finished: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """More epochs, another rate, in its configuration from then on; nothing that would make it another run."""
    for flags in ({"batch_size": 4}, {"seed": 1, "hyper": {"dim": 8}}, {"config": str(run / "config.yaml")}):
        with pytest.raises(UserError, match=f"leave out .*--{next(iter(flags)).replace('_', '-')}.*anew: .*--epochs"):
            sb.train(resume=run, **flags)
    capsys.readouterr()
    assert sb.train("SimCLR", resume=run) == json.loads(json.dumps(finished[1]))
    assert "is finished, at step 3" in capsys.readouterr().err
    monkeypatch.chdir(pets.parent)
    assert sb.train(resume=run, epochs=3, lr=0.01, data="pets")["steps"] == 9
    config = TrainConfig.load(run / "config.yaml")
    assert (config.epochs, config.lr, config.bias_lr, config.data) == (3, 0.01, 0.005, str(pets))


@pytest.mark.parametrize("lost", ["report.html", "backbone.safetensors", "summary.json"])
def test_a_finished_run_that_lost_something_makes_it_again(lost: str, run: Path) -> None:
    (run / lost).write_text("[]") if lost == "summary.json" else (run / lost).unlink()
    before = {p.name for p in run.iterdir()} | {lost}
    assert sb.train(resume=run)["steps"] == 3
    assert {p.name for p in run.iterdir()} == before and json.loads((run / "summary.json").read_text())["steps"] == 3


def test_nothing_begins_anew_or_ends_unsaid(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sb.train(resume=run, epochs=3)
    capsys.readouterr()
    sb.train(resume=run, epochs=1)
    assert "Nothing was left to train: it had step 9, and ends at 3." in capsys.readouterr().err
    with pytest.raises(UserError, match="leave out --from"):
        sb.train(resume=run, from_run=run)
    RunFolder(run).checkpoint.unlink()
    with pytest.raises(UserError, match="last.ckpt is gone: there is nothing to go on from"):
        sb.train(resume=run, epochs=4)


def _train_and_wait(flags: dict, line: Connection) -> None:
    def wait(*arguments: object, **named: object) -> None:
        line.send("trained")
        line.recv()

    with mock.patch("semblance.commands.train.finish", wait):
        sb.train(**flags)


def test_two_processes_do_not_train_in_one_folder(run: Path, pets: Path, tmp_path: Path) -> None:
    """The second is refused in a line; once the first was killed, it is not."""
    ours, theirs = processes.Pipe()
    lines = RunFolder(run).metrics.read_text()
    first = processes.Process(target=_train_and_wait, args=({"resume": str(run), "epochs": 2}, theirs))
    first.start()
    assert ours.poll(60)
    kept = set(run.rglob("*"))
    with pytest.raises(UserError, match=f"{run} is in use by process {first.pid} on .*"):
        sb.train(resume=run, epochs=2)
    assert set(run.rglob("*")) == kept
    first.kill()
    first.join()
    assert sb.train(resume=run, epochs=2)["steps"] == 6
    steps = [line["step"] for line in RunFolder(run).read_metrics() if "loss" in line]
    assert len(steps) == len(set(steps)) and RunFolder(run).metrics.read_text() != lines


def test_a_folder_is_not_begun_twice(pets: Path, tmp_path: Path) -> None:
    """By two processes that found it empty at the same moment."""
    ours, theirs = processes.Pipe()
    out = tmp_path / "run"
    flags = FAST | {"data": str(pets), "out": str(out)}
    first = processes.Process(target=_train_and_wait, args=(flags, theirs))
    first.start()
    assert ours.poll(60)
    (out / "config.yaml").rename(tmp_path / "config.yaml")  # as before it was written
    with pytest.raises(UserError, match=f"{out} is in use by process {first.pid}"):
        sb.train(**flags)
    first.kill()
    first.join()


def test_resume_is_told_which_run(tmp_path: Path) -> None:
    for flags, told in (
        ({"resume": True}, "--resume needs a folder"),
        ({"resume": "a", "out": "b"}, "--resume a and --out b are two folders"),
        ({"resume": True, "out": str(tmp_path)}, "No run in"),
        ({"resume": str(tmp_path / "nowhere")}, "No run in"),
    ):
        with pytest.raises(UserError, match=told):
            sb.train(**flags)


def test_evaluate_and_embed_leave_unreadable_files_out(
    finished: tuple[Path, dict], pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run, trained), pictures = finished, pets
    assert [line["encoder"] for line in sb.evaluate(run)] == ["raw pixels", "untrained backbone", "trained backbone"]
    assert f"{trained['test_images']} held-out pictures" in capsys.readouterr().out
    sb.embed(run, data=str(pictures))
    assert "26 rows of 64 numbers (features); --out FILE.npz keeps them" in " ".join(capsys.readouterr().err.split())
    vectors = sb.embed(run, data=str(pictures), out=str(tmp_path / "features.npz"))
    assert "broken.png" in capsys.readouterr().out
    with pytest.raises(UserError, match="ends in .npz"):
        sb.embed(run, data=str(pictures), out=str(tmp_path / "features.txt"))
    sb.embed(run, data=str(pictures), out=str(tmp_path / "new" / "features.npz"))
    with np.load(tmp_path / "features.npz") as saved:
        assert np.array_equal(saved["features"], vectors.numpy()) and len(vectors) == 26
        assert [str(n).split("/")[-2] for n in saved["names"]] == [("cat", "dog")[label] for label in saved["labels"]]
