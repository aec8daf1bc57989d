"""What a run has left: which networks it hands out, and whether they are in a file."""

from pathlib import Path
from typing import Any

from semblance.errors import UserError
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.shown import shown


def handed_out(folder: RunFolder) -> tuple[dict[str, Any], int]:
    """The checkpoint that is handed out, {} where there is none, and the last step: what summary.json tells of, where
    the run stands there. Of a stopped run it is the last, but where it began with weights and the best is kept, that.
    """
    summary, state, step = folder.read_summary(), dict[str, Any](), 0
    if folder.checkpoint.exists():
        state = checkpoint.load(folder.checkpoint)
        step, _ = checkpoint.progress(state, folder.checkpoint)
    if summary and (summary["steps"] == step or folder.diverged.exists()):
        if summary.get("handed_out", "last") == "last":
            return state, step
        return _kept(folder, summary, state), summary["steps"]
    config = TrainConfig.load(folder.config)
    if state and config.keep == "best" and config.began_with_weights and folder.best.exists():
        kept = checkpoint.load(folder.best)
        if kept.get("run") == state.get("run"):
            return kept, step
    return state, step


def _kept(folder: RunFolder, summary: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    if not folder.best.exists():
        raise UserError(
            f"{shown(folder.best)} is gone, which {shown(folder.summary)} says is handed out. Put it back, or name the "
            "last network by taking summary.json away."
        )
    kept = checkpoint.load(folder.best)
    other = bool(last) and kept.get("run") != last.get("run")
    if other or checkpoint.progress(kept, folder.best)[0] != summary["handed_out_step"]:
        raise UserError(f"{shown(folder.best)} is not the network of {shown(folder.summary)}. Put its own back.")
    return kept


def is_written(path: Path, folder: RunFolder) -> bool:
    """Whether what a run hands out is in the file that is named, and not in a checkpoint alone: only a run that came to
    its end, and is not to be trained on, has written it there last."""
    if path.is_dir():
        path = next(iter(sorted(path.glob("*backbone.safetensors"))), folder.backbone)
    summary = folder.read_summary()
    if not path.exists() or not folder.checkpoint.exists():
        return path.exists() or not folder.checkpoint.exists()
    config = TrainConfig.load(folder.config)
    ended = bool(summary) and summary["steps"] >= summary["total_steps"]  # `report` writes one of a stopped run, too
    return ended and (summary["epochs"], summary["max_steps"]) == (config.epochs, config.max_steps)
