"""Callbacks: what they are told, that they change nothing, and what is said of those that cannot be."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import semblance as sb
from semblance.errors import UserError
from semblance.runs import checkpoint

FAST = {
    "recipe": "quick", "backbone": "resnet10-w8-cifar", "image_size": 8, "batch_size": 8, "epochs": 3, "eval_every": 1,
    "hyper": {"hidden": 16}, "precision": "32", "channels_last": False, "compile": False, "workers": 0,
}  # fmt: skip
STEPS, LOGGED = 21, [1, 10, 20, 21]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "x.npz"
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(path, x_train=x, y_train=np.arange(60) % 2, x_test=x[:20], y_test=np.arange(20) % 2)
    return path


class Notes:
    """Notes all that it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def on_step(self, step, numbers, method):
        self.told.append(("step", step, {name: float(value) for name, value in numbers.items()}, type(method).__name__))

    def on_evaluate(self, step, numbers, method):
        self.told.append(("evaluate", step, numbers, type(method).__name__))

    def on_end(self, summary):
        self.told.append(("end", summary))


class Meddler:
    """Looks at the method as people do, and spoils what it is handed."""

    def on_step(self, step, numbers, method):
        method.backbone.eval()
        with torch.no_grad():
            method.encoder(torch.randn(2, 3, 8, 8))
        torch.manual_seed(step)
        numbers.clear()

    def on_evaluate(self, step, numbers, method):
        method.eval()
        numbers["knn_top1"] = 0.0


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def untimed(run: Path) -> list[dict]:
    timed = ("seconds", "samples_per_second")
    return [{name: value for name, value in line.items() if name not in timed} for line in lines(run)]


@pytest.fixture(scope="module")
def told(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Notes, dict]:
    run, notes = tmp_path_factory.mktemp("runs") / "run", Notes()
    return run, notes, sb.train(data=data, out=run, callbacks=[Meddler(), notes], **FAST)


def test_they_are_told_what_the_log_has(told: tuple[Path, Notes, dict]) -> None:
    run, notes, summary = told
    order = [(what, *rest[:1]) for what, *rest in notes.told if what != "end"]
    assert [step for what, step in order if what == "step"] == [*range(1, STEPS + 1)]
    assert [step for what, step in order if what == "evaluate"] == [0, 7, 14]
    assert order[0] == ("evaluate", 0) and order.index(("evaluate", 7)) == order.index(("step", 7)) - 1
    assert notes.told[-1] == ("end", summary) and summary == json.loads((run / "summary.json").read_text())
    assert all(rest[2] == "SimCLR" for what, *rest in notes.told if what != "end")
    logged = {line["step"]: line for line in lines(run) if "loss" in line}
    assert list(logged) == LOGGED
    for what, *rest in notes.told:
        if what == "step":
            assert {"loss", "lr", "epoch", "seconds", "samples_per_second", "embedding_std"} <= rest[1].keys()
            if rest[0] in logged:
                assert {"step": rest[0]} | rest[1] == logged[rest[0]]
    assert all("knn_top1" in rest[1] for what, *rest in notes.told if what == "evaluate")


def test_they_change_nothing(told: tuple[Path, Notes, dict], data: Path, tmp_path: Path) -> None:
    summary = sb.train(data=data, out=tmp_path / "run", **FAST)
    assert untimed(tmp_path / "run") == untimed(told[0])
    assert summary["table"] == told[2]["table"]
    backbones = [torch.load(run / "checkpoints" / "last.ckpt")["method"] for run in (told[0], tmp_path / "run")]
    assert all(torch.equal(backbones[0][name], value) for name, value in backbones[1].items())


def test_one_that_raises_ends_the_run_resumably(data: Path, tmp_path: Path) -> None:
    """Its own error comes out, with its traceback and a note of how to go on; nothing is lost."""

    class Fails:
        def on_step(self, step, numbers, method):
            if step == 12:
                raise ZeroDivisionError("mine")

    run, notes = tmp_path / "run", Notes()
    with pytest.raises(ZeroDivisionError, match="mine") as raised:
        sb.train(data=data, out=run, callbacks=[Fails()], **FAST)
    assert "test_callbacks.py" in str(raised.traceback[-1].path)
    assert raised.value.__notes__ == [
        "Raised by on_step of the callback Fails.", f"Go on with: semblance train --resume --out {run}"
    ]  # fmt: skip
    assert sb.train(resume=run, callbacks=[notes])["steps"] == STEPS
    assert [rest[0] for what, *rest in notes.told if what == "step"] == [*range(13, STEPS + 1)]


