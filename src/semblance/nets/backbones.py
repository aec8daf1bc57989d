"""Backbones by name: timm's, torchvision's, and their ResNets made for small images."""

import json
import re
from contextlib import suppress
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.errors import UserError, unknown
from semblance.nets.convolution import mend
from semblance.nets.trainable import HEADS, check_weights, first_line, set_width
from semblance.runtime import named
from semblance.runtime.device import send
from semblance.shown import shown

# "resnet10" is timm's ResNet-18 with one block per stage; suffixes as in resnet10-w32-cifar
_NAME = re.compile(r"(?P<base>[\w./]+?)(-w(?P<width>\d+))?(?P<cifar>-cifar)?(?P<sobel>-sobel)?")

_TORCHVISION = "torchvision/"


def backbone(name: str) -> nn.Module:
    """A backbone with random weights that maps (N, 3, H, W) to pooled features (N, num_features).

    name: any timm model ("resnet50", "vit_small_patch16_224"), "torchvision/NAME", or "resnet10" (ResNet-18 with one
    block per stage). Suffixes: "-w32" sets the width of the first stage of timm's basic-block ResNets; "-cifar" gives
    a ResNet the usual stem of small images (3x3, stride 1, no max-pool); "-sobel" puts fixed edge filters in front.
    Or FILE.py:NAME, or an entry point of semblance.backbones: a class or function without required arguments, whose
    module keeps its own weights, and may lack num_features.
    """
    if named.is_own(name, named.BACKBONES):
        return _own(name)
    match = _NAME.fullmatch(name)
    if not match:
        told = "is not a name like resnet18, resnet10-w32-cifar or torchvision/resnet18"
        raise UserError(f"Backbone '{shown(name)}' {told}.")
    base, width = match["base"], match["width"]
    library = _torchvision(base.removeprefix(_TORCHVISION)) if base.startswith(_TORCHVISION) else of_timm(base, width)
    if match["cifar"]:
        _small_stem(library, name)
    model = as_used(library)
    if match["sobel"]:
        model.register_forward_pre_hook(lambda module, inputs: (sobel(inputs[0]),))
    return model


def _is_built_in(name: str) -> bool:
    """Whether a name is that of a network of a library, whatever its suffixes."""
    import timm

    match = _NAME.fullmatch(name)
    base = match["base"] if match else ""
    return base.startswith(_TORCHVISION) or base == "resnet10" or timm.is_model(base.partition(".")[0])


named.built_in(named.BACKBONES, _is_built_in)


def _own(name: str) -> nn.Module:
    """A module of somebody's own, without dropout; one that was handed over is copied, and stays as it is."""
    given = named.load(name, named.BACKBONES)
    model = given if isinstance(given, nn.Module) else named.called(given, name, named.BACKBONES)
    if not isinstance(model, nn.Module):
        raise UserError(f"Backbone {shown(name)} is a {type(model).__name__}: a torch.nn.Module is wanted.")
    check_weights(model, name)
    if model is given:
        try:
            model = deepcopy(given).cpu()
        except Exception as error:  # whatever it holds
            raise UserError(
                f"Backbone {shown(name)} cannot be copied, and a copy is trained ({first_line(error)}): give a "
                "function that makes it, backbone=make."
            ) from error
    if hasattr(model, "head_hidden_size") and getattr(model, "num_classes", None) == 0:  # timm's, as in of_timm
        set_width(model, name, model.head_hidden_size)  # type: ignore[arg-type]
    return as_used(model)


def as_used(model: nn.Module) -> nn.Module:
    """A module, changed to what is trained and measured: without dropout, its convolutions mended."""
    mend(model)
    _leave_nothing_to_chance(model)
    return model


def _leave_nothing_to_chance(model: nn.Module) -> None:
    """Switch off dropout and drop-path, whose masks would depend on ranks and micro-batches."""
    for m in model.modules():
        if "drop" in type(m).__name__.lower() or type(m).__name__ == "StochasticDepth":  # of torch, timm, torchvision
            rates = {"p", "drop_prob", "prob"} & vars(m).keys()
        else:
            rates = {"dropout"} if isinstance(m, nn.MultiheadAttention | nn.RNNBase) else set()
        for name in rates:
            setattr(m, name, 0.0)


def sobel(x: Tensor) -> Tensor:
    """Horizontal and vertical gradients of the grey picture, and zeros for the third channel: (N, 3, H, W) -> the same.

    (Caron et al. 2018; facebookresearch/deepcluster: models/alexnet.py)
    """
    across = send(torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=x.dtype), x.device)
    edges = F.conv2d(x.mean(1, keepdim=True), torch.stack([across, across.T])[:, None], padding=1)
    return torch.cat([edges, torch.zeros_like(edges[:, :1])], 1)


def of_timm(base: str, width: str | None = None) -> nn.Module:
    """A network of timm's as it makes it, without its classifier, for pictures of any size where it can."""
    import timm

    architecture, options = _in_timm(base, width)
    model = timm.create_model(architecture, num_classes=0, **options)
    if hasattr(model, "dynamic_img_size"):  # a ViT: now takes crops of any size, with the same state dict
        model = timm.create_model(architecture, num_classes=0, dynamic_img_size=True)
    model.num_features = model.head_hidden_size  # differs where a head widens pooled features, as in MobileNet-v3
    return model


