"""Networks with weights that no run of Semblance has left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.nets.backbones import backbone
from semblance.runs.documents import brief
from semblance.runs.init.layouts import NotWhole, Recognised, recognise
from semblance.runs.init.published import HUB, TIMM, TORCHVISION
from semblance.runs.init.read import is_pickled
from semblance.runs.init.start import FILES, USUAL, Start, first_whole, made_by
from semblance.runs.transform import OfOthers
from semblance.shown import quoted, shown
from semblance.views.view import MEAN, STD

_PLAIN = {"interpolation": "bicubic", "mean": MEAN, "std": STD, "crop_pct": 0.875}
_SMALL = {"input_size": (3, 32, 32), "crop_pct": 1.0}


@dataclass
class Others:
    """A network of pictures, in evaluation mode. notes: what it was taken for, and how it is shown pictures."""

    network: nn.Module
    transform: OfOthers
    notes: list[str]


def are_of_others(name: str) -> bool:
    """Whether a name is of weights that no run has left: of timm's, of torchvision's, of a file or folder of others."""
    import timm

    path = Path(name)
    if name.startswith((TIMM, TORCHVISION)):
        return True
    if path.is_dir():
        ours = any((path / own).exists() for own in ("config.yaml", "backbone.safetensors"))
        ours |= (path / HUB[0]).exists() and _is_ours(path / HUB[0])
        return not ours and (path / "config.json").exists()
    if path.is_file():
        return not _is_ours(path)
    return path.suffix.lower() in FILES or timm.is_model(name.partition(".")[0])


def of_others(name: str) -> Others:
    """The network of such weights; a UserError where they cannot be read, or are whole for none."""
    path = Path(name)
    named = name.startswith((TIMM, TORCHVISION)) or path.exists() or path.suffix.lower() in FILES
    try:
        start = Start.of(name if named else f"{TIMM}{name}")
        made, held = made_by(path) if start.kind == "hub" else None, start.tensors()
        if start.kind == "hub" and made is None:
            start = Start("file", name)  # whose config.json is not timm's
        network, found, what = _whole(start, held, made)
        network.load_state_dict(found.tensors, strict=False)
        transform, told = _transform(start, network, what)
    except UserError as error:
        raise UserError(*(line.removeprefix("--init ") for line in error.args)) from error
    return Others(network.eval(), transform, [f"{shown(name)} is {what}, {found.layout}.", *found.notes, told])


def _whole(
    start: Start, held: dict[str, Tensor], made: tuple[str, dict[str, Any]] | None
) -> tuple[nn.Module, Recognised, str]:
    """The first network that the tensors are whole for, and its name. made: as timm makes that of a hub's folder."""
    if made is not None:
        try:
            with torch.device("meta"):  # a few words of a configuration may stand for gigabytes
                found = recognise(held, _by_timm(start.name))
        except NotWhole as error:
            raise UserError(f"{shown(start.name)} is not whole for {made[0]}: {error}.") from error
        return _by_timm(start.name), found, made[0]
    said = start.networks().get("backbone")
    try:
        name, found = first_whole(held, [said] if said else USUAL)
    except NotWhole as error:
        if said:
            raise UserError(f"{shown(start.name)} is not whole for {error}.") from error
        nearest = f"the nearest is {error}" if error.near else "none of its tensors is named as theirs are"
        raise UserError(
            f"{shown(start.name)} does not name its backbone, and is whole for none of the usual ones: {nearest}. Give "
            'a folder with a config.json of timm ("architecture") beside the weights, or begin a training with it: '
            f"semblance train --init {quoted(start.name)} --backbone NAME."
        ) from error
    return backbone(name), found, name


def _by_timm(folder: str) -> nn.Module:
    """The network of a folder for a hub, with random weights."""
    import timm

    try:
        return timm.create_model(f"local-dir:{folder}", num_classes=0)
    except Exception as error:  # of whatever the configuration says
        raise UserError(f"timm makes no network of {shown(folder)}/config.json: {brief(error)}.") from error


def _transform(start: Start, network: nn.Module, name: str) -> tuple[OfOthers, str]:
    """What timm or torchvision show the network; of a file, which does not say it, what is usual. And that in words."""
    import timm
    import torchvision.models

    if start.kind == "torchvision":
        architecture, _, tag = start.name.partition(".")
        steps = torchvision.models.get_model_weights(architecture)[tag or "DEFAULT"].transforms()
        return OfOthers(steps), "It is shown pictures as torchvision shows it them."
    config: Any = getattr(network, "pretrained_cfg", None) or {"input_size": (3, 224, 224)}
    if start.kind == "timm" and (tagged := timm.get_pretrained_cfg(start.name)) is not None:
        config = tagged.to_dict()
    told = "as timm shows it them"
    if start.kind == "file":
        small = name.endswith("-cifar")
        config = {"input_size": config["input_size"]} | _PLAIN | (_SMALL if small else {})
        told = "by ImageNet's statistics, since a file does not say by which"
        if small:
            told += (
                "; by its stem of 3x3 it is taken for a network of small pictures, of stride 1 and without a max-pool"
            )
    try:
        seen = timm.data.resolve_data_config({}, pretrained_cfg=config)
        side, steps = seen["input_size"][-1], timm.data.create_transform(**seen)
    except Exception as error:  # of whatever the configuration of a hub's folder says
        raise UserError(f"{shown(start.name)} does not say how to show it pictures: {brief(error)}.") from error
    return OfOthers(steps), f"It is shown pictures of {side} px {told}."


def _is_ours(path: Path) -> bool:
    """Whether a file says of itself what weights.load_backbone needs, or is a broken one that may have."""
    if path.suffix.lower() != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return "semblance" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return not (path.is_file() and is_pickled(path))
