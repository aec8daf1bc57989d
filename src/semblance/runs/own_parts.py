"""Objects among the keyword arguments of the public functions: what a configuration calls them."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from os import PathLike
from typing import Any

from torch import Tensor, nn

from semblance.data import is_paths
from semblance.errors import UserError
from semblance.nets.backbones import of_timm
from semblance.nets.same import makes
from semblance.runtime import named
from semblance.runtime.named import HANDED_OVER
from semblance.systems import Method


def named_parts(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments with texts in the place of objects, and the objects by these texts, for `named.handed_over`.

    method: a class. backbone: a module, or what makes one. data: an array, a Dataset, or a function that returns data.
    """
    options, objects = dict(given), {}
    name_backbone = partial(_backbone, image_size=given.get("image_size"))
    for name, name_it in (("method", _method), ("backbone", name_backbone), ("data", _data)):
        if (value := given.get(name)) is not None and not isinstance(value, str | PathLike) and not is_paths(value):
            options[name] = name_it(value)
            objects[options[name]] = value
    if isinstance(given.get("backbone"), nn.Module) and not given.get("resume"):
        weights = f"{HANDED_OVER}weights of {type(given['backbone']).__name__}"
        options["init"] = given.get("init") or weights
    return options, objects


def _method(cls: Any) -> str:
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise UserError(f"method is a {type(cls).__name__}: a name or a class derived from semblance.Method is wanted.")
    return named.name_of(cls) or f"{HANDED_OVER}{cls.__name__}"


def _backbone(given: Any, image_size: Any) -> str:
    """Of a module, what makes one like it, if any. image_size: of the views, where it is known."""
    if not isinstance(given, nn.Module):
        return _function("backbone", given)
    cls = type(given)
    architecture = (getattr(given, "pretrained_cfg", None) or {}).get("architecture")  # of timm's models
    makers: list[tuple[str | None, Callable[[], nn.Module]]] = [(named.name_of(cls), cls)]
    if isinstance(architecture, str):
        makers.append((architecture, lambda: of_timm(architecture)))
    sizes = [image_size] if isinstance(image_size, int) and image_size > 0 else []
    return next((text for text, make in makers if text and makes(make, given, sizes)), f"{HANDED_OVER}{cls.__name__}")


def _data(given: Any) -> str:
    if isinstance(given, list | tuple) and not given:
        raise UserError("data names no pictures: the list is empty.")
    if isinstance(given, Tensor) or hasattr(given, "dtype"):
        return f"{HANDED_OVER}array of {str(given.dtype).removeprefix('torch.')} {tuple(given.shape)}"
    if isinstance(given, type) or (callable(given) and not hasattr(given, "__getitem__")):
        return _function("data", given)
    count = ""
    with suppress(Exception):  # of a __len__ of its own: what is wrong with it is told where the data is read
        count = f" of {len(given):,}" if hasattr(given, "__getitem__") else ""
    return f"{HANDED_OVER}{type(given).__name__}{count}"


def _function(option: str, given: Any) -> str:
    if not callable(given):
        raise UserError(f"{option} is a {type(given).__name__}, which cannot be used as such.")
    return named.name_of(given) or f"{HANDED_OVER}{getattr(given, '__name__', type(given).__name__)}"
