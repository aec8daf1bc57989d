"""Backbones out of a run and back: plain safetensors with all that is needed to rebuild them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save
from torch import nn

from ..config import TrainConfig
from ..engine.checkpoint import write_atomically
from ..engine.sharding import whole
from ..errors import UserError
from ..ranks import world
from ..views.sound import SoundView
from ..views.view import MEAN, STD
from .audio import audio_backbone
from .backbones import backbone
from .video import video_backbone


def save_backbone(path: Path, model: nn.Module, name: str, image_size: int) -> None:
    """Write the state dict under the names of timm (or torchvision); the metadata says how to rebuild the model."""
    _save(path, model, {"backbone": name, "image_size": image_size, "mean": MEAN, "std": STD})


def save_video_backbone(path: Path, model: nn.Module, config: TrainConfig) -> None:
    """The backbone of frames: (N, 3, T, size, size), normalised as pictures are, T frames at fps."""
    view = config.video
    about = {"video_backbone": config.backbone, "image_size": config.image_size, "mean": MEAN, "std": STD}
    _save(path, model, about | {"frames": view.frames, "fps": view.fps})


def save_audio_backbone(path: Path, model: nn.Module, config: TrainConfig) -> None:
    """The backbone of sounds: spectrograms in dB (N, 1, time, bins), made as `sound` says (views/sound.py)."""
    _save(path, model, {"audio_backbone": config.audio_backbone, "sound": asdict(config.sound)})


def _save(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """All ranks must call this, since each may hold a part of the model; the first one writes."""
    state = {k: v.detach().cpu().contiguous() for k, v in whole(model.state_dict()).items()}
    about = about | {"features": model.num_features}
    if world()[0] == 0:
        write_atomically(path, lambda file: file.write(save(state, {"semblance": json.dumps(about)})))


def load_backbone(run: str | Path) -> nn.Module:
    """The trained backbone of a run folder or of its backbone.safetensors, in evaluation mode.

    Maps images (N, 3, H, W), normalised by `model.pretrained_cfg` style mean and deviation of ImageNet, to features
    (N, model.num_features). Of a run on clips, name video_backbone.safetensors, for clips (N, 3, T, H, W), or
    audio_backbone.safetensors, for the spectrograms that SoundView makes.
    """
    model, _ = load_with_metadata(run)
    return model


def load_with_metadata(run: str | Path) -> tuple[nn.Module, dict]:
    """The backbone and what was written about it."""
    path = Path(run)
    path = path / "backbone.safetensors" if path.is_dir() else path
    if not path.is_file():
        if (path.parent / "video_backbone.safetensors").is_file():
            raise UserError(f"{path.parent} has two backbones: name its video_ or its audio_backbone.safetensors.")
        raise UserError(f"No trained backbone at {path}. Train one with: semblance train --out {run}")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("semblance", "{}"))
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}).") from error
    if "backbone" in about:
        model = backbone(about["backbone"])
    elif "video_backbone" in about:
        model = video_backbone(about["video_backbone"])
    elif "audio_backbone" in about:
        model = audio_backbone(about["audio_backbone"], SoundView(**about["sound"]).bins)
    else:
        raise UserError(f"{path} was not written by semblance train: it does not name its backbone.")
    load_model(model, path, strict=True)
    return model.eval(), about
