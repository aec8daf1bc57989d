"""Checkpoints: tensors and plain values in one file."""

from pathlib import Path
from typing import Any

import torch

from semblance.errors import UserError
from semblance.runtime.atomic_files import write_atomically


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint of tensors and plain values."""
    write_atomically(path, lambda file: torch.save(state, file))


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(type(state).__name__)
        return state
    except FileNotFoundError:
        raise UserError(f"No checkpoint at {path}: nothing to resume. Start the run without --resume.") from None
    except Exception as error:
        raise UserError(f"{path} is not a whole checkpoint of Semblance ({type(error).__name__}).") from error
