"""The folder of a run: what lies where, and how it is written so that nothing is lost."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from semblance.errors import UserError
from semblance.runs.documents import read_json, read_yaml
from semblance.runs.summary import is_whole
from semblance.runtime.atomic_files import append, write_text
from semblance.runtime.bounded_text import read_text
from semblance.shown import shown


@dataclass(frozen=True)
class RunFolder:
    """config.yaml, metrics.jsonl, summary.json, checkpoints/last.ckpt, backbone.safetensors, report.html."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The networks that --keep best has kept, without the state of the optimiser."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def beginning(self) -> Path:
        """The networks that a run started with, where those are another run's."""
        return self.path / "checkpoints" / "first.ckpt"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.path / "checkpoints" / ".lock"

    @property
    def backbone(self) -> Path:
        return self.path / "backbone.safetensors"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def diverged(self) -> Path:
        return self.path / "diverged.json"

    @property
    def method(self) -> str | None:
        """The name in config.yaml, of whatever version that is; None where there is none."""
        return self.named("method")

    def named(self, option: str) -> str | None:
        """The same of another option."""
        with suppress(OSError, ValueError):
            values = read_yaml(self.config)
            name = values.get(option) if isinstance(values, dict) else None
            return name if isinstance(name, str) else None
        return None

    @staticmethod
    def check_free(out: str | Path | None) -> None:
        """A UserError where there is a run in a folder that is to be a new one's."""
        if out is not None and (Path(out) / "config.yaml").exists():
            raise UserError(f"{shown(out)} already holds a run. Continue it with --resume, or choose another --out.")

    @classmethod
    def new(cls, out: str | Path | None, name: str) -> "RunFolder":
        """An empty folder: `out`, or the first of runs/NAME-1, -2, ... that is not there yet."""
        cls.check_free(out)
        paths: Iterable[Path] = [Path(out)] if out is not None else (Path("runs") / f"{name}-{i}" for i in count(1))
        for path in paths:
            try:
                path.mkdir(parents=True, exist_ok=out is not None)
                break
            except FileExistsError:  # by a run started at the same moment, too
                if out is not None:
                    raise UserError(f"{shown(path)} is a file. Choose another --out.") from None
            except OSError as error:
                raise UserError(f"Cannot write to {shown(path)}: {error.strerror}. Choose another --out.") from error
        return cls(path)

    def log(self, **numbers: Any) -> None:
        """Append one line to metrics.jsonl."""
        append(self.metrics, json.dumps(numbers) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; what a crash cut short or spoilt is dropped."""
        lines = []
        try:
            text = read_text(self.metrics) if self.metrics.exists() else ""
        except ValueError as error:
            raise UserError(
                f"{shown(self.metrics)} is no log: {error}. Put the run's own back, or take it away."
            ) from error
        for line in text.splitlines():
            with suppress(ValueError):
                lines.append(read_json(line))
        lines = [line for line in lines if isinstance(line, dict) and type(line.get("step")) is int]
        return [line for line in lines if 0 <= line["step"] < 2**53]

    def rewind(self, step: int) -> None:
        """Drop what was logged after the checkpoint of `step`."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_text(self.metrics, text)

    @staticmethod
    def write(path: Path, numbers: dict[str, Any]) -> None:
        """Write summary.json or diverged.json."""
        write_text(path, json.dumps(numbers, indent=2))

    def read_summary(self) -> dict[str, Any]:
        """What summary.json holds; nothing where it is missing or damaged."""
        with suppress(OSError, ValueError):
            summary = read_json(read_text(self.summary))
            return summary if is_whole(summary) else {}
        return {}
