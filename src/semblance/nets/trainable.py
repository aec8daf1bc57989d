"""Whether a module can be trained as a backbone: a UserError that says what to do, where it cannot."""

import operator
import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from semblance.errors import UserError
from semblance.runtime import named
from semblance.shown import shown

HEADS = ("fc", "classifier", "heads", "head")  # what holds the classifier of a network
IMAGENET = (1000, 11821, 21841)  # how many classes its published sets have: so many outputs are no features


def check_weights(model: nn.Module, name: str) -> None:
    """Raise UserError unless a module has weights that can be copied and trained."""
    told = f"Backbone {shown(name)}"
    if isinstance(model, torch.jit.ScriptModule):
        raise UserError(
            f"{told} is TorchScript, copies of which cannot be trained: give the module that it is made of."
        )
    for of, value in model.state_dict(keep_vars=True).items():
        if is_lazy(value):
            raise UserError(
                f"{told}: {shown(of)} has no shape before its first call, and is to be copied before. Call the module "
                "once on pictures (2, 3, H, W) of the size of the views, or say how many inputs that layer takes."
            )
        if value.is_meta and torch.get_default_device().type != "meta":
            raise UserError(
                f"{told}: {shown(of)} is on the meta device and has no values: make the module outside of "
                'torch.device("meta"), or load weights into it (load_state_dict(..., assign=True)).'
            )
    for of, p in model.named_parameters():
        if p.is_floating_point() and p.dtype != torch.float32:
            raise UserError(
                f"{told}: {shown(of)} is {str(p.dtype).removeprefix('torch.')}, and weights are trained as float32: "
                "give module.float(); --precision says in what it computes."
            )
    if not any(p.requires_grad for p in model.parameters()):
        frozen = ", all are frozen: call module.requires_grad_(True)" if any(True for _ in model.parameters()) else ""
        raise UserError(f"{told} has no weights that can be trained{frozen}.")


