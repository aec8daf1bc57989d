"""Backbones out of a run and back: plain safetensors with all that is needed to rebuild them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from semblance import systems
from semblance.errors import UserError
from semblance.nets.audio import audio_backbone
from semblance.nets.backbones import backbone
from semblance.nets.trainable import set_width
from semblance.nets.video import video_backbone
from semblance.runs.checkpoint import differing
from semblance.runs.documents import brief, read_json
from semblance.runs.folder import RunFolder
from semblance.runs.init.published import HUB, meant
from semblance.runtime import named
from semblance.runtime.atomic_files import write_atomically
from semblance.runtime.fsdp import full
from semblance.runtime.ranks import world
from semblance.shown import quoted, shown
from semblance.views.sound import SoundView

# How each kind is rebuilt from what its file says of it. A modality of somebody else's may add its own.
KINDS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "backbone": lambda about: backbone(about["backbone"]),
    "video_backbone": lambda about: video_backbone(about["video_backbone"]),
    "audio_backbone": lambda about: audio_backbone(about["audio_backbone"], SoundView(**about["sound"]).bins),
}

_ALIKE = 0.85  # a name to one of timm's, so that it is a slip and no folder
SEEN = (
    "backbone", "image_size", "load_size", "grey_levels", "precision", "channels_last", "knn_k", "knn_temperature",
    "eval_samples",
)  # fmt: skip  # how a run saw pictures


def save(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """Write a state dict under the names of timm (or torchvision), and what rebuilds the model: a key of KINDS, ...

    All ranks must call this, since each may hold a part of the model; the first one writes.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in full(model.state_dict()).items()}
    about = about | {"features": int(model.num_features)}  # type: ignore[arg-type]
    if world()[0] == 0:
        write_atomically(path, lambda file: file.write(to_bytes(state, {"semblance": json.dumps(about)})))


def load_with_metadata(run: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The backbone of a run folder or of its backbone.safetensors, and what was written about it."""
    path, about = read_metadata(run)
    if not KINDS.keys() & about.keys() and (method := RunFolder(path.parent).method) is not None:
        systems.get(method)  # whose file may add its own kind
    kind = next((kind for kind in KINDS if kind in about), None)
    if kind is None:
        raise UserError(f"{shown(path)} was not written by semblance train: it does not name its backbone.")
    if named.is_in_file(str(about[kind])) and RunFolder(path.parent).named(kind) != about[kind]:
        raise UserError(
            f"{shown(path)} names {shown(about[kind])}, which is not executed without a config.yaml beside it that "
            "does: give the folder of its run."
        )
    with safe_open(path, "pt") as file:
        held = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118, it is no dict
        try:
            if not named.is_own(about[kind], named.BACKBONES):  # a name of some bytes may stand for gigabytes
                with torch.device("meta"):
                    _check_shapes(path, KINDS[kind](about), held)
            model = KINDS[kind](about)
            if getattr(model, "num_features", None) is None:  # of somebody's own
                set_width(model, str(about[kind]), int(about["features"]))
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{shown(path)} does not say how to build its network: {brief(error)}.") from error
        _check_shapes(path, model, held)
        tensors = {name: file.get_tensor(name) for name in held}
        if foreign := differing(model.state_dict(), tensors):
            raise UserError(
                f"{shown(path)} does not hold the network that it names: {len(foreign)} of {len(tensors)} tensors are "
                f"of another kind of number, as {shown(foreign[0])} of {tensors[foreign[0]].dtype}."
            )
        model.load_state_dict(tensors)
    return model.eval(), about


def read_metadata(run: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file of a backbone, and what was written about it."""
    path = Path(run)
    if path.is_dir():
        names = ("backbone.safetensors", HUB[0])  # of a run, or of a folder for a hub
        path = next((path / name for name in names if (path / name).is_file()), path / names[0])
    if not path.is_file():
        if (path.parent / "video_backbone.safetensors").is_file():
            raise UserError(f"{shown(path.parent)} has two backbones: name its video_ or audio_backbone.safetensors.")
        out = path.parent if path.suffix else path
        alike = meant(path.name.partition(".")[0], _ALIKE) if path.name == str(run) and not path.exists() else ""
        remedy = alike or f" Train one with: semblance train --out {quoted(out)}"
        raise UserError(f"No trained backbone at {shown(path)}.{remedy}")
    try:
        with safe_open(path, "pt") as file:
            about = read_json((file.metadata() or {}).get("semblance", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{shown(path)} is not a whole safetensors file ({error}).") from error
    if not isinstance(about, dict):
        raise UserError(f"{shown(path)} was not written by semblance train: it does not name its backbone.")
    return path, about


def _check_shapes(path: Path, model: nn.Module, held: dict[str, list[int]]) -> None:
    """A UserError unless a file holds the tensors of a network, by their names and shapes."""
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    if differing := sorted(name for name in own.keys() | held.keys() if own.get(name) != held.get(name)):
        raise UserError(
            f"{shown(path)} does not hold the network that it names: {len(differing)} of {len(own)} tensors are "
            f"missing, foreign or of another shape, as {shown(differing[0])}."
        )
