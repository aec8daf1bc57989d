"""`semblance doctor`: whether a run has learnt anything, by what its folder holds; and the same where `train` ends."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from semblance import modalities
from semblance.commands.printing import say
from semblance.errors import UserError
from semblance.evaluation.advice import Advice
from semblance.evaluation.evidence import finite
from semblance.evaluation.verdict import Run, Verdict, verdict
from semblance.modalities.build import build
from semblance.runs.config import TrainConfig
from semblance.runs.documents import read_json
from semblance.runs.folder import RunFolder
from semblance.runtime.bounded_text import read_text
from semblance.shown import quoted, shown

EXIT = {"learnt": 0, "little": 0, "collapsed": 3, "diverged": 3, "too-short": 4, "cannot-tell": 4}


def doctor(run: str | Path) -> Verdict:
    """The verdict on a run folder, finished or not; UserError where there is no run. Nothing is measured for it."""
    folder = RunFolder(Path(run))
    config = TrainConfig.load(folder.config)
    lines = folder.read_metrics()
    if not lines and not folder.diverged.exists():
        raise UserError(f"{shown(run)} has no metrics.jsonl yet: there is nothing to judge. Let it train first.")
    return judge(folder, config, lines, folder.read_summary(), levels_of(config, lines))


def judge(
    folder: RunFolder, config: TrainConfig, lines: list[dict[str, Any]], summary: dict[str, Any],
    levels: dict[str, float],
) -> Verdict:  # fmt: skip
    """The same of what is at hand. lines: of the log. summary: {} of a run that was stopped."""
    last = lines[-1] if lines else {"step": 0}
    steps = summary.get("steps", last["step"])
    diverged = None
    if not summary:
        with suppress(OSError, ValueError):
            found = read_json(read_text(folder.diverged))
            diverged = found if isinstance(found, dict) else None
    epochs = max((line["epoch"] for line in lines if finite(line.get("epoch"))), default=0.0)
    kept = summary["handed_out_step"] if summary.get("handed_out", "last") != "last" else None
    anew = f"semblance train {quoted(config.method)} --data {quoted(config.data)} --recipe {config.recipe}"
    advice = Advice(quoted(folder.path), anew, config.lr, config.epochs, config.max_steps)
    return verdict(Run(lines, steps, epochs, levels, config.without, summary.get("table", []), diverged, kept, advice))


def levels_of(config: TrainConfig, lines: list[dict[str, Any]]) -> dict[str, float]:
    """Levels of the loss, of a method without memory or data; none of one whose file is gone."""
    try:
        with torch.device("meta"):
            method = build(config, modalities.of(config.method))
            seen = [line["step"] / line["epoch"] for line in lines if finite(line.get("epoch")) and line["epoch"] > 0]
            method.prepare(round(min(seen[-1] * config.batch_size, 1e9)) if seen else config.batch_size)
    except UserError:
        return {}
    return method.constants(config.batch_size)


def tell(found: Verdict) -> None:
    """A verdict, the first line of it what happened."""
    say(found.headline, result=True)
    for advice in found.advice:
        say(f"Next: {advice}", result=True)


def tell_all(found: Verdict) -> None:
    """With its evidence."""
    tell(found)
    for evidence in found.evidence:
        against = "" if evidence.reference is None else f" (against {evidence.reference:.4g})"
        say(f"  {evidence.name}: {evidence.value:.4g}{against}: {evidence.reads}", result=True)
