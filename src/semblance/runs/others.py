"""Networks with weights that no run of Semblance has left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.nets.backbones import backbone
from semblance.runs.init.layouts import Recognised, recognise
from semblance.runs.init.published import HUB, TIMM, TORCHVISION
from semblance.runs.init.start import FILES, USUAL, Start, first_whole
from semblance.runs.transform import OfOthers
from semblance.shown import shown
from semblance.views.view import MEAN, STD

_PLAIN = {"interpolation": "bicubic", "mean": MEAN, "std": STD, "crop_pct": 0.875}


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
        return not ours and (path / "config.json").exists() and not _is_ours(path / HUB[0])
    if path.is_file():
        return not _is_ours(path)
    return path.suffix.lower() in FILES or timm.is_model(name.partition(".")[0])


def of_others(name: str) -> Others:
    """The network of such weights; a UserError where they cannot be read, or are whole for none."""
    path = Path(name)
    named = name.startswith((TIMM, TORCHVISION)) or path.exists() or path.suffix.lower() in FILES
    try:
        start = Start.of(name if named else f"{TIMM}{name}")
        network, found, what = _whole(start, start.tensors())
        network.load_state_dict(found.tensors, strict=False)
        transform, told = _transform(start, network)
    except UserError as error:
        raise UserError(*(line.removeprefix("--init ") for line in error.args)) from error
    return Others(network.eval(), transform, [f"{shown(name)} is {what}, {found.layout}.", *found.notes, told])


def _whole(start: Start, held: dict[str, Tensor]) -> tuple[nn.Module, Recognised, str]:
    """The first network that the tensors are whole for, and its name."""
    import timm

    if start.kind == "hub":
        network = timm.create_model(f"local-dir:{start.name}", num_classes=0)
        return network, recognise(held, network), type(network).__name__
    said = start.networks().get("backbone")
    try:
        name, found = first_whole(held, [said] if said else USUAL)
    except UserError as error:
        unsaid = "does not name its backbone, and is not whole for those that are usual:"
        raise UserError(f"{shown(start.name)} {'is not whole:' if said else unsaid}", *error.args) from error
    return backbone(name), found, name


def _transform(start: Start, network: nn.Module) -> tuple[OfOthers, str]:
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
        config = {"input_size": config["input_size"]} | _PLAIN
        told = "by ImageNet's statistics, since a file does not say by which"
    seen = timm.data.resolve_data_config({}, pretrained_cfg=config)
    side = seen["input_size"][-1]
    return OfOthers(timm.data.create_transform(**seen)), f"It is shown pictures of {side} px {told}."


def _is_ours(path: Path) -> bool:
    """Whether a file says of itself what weights.load_backbone needs, or is a broken one that may have."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return "semblance" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return True
