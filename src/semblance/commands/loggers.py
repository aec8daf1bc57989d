"""`--log tensorboard,wandb,mlflow,csv`: callbacks that hand the lines of metrics.jsonl on, offline into the run folder.

What a logger holds already is not logged again where a run is resumed, though the steps since its last checkpoint are
taken again: they are the same. One that is new to a run is given what came before.
"""

import csv
import io
import logging
import os
import re
import time
from collections.abc import Iterable
from contextlib import ExitStack
from importlib import import_module
from typing import Any

from semblance.engine.callbacks import Numbers, in_log
from semblance.errors import UserError
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime.atomic_files import append, write_text
from semblance.systems import Method

Line = dict[str, Any]
ENVIRONMENT = {  # nothing is sent of their own accord, and a process that is killed loses a second of what it logged
    "MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true",
    "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "1",
}  # fmt: skip
ABOUT = ("verdict", "title", "family", "data", "backbone", "handed_out", "handed_out_step")  # of summary.json, in words


class Logger:
    """A callback that writes a line for each step of metrics.jsonl, with the numbers of an evaluation after it."""

    def __init__(self, folder: RunFolder, config: TrainConfig) -> None:
        self.folder, self.config, self.finished = folder, config, False
        self.watched: Line = {}
        lines = merged(folder.read_metrics())  # before the run goes back to its last checkpoint
        self.last = lines[-1]["step"] if self.open() and lines else -1
        for line in lines:
            self._write(line)

    def on_evaluate(self, step: int, numbers: dict[str, float], method: Method) -> None:
        self.watched = {"step": step} | numbers
        if step == 0:
            self._write(self.watched | {"epoch": 0.0, "seconds": 0.0})

    def on_step(self, step: int, numbers: Numbers, method: Method) -> None:
        watched = self.watched if self.watched.get("step") == step else {}
        if in_log(numbers) or watched:
            names = numbers if in_log(numbers) else ("epoch", "seconds")
            self._write(watched | {"step": step} | {name: float(numbers[name]) for name in names})

    def on_end(self, summary: dict[str, Any]) -> None:
        self.finished = True
        rows = summary["table"]
        numbers = {name: value for name, value in (rows[-1] if rows else {}).items() if isinstance(value, float)}
        about = {name: summary[name] for name in ABOUT}
        self.conclude(numbers, about | {"verdict": summary["verdict"]["headline"]})

    def _write(self, line: Line) -> None:
        step, numbers = line["step"], {n: v for n, v in line.items() if n != "step" and isinstance(v, int | float)}
        if step > self.last:
            self.last = step
            self.write(step, numbers)

    def open(self) -> bool:
        """Open the log; returns whether it is there already."""
        raise NotImplementedError

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Log the numbers of a step, of which each is given once."""
        raise NotImplementedError

    def conclude(self, numbers: dict[str, float], about: dict[str, Any]) -> None:
        """Log what the table says of the trained networks, and what the run was, in words."""

    def close(self) -> None:
        """However the run ends; `finished` says how."""


class Csv(Logger):
    """RUN/metrics.csv: metrics.jsonl as a table, a row for each step. Written anew where a column is new."""

    def open(self) -> bool:
        self.path, self.columns = self.folder.path / "metrics.csv", ["step"]
        return self.path.exists()

    def write(self, step: int, numbers: dict[str, float]) -> None:
        if numbers.keys() <= set(self.columns):
            append(self.path, self._text([{"step": step} | numbers]))
            return
        lines = merged(self.folder.read_metrics())
        self.last = lines[-1]["step"]
        self.columns = list(dict.fromkeys(name for line in lines for name in line))
        write_text(self.path, self._text([dict(zip(self.columns, self.columns, strict=True)), *lines]))

    def _text(self, rows: Iterable[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(rows)
        return text.getvalue()


class TensorBoard(Logger):
    """RUN/tensorboard: `tensorboard --logdir RUN/tensorboard`, or that of a folder of runs."""

    def open(self) -> bool:
        from torch.utils.tensorboard.writer import SummaryWriter

        path = self.folder.path / "tensorboard"
        known = path.exists()
        self.writer = SummaryWriter(str(path))  # type: ignore[no-untyped-call]
        if not known:
            self.writer.add_text("config", f"```yaml\n{self.config.yaml()}\n```")  # type: ignore[no-untyped-call]
        return known

    def write(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)  # type: ignore[no-untyped-call]
        self.writer.flush()  # type: ignore[no-untyped-call]

    def conclude(self, numbers: dict[str, float], about: dict[str, Any]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(f"trained/{name}", value, self.last)  # type: ignore[no-untyped-call]
        self.writer.add_text("summary", "\n".join(f"- {k}: {v}" for k, v in about.items()))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.writer.close()  # type: ignore[no-untyped-call]


class Wandb(Logger):
    """RUN/wandb, offline unless WANDB_MODE says otherwise: `wandb sync RUN/wandb/offline-run-*` sends it."""

    def open(self) -> bool:
        import wandb

        runs = sorted((self.folder.path / "wandb").glob("*run-*-*"), key=os.path.getmtime)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "semblance"), name=self.folder.path.resolve().name,
            id=runs[-1].name.rpartition("-")[2] if runs else None, resume="allow",
            dir=str(self.folder.path), mode=None if "WANDB_MODE" in os.environ else "offline",
            config=self.config.model_dump(mode="json"), reinit="create_new",
            settings=wandb.Settings(console="off"),
        )  # fmt: skip
        return bool(runs)

    def write(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log(numbers, step=step, commit=True)

    def conclude(self, numbers: dict[str, float], about: dict[str, Any]) -> None:
        self.run.summary.update({f"trained/{name}": value for name, value in numbers.items()} | about)

    def close(self) -> None:
        self.run.finish(exit_code=0 if self.finished else 1)


class MLflow(Logger):
    """RUN/mlflow.db, or where MLFLOW_TRACKING_URI says: `mlflow ui --backend-store-uri sqlite:///RUN/mlflow.db`."""

    def open(self) -> bool:
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        folder = self.folder.path.resolve()
        elsewhere, tag = os.environ.get("MLFLOW_TRACKING_URI"), _mlflow_name(str(folder))
        self.client = MlflowClient(elsewhere or f"sqlite:///{folder / 'mlflow.db'}")
        known = self.client.get_experiment_by_name("semblance")
        artifacts = None if elsewhere else (folder / "mlflow").as_uri()
        experiment = known.experiment_id if known else self.client.create_experiment("semblance", artifacts)
        runs = self.client.search_runs([experiment], f"tags.folder = '{tag}'" if elsewhere else "")
        if runs:
            self.id = runs[0].info.run_id
            self.client.update_run(self.id, "RUNNING")
            return True
        self.id = self.client.create_run(experiment, run_name=folder.name, tags={"folder": tag}).info.run_id
        values = self.config.model_dump(mode="json")
        self.client.log_batch(self.id, params=[Param(name, str(value)[:6000]) for name, value in values.items()])
        return False

    def write(self, step: int, numbers: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        named = {_mlflow_name(name): value for name, value in numbers.items()}
        self.client.log_batch(self.id, [Metric(name, value, now, step) for name, value in named.items()])

    def conclude(self, numbers: dict[str, float], about: dict[str, Any]) -> None:
        self.write(self.last, {f"trained/{name}": value for name, value in numbers.items()})
        for name, value in about.items():
            self.client.set_tag(self.id, name, str(value)[:5000])

    def close(self) -> None:
        self.client.set_terminated(self.id, "FINISHED" if self.finished else "KILLED")


LOGGERS: dict[str, tuple[type[Logger], str]] = {  # and the module each needs
    "tensorboard": (TensorBoard, "torch.utils.tensorboard.writer"), "wandb": (Wandb, "wandb"),
    "mlflow": (MLflow, "mlflow"), "csv": (Csv, "csv"),
}  # fmt: skip


def check_loggers(names: Iterable[str]) -> None:
    """Raise UserError for a logger whose package is not there, or cannot be imported."""
    for name in names:
        os.environ |= ENVIRONMENT | os.environ
        try:
            import_module(LOGGERS[name][1])
        except ImportError as error:
            raise UserError(
                f"--log {name} needs the package {name} ({error}). Install it with: pip install 'semblance[loggers]'"
            ) from error


def open_loggers(config: TrainConfig, folder: RunFolder, held: ExitStack) -> list[Logger]:
    """The loggers of a run, closed with what is held; before the run goes back to its last checkpoint."""
    found = []
    for name in config.log:
        found.append(LOGGERS[name][0](folder, config))
        held.callback(found[-1].close)
    return found


def merged(lines: Iterable[Line]) -> list[Line]:
    """Lines of metrics.jsonl, those of a step in one."""
    steps: dict[int, Line] = {}
    for line in lines:
        steps[line["step"]] = steps.get(line["step"], {}) | line
    return list(steps.values())


def _mlflow_name(text: str) -> str:
    """Text without what MLflow takes in no name, nor in a search."""
    return re.sub(r"[^A-Za-z0-9_.:/ -]", "_", text)