def _in_timm(base: str, width: str | None) -> tuple[str, dict[str, Any]]:
    """The name and the arguments by which timm makes a network; a UserError for unknown ones."""
    import timm

    options: dict[str, Any] = {}
    if base == "resnet10":
        base, options = "resnet18", {"layers": (1, 1, 1, 1)}
    architecture, _, tag = base.partition(".")
    if not timm.is_model(architecture):
        raise _unknown(base)
    if tag and base not in timm.list_models(f"{architecture}.*", pretrained=True):
        raise UserError(
            f"Unknown backbone '{shown(base)}': timm has no such weights for {architecture}, and none are loaded: "
            f"give {architecture}."
        )
    if width:
        if base not in ("resnet18", "resnet34"):
            raise UserError(f"Backbone suffix -w{width} works on resnet10, resnet18 and resnet34, not on {base}.")
        w = checked_width(width)
        # only timm's deep stem has a free width; the -cifar stem replaces it
        options |= {"channels": (w, 2 * w, 4 * w, 8 * w), "stem_type": "deep", "stem_width": w // 2}
    return base, options


def named_as(architecture: str, options: dict[str, Any]) -> str | None:
    """Our name of a network that timm makes by arguments, where we have one: the opposite of `in_timm`."""
    bases = ("resnet10", architecture) if architecture == "resnet18" else (architecture,)
    width = (options.get("channels") or [0])[0]
    names = [f"{base}{suffix}" for base in bases for suffix in ("", f"-w{width}" if type(width) is int else "")]
    given = json.dumps({name: value for name, value in options.items() if name != "dynamic_img_size"}, sort_keys=True)
    for name in names:
        with suppress(UserError):
            match = _plain(name, "timm")
            if json.dumps(_in_timm(match["base"], match["width"])[1], sort_keys=True) == given:
                return name
    return None


def in_timm(name: str, network: nn.Module) -> tuple[str, dict[str, Any]]:
    """The name and the arguments, beside num_classes=0, by which timm.create_model makes the network of a name of ours.

    network: of that name. A UserError where timm has no such network.
    """
    match = _plain(name, "timm")
    architecture, options = _in_timm(match["base"].removeprefix(_TORCHVISION), match["width"])
    if hasattr(network, "dynamic_img_size"):
        options["dynamic_img_size"] = True
    return architecture.partition(".")[0], options


def in_torchvision(name: str) -> str:
    """The name by which torchvision makes a network of ours; a UserError where it has none of that name."""
    match = _plain(name, "torchvision")
    base = match["base"].removeprefix(_TORCHVISION).partition(".")[0]
    if match["width"]:
        raise UserError(f"torchvision has no network like {shown(name)}, of another width.")
    return base


def _plain(name: str, library: str) -> re.Match[str]:
    """The parts of a name that stands for a network of somebody else's library."""
    match = _NAME.fullmatch(name)
    if not match:
        raise UserError(f"{library} has no network like {shown(name)}.")
    stems = {"cifar": "the 3x3 stem of small images", "sobel": "edge filters in front"}
    if has := [told for suffix, told in stems.items() if match[suffix]]:
        raise UserError(f"{library} has no network like {shown(name)}, with {' and '.join(has)}.")
    return match


def checked_width(width: str) -> int:
    """The number of a suffix "-w32"; a UserError for one that makes no network."""
    if not 2 <= int(width) <= 4096:
        raise UserError(f"Backbone suffix -w{width}: give a width of 2 to 4096.")
    return int(width)


def _unknown(base: str) -> UserError:
    """Suggests similar names only: timm has more than a thousand."""
    import timm

    close = get_close_matches(base, ["resnet10", *timm.list_models()], n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(close)}? " if close else ""
    return UserError(f"Unknown backbone '{shown(base)}'. {hint}Any timm model works, or torchvision/NAME.")


def _torchvision(base: str) -> nn.Module:
    import torchvision.models

    if base not in torchvision.models.list_models(module=torchvision.models):
        raise unknown("torchvision backbone", base, torchvision.models.list_models(module=torchvision.models))
    model = torchvision.models.get_model(base)
    head = next((h for h in HEADS if hasattr(model, h)), None)
    if head is None:
        raise UserError(f"torchvision/{base} has no classifier that can be taken off; use the timm model of that name.")
    linear = next((m for m in getattr(model, head).modules() if isinstance(m, nn.Linear)), None)
    if linear is None:
        raise UserError(f"torchvision/{base} has no linear classifier that can be taken off; give another --backbone.")
    model.num_features = linear.in_features
    setattr(model, head, nn.Identity())
    return model


def _small_stem(model: Any, name: str) -> None:
    """The stem of small images: 3x3, stride 1, no max-pool; keys of the state dict stay as they are."""
    if not (hasattr(model, "conv1") and hasattr(model, "maxpool") and hasattr(model, "bn1")):
        raise UserError(f"The suffix -cifar works on ResNets, not on {name.removesuffix('-cifar')}.")
    model.conv1 = nn.Conv2d(3, model.bn1.num_features, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