def test_one_that_ends_the_process_loses_no_step(data: Path, tmp_path: Path) -> None:
    class Leaves:
        def on_step(self, step, numbers, method):
            if step == 3:
                raise SystemExit(4)

    with pytest.raises(SystemExit) as raised:
        sb.train(data=data, out=tmp_path / "run", callbacks=[Leaves()], **FAST)
    assert raised.value.code == 4 and checkpoint.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["step"] == 3


def test_one_that_raises_at_the_end(data: Path, tmp_path: Path) -> None:
    class Fails:
        def on_end(self, summary):
            raise KeyError("mine")

    run = tmp_path / "run"
    with pytest.raises(KeyError, match="mine") as raised:
        sb.train(data=data, out=run, callbacks=[Fails()], **FAST | {"epochs": 1})
    assert raised.value.__notes__[-1] == f"The run in {run} is finished: all of it is written."
    assert (run / "summary.json").exists() and (run / "report.html").exists()


def hook(self, *given) -> None: ...


@pytest.mark.parametrize(
    "callbacks, told",
    [
        ([object()], "object has none of the hooks on_step, on_evaluate, on_end"),
        ([type("Epochs", (), {"on_epoch": hook})()], r"Epochs: Unknown hook 'on_epoch'. Did you mean 'on_\w+'\?"),
        ([type("Typo", (), {"on_step": hook, "on_evalute": hook})()], "'on_evalute'. Did you mean 'on_evaluate'"),
        ([Notes], r"Notes is a class: give an object of it, Notes\(\)"),
        ([print], "print has none of the hooks"),
        ([SimpleNamespace(on_step=lambda step: None)], r"is called with 3 arguments: on_step\(step, numbers, method\)"),
        (Notes(), r"a list of objects is wanted, such as \[MyCallback\(\)\], not Notes"),
        ("csv", "a list of objects is wanted"),
    ],
)
def test_what_cannot_be_called_is_refused_before_data_is_read(callbacks, told: str) -> None:
    with pytest.raises(UserError, match=told):
        sb.train(data="/nowhere", callbacks=callbacks)


def test_a_subclass_needs_one_hook(data: Path, tmp_path: Path) -> None:
    class Mine(sb.Callback):
        steps = 0

        def on_step(self, step, numbers, method):
            self.steps += 1

    mine = Mine()
    sb.train(data=data, out=tmp_path / "run", callbacks=[mine], **FAST | {"epochs": 1})
    assert mine.steps == 7


def test_they_are_no_words() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "semblance", "train", "--callbacks", "x"], capture_output=True, text=True
    )
    assert told.returncode == 2 and "Callbacks are objects, given from Python" in told.stderr


SCRIPT = """
import sys, json
from pathlib import Path
import semblance as sb
from semblance.runtime.ranks import world

class Notes:
    steps, ended = [], False
    def on_step(self, step, numbers, method):
        self.steps.append((step, float(numbers["loss"])))
        if step == 5 and world()[0] == 1 and {fails}:
            raise ZeroDivisionError("of rank 1")
    def on_end(self, summary):
        self.ended = True

notes = Notes()
sb.train(data={data!r}, out={run!r}, resume={resume}, devices=2, callbacks=[notes], **({{}} if {resume} else {flags!r}))
Path(f"{run}-{{world()[0]}}.json").write_text(json.dumps([notes.steps, notes.ended]))
"""


def test_every_rank_is_told(data: Path, tmp_path: Path) -> None:
    """And an error on one ends all, saved."""
    run, script = tmp_path / "run", tmp_path / "script.py"

    def start(fails: bool, resume: bool) -> subprocess.CompletedProcess:
        flags = FAST | {"epochs": 1}
        script.write_text(SCRIPT.format(fails=fails, resume=resume, data=str(data), run=str(run), flags=flags))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=900)

    failed = start(fails=True, resume=False)
    assert failed.returncode != 0 and "ZeroDivisionError: of rank 1" in failed.stderr
    assert re.search("Go on with:", failed.stderr) and (run / "checkpoints" / "last.ckpt").exists()
    done = start(fails=False, resume=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads(Path(f"{run}-{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0] == found[1] and [step for step, _ in found[0][0]] == [6, 7] and found[0][1]
