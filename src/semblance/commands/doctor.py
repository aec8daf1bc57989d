"""`semblance doctor`: whether a run has learnt anything, by what its folder holds; and the same where `train` ends."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from semblance import modalities
from semblance.commands.measure import logged
from semblance.commands.printing import say
from semblance.engine.callbacks import Numbers, in_log
from semblance.errors import UserError
from semblance.evaluation.advice import Advice
from semblance.evaluation.collapse import Live
from semblance.evaluation.evidence import finite
from semblance.evaluation.verdict import Run, Verdict, verdict
from semblance.modalities.build import build
from semblance.modalities.looked_at import FEWEST
from semblance.runs.config import TrainConfig
from semblance.runs.documents import read_json
from semblance.runs.folder import RunFolder
from semblance.runs.left import handed_out
from semblance.runs.summary import Diverged
from semblance.runtime.bounded_text import read_text
from semblance.shown import quoted, shown
from semblance.systems import Method

EXIT = {"learnt": 0, "little": 0, "collapsed": 3, "diverged": 3, "too-short": 4, "cannot-tell": 4}


def doctor(run: str | Path) -> Verdict:
    """The verdict on a run folder, finished or not; UserError where there is no run. Nothing is measured for it."""
    folder = RunFolder(Path(run))
    if folder.path.is_file():
        raise UserError(f"{shown(run)} is a file: name the folder of its run, which holds what there is to judge.")
    config = TrainConfig.load(folder.config)
    lines = folder.read_metrics()
    if not lines and not folder.diverged.exists():
        told = "no line that can be read" if folder.metrics.exists() else "not been written yet"
        raise UserError(f"{shown(run)}: metrics.jsonl has {told}, so there is nothing to judge. Let the run train.")
    summary, why = folder.read_summary(), ""
    if not summary:
        why = "cannot be read" if folder.summary.exists() else "is not there, as the run has not ended"
    elif (last := _steps(lines)) > summary["steps"]:
        why = f"is of step {summary['steps']:,}, and the run has gone on to step {last:,}"
        summary = {}
    found = judge(folder, config, lines, summary or _best_so_far(folder, config), levels_of(config, lines))
    if summary and not any(row.get("label_free") for row in summary["table"]):
        found.missing.append("summary.json holds no numbers that need no labels, which say what was learnt.")
    if why:
        found.missing.append(f"summary.json {why}: what was learnt is judged by metrics.jsonl alone.")
    return found


def _best_so_far(folder: RunFolder, config: TrainConfig) -> dict[str, Any]:
    """What summary.json would say of the networks that a run which was stopped hands out, where not of the last."""
    if config.keep == "best" and config.began_with_weights:
        with suppress(UserError):
            state, step = handed_out(folder)
            if state.get("step", step) != step:
                return {"handed_out": "best", "handed_out_step": state["step"]}
    return {}


def judge(
    folder: RunFolder, config: TrainConfig, lines: list[dict[str, Any]], summary: dict[str, Any],
    levels: dict[str, float],
) -> Verdict:  # fmt: skip
    """The same of what is at hand. lines: of the log. summary: {} of a run that was stopped."""
    steps = max(_steps(lines), summary.get("steps", 0))
    diverged = _diverged(folder, steps)
    epochs = max((line["epoch"] for line in lines if finite(line.get("epoch"))), default=0.0)
    kept = summary["handed_out_step"] if summary.get("handed_out", "last") != "last" else None
    measured = summary.get("measured", {"train": FEWEST})
    held_out = (measured.get("test") or measured.get("train", 0)) >= FEWEST
    given = config.began_with_weights
    backbone_rate = config.backbone_rate if given else None
    advice = Advice(quoted(folder.path), config.lr, config.epochs, config.max_steps, held_out, backbone_rate)
    rows, total = summary.get("table", []), summary.get("total_steps") or _total(config, lines)
    if given and rows[-2:-1] and steps >= total:  # the last is in the log as it was measured then, and so is the start
        lines = [{"step": 0} | logged(rows[-2]), *(line for line in lines if line["step"])]
    return verdict(Run(lines, steps, epochs, levels, config.without, rows, diverged, kept, advice, total, given))


def _total(config: TrainConfig, lines: list[dict[str, Any]]) -> int:
    """Steps that were asked for, as far as a log tells."""
    asked = [*(round(min(config.epochs * steps, 1e9)) for steps in _steps_of_an_epoch(lines)), config.max_steps]
    return min((steps for steps in asked if steps), default=0)


def _steps(lines: list[dict[str, Any]]) -> int:
    """Steps that were taken, by a log."""
    return lines[-1]["step"] if lines else 0


def _steps_of_an_epoch(lines: list[dict[str, Any]]) -> list[float]:
    """By the last line of a log that tells; empty where none does."""
    return [line["step"] / line["epoch"] for line in lines if finite(line.get("epoch")) and line["epoch"] > 0][-1:]


def _diverged(folder: RunFolder, steps: int) -> dict[str, Any] | None:
    """What diverged.json says, of a run that has not come by that step since."""
    with suppress(OSError, ValueError):
        found = Diverged.model_validate(read_json(read_text(folder.diverged)))
        return found.model_dump() if found.step >= steps else None
    return None


def levels_of(config: TrainConfig, lines: list[dict[str, Any]]) -> dict[str, float]:
    """Levels of the loss, of a method without memory or data; none of one whose file is gone."""
    try:
        with torch.device("meta"):
            method = build(config, modalities.of(config.method))
            samples = [round(min(steps * config.batch_size, 1e9)) for steps in _steps_of_an_epoch(lines)]
            method.prepare(next(iter(samples), config.batch_size))
    except UserError:
        return {}
    return method.constants(config.batch_size)


class Watcher:
    """A callback (engine/callbacks.py) that says, once, that a run's embeddings have collapsed."""

    def __init__(self, folder: RunFolder, total: int) -> None:
        self.folder, self.live = folder, Live(total)

    def on_step(self, step: int, numbers: Numbers, method: Method) -> None:
        if in_log(numbers) and (told := self.live.note({"step": step} | numbers)):
            say(f"{told} Ctrl-C stops the run; semblance doctor {quoted(self.folder.path)} says more.")


def tell(found: Verdict) -> None:
    """A verdict, the first line of it what happened."""
    say(found.headline, result=True)
    for advice in found.advice:
        say(f"Next: {advice}", result=True)


def tell_all(found: Verdict) -> None:
    """With its evidence."""
    tell(found)
    for evidence in found.evidence:
        against = "" if evidence.reference is None else f" ({evidence.against}: {evidence.reference:.4g})"
        say(f"  {evidence.name}: {evidence.value:.4g}{against}: {evidence.reads}", result=True)
    for missing in found.missing:
        say(missing, result=True)
