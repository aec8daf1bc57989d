"""What a run has left: which networks it hands out, and whether they are in a file."""

from pathlib import Path
from typing import Any

from semblance.errors import UserError
from semblance.runs import checkpoint
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.shown import shown


def handed_out(folder: RunFolder) -> tuple[dict[str, Any], int]:
    """The checkpoint that is handed out, {} where there is none, and the last step. What was kept is, where the run
    stands at the end that summary.json tells of."""
    if not folder.checkpoint.exists():
        return {}, 0
    state, summary = checkpoint.load(folder.checkpoint), folder.read_summary()
    step, _ = checkpoint.progress(state, folder.checkpoint)
    if summary.get("handed_out", "last") == "last" or summary["steps"] != step:
        return state, step
    if not folder.best.exists():
        raise UserError(
            f"{shown(folder.best)} is gone, which {shown(folder.summary)} says is handed out. Put it back, or name the "
            "last network by taking summary.json away."
        )
    kept = checkpoint.load(folder.best)
    if checkpoint.progress(kept, folder.best)[0] != summary["handed_out_step"] or kept.get("run") != state.get("run"):
        raise UserError(f"{shown(folder.best)} is not the network of {shown(folder.summary)}. Put its own back.")
    return kept, step


def is_written(path: Path, folder: RunFolder) -> bool:
    """Whether what a run hands out is in the file that is named, and not in a checkpoint alone, as of a run that was
    stopped, or is to be trained on."""
    if path.is_dir():
        path = next(iter(sorted(path.glob("*backbone.safetensors"))), folder.backbone)
    summary = folder.read_summary()
    if not path.exists() or not folder.checkpoint.exists():
        return path.exists() or not folder.checkpoint.exists()
    config = TrainConfig.load(folder.config)
    return not summary or (summary["epochs"], summary["max_steps"]) == (config.epochs, config.max_steps)
