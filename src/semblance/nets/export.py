"""Backbones out of a run and back: plain safetensors with all that is needed to rebuild them."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save
from torch import nn

from ..engine.checkpoint import write_atomically
from ..errors import UserError
from ..views.view import MEAN, STD
from .backbones import backbone


def save_backbone(path: Path, model: nn.Module, name: str, image_size: int) -> None:
    """Write the state dict under the names of timm (or torchvision); the metadata says how to rebuild the model."""
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    about = {"backbone": name, "image_size": image_size, "mean": MEAN, "std": STD, "features": model.num_features}
    write_atomically(path, lambda file: file.write(save(state, {"semblance": json.dumps(about)})))


def load_backbone(run: str | Path) -> nn.Module:
    """The trained backbone of a run folder or of its backbone.safetensors, in evaluation mode.

    Maps images (N, 3, H, W), normalised by `model.pretrained_cfg` style mean and deviation of ImageNet, to features
    (N, model.num_features).
    """
    model, _ = load_with_metadata(run)
    return model


def load_with_metadata(run: str | Path) -> tuple[nn.Module, dict]:
    """The backbone and what was written about it."""
    path = Path(run)
    path = path / "backbone.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"No trained backbone at {path}. Train one with: semblance train --out {run}")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("semblance", "{}"))
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}).") from error
    if "backbone" not in about:
        raise UserError(f"{path} was not written by semblance train: it does not name its backbone.")
    model = backbone(about["backbone"])
    load_model(model, path, strict=True)
    return model.eval(), about