def check_sizes(model: nn.Module, name: str, sizes: Iterable[int]) -> None:
    """Raise UserError unless the backbone makes features of square pictures of these sizes; some take only one. Of one
    that does not say its num_features they are counted, and set. One of somebody's own is to have gradients, too, and
    to make the same of a single picture."""
    trials, told = [deepcopy(model), deepcopy(model)], f"Backbone {shown(name)}"
    for size in sorted(set(sizes)):
        try:
            y, again = _tried(trials, size)
        except Exception as error:  # whatever a module raises
            fails = f"{told} does not take views of {size} px ({first_line(error)})"
            raise UserError(f"{fails}{_where_it_works(model)}") from error
        wanted = _stated_width(model, told)
        if wanted is None:
            wanted = y.shape[-1] if isinstance(y, Tensor) and y.ndim == 2 else 0
        classifier = _classifier(model, y)
        if not isinstance(y, Tensor) or y.shape != (2, wanted):
            raise UserError(
                f"{told} does not end in one row of features: of 2 pictures it makes {_found(y)}, where "
                f"(2, {wanted or 'features'}) is wanted. {classifier or 'Give another --backbone.'}"
            )
        if classifier and wanted in IMAGENET:
            raise UserError(f"{told} ends in {y.shape[1]:,} classes, and not in features. {classifier}")
        if named.is_own(name, named.BACKBONES):
            _check_gradient(y, told)
            _check_alone(deepcopy(model).eval(), told, size, wanted)
        if not y.is_meta and not torch.allclose(y, again, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise UserError(
                f"{told} makes other features of the same pictures each time it trains on them: leave "
                "out what draws there, such as F.dropout. Its masks would be others on every number of processes."
            )
        set_width(model, name, wanted)


def set_width(model: nn.Module, name: str, width: int) -> None:
    """Let a module say how many features it makes, where it does not say so already: it may be a property."""
    told = f"Backbone {shown(name)}"
    if _stated_width(model, told) == width:
        return
    try:
        model.num_features = width  # type: ignore[assignment]
    except Exception as error:  # of a property, or of a __setattr__ of its own
        raise UserError(
            f"{told} makes {width} features, and its num_features cannot be set to that ({first_line(error)}): let it "
            "be that number, or leave it out."
        ) from error


def _stated_width(model: nn.Module, told: str) -> int | None:
    """The num_features that a module says it has, None where it says none."""
    try:
        stated = getattr(model, "num_features", None)
        return None if stated is None else operator.index(stated)
    except Exception as error:  # of a property, or of what is no whole number
        raise UserError(
            f"{told}: its num_features is no whole number ({first_line(error)}): let it be how many features it makes, "
            "or leave it out."
        ) from error


def _check_alone(model: nn.Module, told: str, size: int, width: int) -> None:
    """Raise UserError unless a module in evaluation mode makes a row of features of a single picture, too."""
    try:
        (y,) = _tried([model], size, pictures=1)
    except Exception as error:  # whatever a module raises
        raise UserError(
            f"{told} does not take a single picture in evaluation mode ({first_line(error)}), as features are made of "
            "one: let it take (1, 3, H, W)."
        ) from error
    if not isinstance(y, Tensor) or y.shape != (1, width):
        raise UserError(
            f"{told} makes {_found(y)} of a single picture in evaluation mode, where (1, {width}) is wanted: flatten "
            "by .flatten(1), not .squeeze(), and give as many features as while it trains."
        )


def _found(y: Any) -> str:
    return f"a tensor {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"


def _tried(models: Iterable[nn.Module], size: int, pictures: int = 2) -> list[Any]:
    """What modules make of the same pictures."""
    with torch.random.fork_rng(), torch.enable_grad():
        x = torch.rand(pictures, 3, size, size)
        return [model(x.to(next((p.device for p in model.parameters()), x.device))) for model in models]


def _where_it_works(model: nn.Module) -> str:
    """The end of a sentence on a module that fails at some size: another size, where there is one that it takes."""
    for size in (32, 64, 96, 128, 224, 256, 384):
        try:
            _tried([deepcopy(model)], size)
        except Exception:  # noqa: S112, the first error is told
            continue
        return (
            f", but of {size} px. Give the size that it is made for, e.g. --image-size {size}, or another --backbone."
        )
    return ", nor of other sizes: it is to take float32 pictures (N, 3, H, W). Mend it, or give another --backbone."


def _check_gradient(y: Tensor, told: str) -> None:
    """Raise UserError unless features are of float32 and have gradients."""
    if y.dtype != torch.float32:
        kind = str(y.dtype).removeprefix("torch.")
        raise UserError(f"{told} makes features of {kind}, where float32 is wanted: return them by .float().")
    if not y.requires_grad:
        raise UserError(
            f"{told} makes features without a gradient, so nothing of it could be trained: leave out torch.no_grad(), "
            ".detach() and the like in its forward."
        )
    if y.is_meta:
        return
    try:
        y.sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # of what it changes in place, or of a function of its own
        raise UserError(f"{told} cannot be trained: its features have no gradient ({first_line(error)}).") from error


def _classifier(model: nn.Module, y: Any) -> str | None:
    """How to take off the classifier of a network of timm's or torchvision's, where that made y; else None."""
    for network in model.modules():
        library = {cls.__module__.partition(".")[0] for cls in type(network).__mro__} & {"timm", "torchvision"}
        for head in HEADS if library and isinstance(y, Tensor) else ():
            layers = {name: m for name, m in network.named_modules() if name.partition(".")[0] == head}
            name, last = next(((n, m) for n, m in reversed(layers.items()) if isinstance(m, nn.Linear)), ("", None))
            if last is None or last.out_features != y.shape[-1]:
                continue
            if "torchvision" in library:
                place = re.sub("[.]([0-9]+)", r"[\1]", name)
                return f"Take its classifier off: module.{place} = nn.Identity()."
            if y.shape[-1] == getattr(network, "num_classes", None):
                return "Take its classifier off: timm.create_model(..., num_classes=0), or module.reset_classifier(0)."
    return None


def first_line(error: Exception) -> str:
    """What a module raised, in one line."""
    return f"{type(error).__name__}: {shown(next(iter(str(error).splitlines()), ''))}"
