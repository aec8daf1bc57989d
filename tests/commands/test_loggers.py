"""--log: what loggers hold is what metrics.jsonl does, also of a run that was killed and resumed."""

import csv
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import run as command
from test_callbacks import FAST, data  # noqa: F401

import semblance as sb
from semblance.commands import loggers
from semblance.errors import UserError
from semblance.runs import options

KILLED = """
import os, sys, time
import semblance as sb
from semblance.engine import loop

class Kill:
    def on_step(self, step, numbers, method):
        loop.SAVE_EVERY = 0 if step < 5 else 1e9  # the last checkpoint is of step 5
        if step == 12:
            time.sleep({wait})
            os._exit(9)

loop.SAVE_EVERY = 0
sb.train(data={data!r}, out={run!r}, log={log!r}, callbacks=[Kill()], **{flags!r})
"""


def needs(*packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'semblance[loggers]'")


def killed_and_resumed(data: Path, folder: Path, log: str, wait: float = 0.0) -> Path:  # noqa: F811
    run = folder / "run"
    script = KILLED.format(data=str(data), run=str(run), log=log, flags=FAST, wait=wait)
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=900)
    assert killed.returncode == 9, killed.stderr
    sb.train(resume=run)
    return run


def merged(run: Path) -> dict[int, dict]:
    """The log, a line for each step."""
    lines: dict[int, dict] = {}
    for text in (run / "metrics.jsonl").read_text().splitlines():
        lines.setdefault(json.loads(text)["step"], {}).update(json.loads(text))
    return lines


def rows(run: Path) -> dict[int, dict]:
    """metrics.csv, which has each step once."""
    with (run / "metrics.csv").open() as file:
        read = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    assert len({row["step"] for row in read}) == len(read)
    return {int(row["step"]): row for row in read}


def test_the_same_loggers_are_known_and_made() -> None:
    assert set(loggers.LOGGERS) == set(options.LOGGERS)


def test_csv_is_the_log_as_a_table(data: Path, tmp_path: Path) -> None:  # noqa: F811
    sb.train(data=data, out=tmp_path / "run", log="csv", **FAST)
    assert rows(tmp_path / "run") == merged(tmp_path / "run") and list(rows(tmp_path / "run")) == [
        0,
        1,
        7,
        10,
        14,
        20,
        21,
    ]


def test_a_run_that_was_killed_goes_on_in_its_csv(data: Path, tmp_path: Path) -> None:  # noqa: F811
    run = killed_and_resumed(data, tmp_path, "csv")
    assert rows(run) == merged(run)


def test_a_logger_that_comes_later_has_what_was_before(data: Path, tmp_path: Path) -> None:  # noqa: F811
    run = tmp_path / "run"
    sb.train(data=data, out=run, **FAST | {"epochs": 2})
    sb.train(resume=run, epochs=3, log=["csv"])
    assert rows(run) == merged(run)
    first = (run / "metrics.csv").read_bytes()
    sb.train(resume=run, epochs=4, log="none")
    assert (run / "metrics.csv").read_bytes() == first


def test_tensorboard(data: Path, tmp_path: Path) -> None:  # noqa: F811
    needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = killed_and_resumed(data, tmp_path, "tensorboard")
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    log = merged(run)
    for name in ("loss", "knn_top1", "lr"):
        steps = {step: line[name] for step, line in log.items() if name in line}
        assert [(e.step, e.value) for e in found.Scalars(name)] == [(s, pytest.approx(v)) for s, v in steps.items()]
    table = json.loads((run / "summary.json").read_text())["table"]
    assert found.Scalars("trained/knn_top1")[0].value == pytest.approx(table[-1]["knn_top1"])


def test_mlflow(data: Path, tmp_path: Path) -> None:  # noqa: F811
    needs("mlflow")
    from mlflow import MlflowClient

    run = killed_and_resumed(data, tmp_path, "mlflow")
    client = MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("semblance").experiment_id])
    losses = {step: line["loss"] for step, line in merged(run).items() if "loss" in line}
    assert {m.step: m.value for m in client.get_metric_history(found.info.run_id, "loss")} == losses
    assert len(client.get_metric_history(found.info.run_id, "loss")) == len(losses)
    assert found.info.status == "FINISHED" and found.data.params["batch_size"] == "8"
    assert found.data.tags["verdict"].startswith("Too short")


def test_wandb(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Offline: nothing is asked for and nothing is sent. A killed run goes on under the same name."""
    needs("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    run = killed_and_resumed(data, tmp_path, "wandb", wait=3.0)
    folders = sorted((run / "wandb").glob("offline-run-*"))
    assert len(folders) == 2 and len({folder.name.rpartition("-")[2] for folder in folders}) == 1
    steps = [step for folder in folders for step in logged_by_wandb(next(folder.glob("*.wandb")))]
    assert steps == [0, 1, 7, 10, 14, 20, 21]


def logged_by_wandb(file: Path) -> list[int]:
    """The steps of a file of W&B, which is a log of LevelDB: records in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2 as records

    held, at, whole, steps = file.read_bytes(), 7, b"", []
    while at + 7 <= len(held):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(held[at + 4 : at + 6], "little"), held[at + 6]
        part, at = held[at + 7 : at + 7 + size], at + 7 + size
        whole = part if kind in (1, 2) else whole + part
        if kind in (1, 4):
            record = records.Record.FromString(whole)
            if record.WhichOneof("record_type") == "history":
                steps.append(record.history.step.num)
    return steps


def test_an_unknown_logger_is_told_before_data_is_read(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert command(monkeypatch, "train", "--log", "--data", "/nowhere") == 2
    assert "--log needs the name of a logger: tensorboard, wandb, mlflow, csv" in capsys.readouterr().err
    assert command(monkeypatch, "train", "--log", "csv,tensorbord", "--data", "/nowhere") == 2
    assert "--log: Unknown logger 'tensorbord'. Did you mean 'tensorboard'?" in capsys.readouterr().err
    with pytest.raises(UserError, match="names of loggers are wanted"):
        sb.train(log=[1], data="/nowhere")


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] == name or m.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    assert command(monkeypatch, "train", "--log", name, "--data", "/nowhere") == 2
    told = capsys.readouterr().err
    assert f"--log {name} needs the package {name}" in told and "pip install 'semblance[loggers]'" in told
    assert len(told.strip().splitlines()) == 1


def test_the_log_of_a_moved_run_goes_on(data: Path, tmp_path: Path) -> None:  # noqa: F811
    run = tmp_path / "run"
    sb.train(data=data, out=run, log="csv", **FAST | {"epochs": 1})
    moved = Path(shutil.move(run, tmp_path / "moved"))
    sb.train(resume=moved, epochs=2)
    assert rows(moved) == merged(moved)
