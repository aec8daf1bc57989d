"""Going on with a run: which one, what may be given anew, and whether anything is left to be done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from semblance import systems
from semblance.commands.printing import say
from semblance.errors import UserError
from semblance.runs.config import MAY_CHANGE, TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.options import Measuring, Output, TrainOptions, flag, in_proportion, said_anew
from semblance.runs.resolve import absolute, absolute_path
from semblance.runtime import ranks
from semblance.shown import shown

FREE = MAY_CHANGE - {  # what flags may give anew; config.yaml may move with its data
    "from_run", "init", "load_size", "backbone_lr", "layer_decay", "head_epochs", "hold_norms",
}  # fmt: skip


def folder_to_resume(options: TrainOptions) -> RunFolder | None:
    """The folder of the run to go on with; None for a new run."""
    if options.resume is False:
        return None
    named = [name for name in (options.resume, options.out) if isinstance(name, str)]
    if len({Path(name).absolute() for name in named}) != 1:
        told = (
            f"--resume {shown(named[0])} and --out {shown(named[1])} are two folders"
            if named
            else "--resume needs a folder"
        )
        raise UserError(f"{told}: name the run to go on with, --resume RUN.")
    return RunFolder(Path(named[0]))


def given_anew(config: TrainConfig, options: TrainOptions) -> TrainConfig:
    """The configuration of a run with what is given anew; a UserError of all that may not be."""
    if options.problems:
        raise UserError(*options.problems)
    anew = said_anew({name: value for name, value in options.given.items() if name not in Output.model_fields})
    # As they are kept.
    kept: dict[str, Callable[[Any], Any]]
    kept = {"method": systems.canonical, "data": absolute, "labels": absolute, "data_root": absolute_path}
    anew |= {name: kept[name](anew[name]) for name in kept if anew.get(name) is not None}
    if "hyper" in anew:
        anew["hyper"] = config.hyper | anew["hyper"]
    fixed = [name for name, value in anew.items() if name not in FREE and value != getattr(config, name, None)]
    if options.config is not None:
        fixed.append("config")
    if fixed:
        may = ", ".join(flag(name) for name in TrainOptions.model_fields if name in FREE)
        raise UserError(
            f"--resume goes on with the run as it was configured: leave out {', '.join(map(flag, fixed))}. "
            f"What may be given anew: {may}."
        )
    return config.model_copy(update=in_proportion(vars(config), anew) | anew)


def finished(folder: RunFolder, config: TrainConfig) -> dict[str, Any] | None:
    """The summary of a run that is complete and was given no more to do, which is said; None of another, as of one that
    diverged.

    Raises UserError where a finished run has lost its checkpoint.
    """
    summary = {} if folder.diverged.exists() else folder.read_summary()
    if summary and not folder.checkpoint.exists():
        raise UserError(
            f"{shown(folder.path)} was finished, but {shown(folder.checkpoint)} is gone: there is nothing to go on "
            "from."
        )
    backbones = len(list(folder.path.glob("*backbone.safetensors")))
    complete = summary and summary["steps"] >= summary["total_steps"]
    complete = complete and folder.report.exists() and backbones == len(systems.get(config.method).streams)
    if not complete or any(summary.get(name, 0) != getattr(config, name) for name in ("epochs", "max_steps")):
        return None
    saved = TrainConfig.load(folder.config)
    if any(getattr(saved, name) != getattr(config, name) for name in Measuring.model_fields):
        return None  # it is measured anew
    limit = "max_steps" if config.max_steps is not None and config.max_steps <= summary["steps"] else "epochs"
    if ranks.world()[0] == 0:
        done = f"{shown(folder.path)} is finished, at step {summary['steps']:,}: look at {shown(folder.report)}."
        say(f"{done} To train on, give a {flag(limit)} above {getattr(config, limit)}.")
    return summary
