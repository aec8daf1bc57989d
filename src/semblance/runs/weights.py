"""Backbones out of a run and back: plain safetensors with all that is needed to rebuild them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from safetensors.torch import save as to_bytes
from torch import nn

from semblance import systems
from semblance.errors import UserError
from semblance.nets.audio import audio_backbone
from semblance.nets.backbones import backbone
from semblance.nets.video import video_backbone
from semblance.runs.folder import RunFolder
from semblance.runtime.atomic_files import write_atomically
from semblance.runtime.fsdp import full
from semblance.runtime.ranks import world
from semblance.views.sound import SoundView

# How each kind is rebuilt from what its file says of it. A modality of somebody else's may add its own.
KINDS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "backbone": lambda about: backbone(about["backbone"]),
    "video_backbone": lambda about: video_backbone(about["video_backbone"]),
    "audio_backbone": lambda about: audio_backbone(about["audio_backbone"], SoundView(**about["sound"]).bins),
}


SEEN = (
    "backbone", "image_size", "load_size", "grey_levels", "precision", "channels_last", "knn_k", "knn_temperature",
    "eval_samples",
)  # fmt: skip  # how a run saw pictures


def save(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """Write a state dict under the names of timm (or torchvision), and what rebuilds the model: a key of KINDS, ...

    All ranks must call this, since each may hold a part of the model; the first one writes.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in full(model.state_dict()).items()}
    about = about | {"features": model.num_features}
    if world()[0] == 0:
        write_atomically(path, lambda file: file.write(to_bytes(state, {"semblance": json.dumps(about)})))


def load_backbone(run: str | Path) -> nn.Module:
    """The trained backbone of a run folder or of its backbone.safetensors, in evaluation mode.

    Maps images (N, 3, H, W), normalised by `model.pretrained_cfg` style mean and deviation of ImageNet, to features
    (N, model.num_features). Of a run on clips, name video_backbone.safetensors, for clips (N, 3, T, H, W), or
    audio_backbone.safetensors, for the spectrograms that SoundView makes.
    """
    model, _ = load_with_metadata(run)
    return model


def load_with_metadata(run: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The backbone and what was written about it."""
    path = Path(run)
    path = path / "backbone.safetensors" if path.is_dir() else path
    if not path.is_file():
        if (path.parent / "video_backbone.safetensors").is_file():
            raise UserError(f"{path.parent} has two backbones: name its video_ or its audio_backbone.safetensors.")
        raise UserError(f"No trained backbone at {path}. Train one with: semblance train --out {path.parent}")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("semblance", "{}"))
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}).") from error
    if not KINDS.keys() & about.keys() and (method := RunFolder(path.parent).method) is not None:
        systems.get(method)  # whose file may add its own kind
    kind = next((kind for kind in KINDS if kind in about), None)
    if kind is None:
        raise UserError(f"{path} was not written by semblance train: it does not name its backbone.")
    model = KINDS[kind](about)
    load_model(model, path, strict=True)
    return model.eval(), about
