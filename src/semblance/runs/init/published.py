"""Weights that timm and torchvision publish by name: from the caches of this machine, or fetched."""

from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import Tensor

from semblance.errors import UserError, unknown
from semblance.shown import shown

TIMM, TORCHVISION = "timm:", "torchvision:"
HUB = ("model.safetensors", "pytorch_model.bin")  # of a folder with a config.json, as timm writes it
INDEX = "{}.index.json"  # of weights in several files
_PATIENCE = 10  # seconds to learn whether there is a network


def tagged(name: str) -> tuple[str, str]:
    """Architecture and tag of weights of timm's, "" for the usual ones; a UserError where there are none."""
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UserError(f"--init {TIMM}{shown(name)}: timm has no model {shown(architecture)}.{meant(name)}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if not tags:
        raise UserError(f"--init {TIMM}{shown(name)}: timm has no weights of {architecture}.")
    if tag and tag not in tags:
        raise unknown(f"weights of {architecture} in timm", tag, tags)
    return architecture, tag


def meant(name: str, likeness: float = 0.5) -> str:
    """A question that names models of timm's like one that there is not, " Did you mean resnet18?"; "" where none is.
    likeness: from 0 to 1, of those that are named."""
    import timm

    close = get_close_matches(name, timm.list_models(), n=3, cutoff=likeness)
    return f" Did you mean {', '.join(close)}?" if close else ""


def of_timm(name: str) -> dict[str, Tensor]:
    """The tensors of weights of timm's."""
    import timm
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    architecture, tag = tagged(name)
    full = f"{architecture}.{tag}" if tag else architecture
    about: Any = timm.get_pretrained_cfg(full)
    hub, url = about.hf_hub_id, about.url
    where = hub or url
    try:
        files = [try_to_load_from_cache(hub, file) for file in HUB] if hub else [_cached(url)]
        if found := [file for file in files if isinstance(file, str)]:  # a network is not asked for
            return timm.create_model(full, pretrained=True, pretrained_cfg_overlay={"file": found[0]}).state_dict()
        _reach(hf_hub_url(hub, "config.json") if hub else url)
        return timm.create_model(full, pretrained=True).state_dict()
    except Exception as error:  # of the hub, in whatever way there is no network
        raise UserError(
            f"--init {TIMM}{shown(name)} is not in the cache of this machine and cannot be fetched here "
            f"({type(error).__name__}). Fetch {where} where there is a network, and give the file or its folder."
        ) from error


def of_torchvision(name: str) -> dict[str, Tensor]:
    """The tensors of weights of torchvision's."""
    import torchvision.models

    architecture, _, tag = name.partition(".")
    if architecture not in torchvision.models.list_models(module=torchvision.models):
        raise unknown("torchvision model", architecture, torchvision.models.list_models(module=torchvision.models))
    weights = torchvision.models.get_model_weights(architecture)
    if tag and tag not in weights.__members__:
        raise unknown(f"weights of {architecture} in torchvision", tag, weights.__members__)
    url = weights[tag or "DEFAULT"].url
    try:
        if _cached(url) is None:
            _reach(url)
        return dict(weights[tag or "DEFAULT"].get_state_dict(check_hash=True))
    except Exception as error:  # in whatever way there is no network
        raise UserError(
            f"--init {TORCHVISION}{shown(name)} is not in the cache of this machine and cannot be fetched here. Where "
            f"there is a network, fetch {url}, and give the file."
        ) from error


def _cached(url: str) -> str | None:
    """The file that torch's own cache has of it."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    return str(path) if path.exists() else None


def _reach(url: str) -> None:
    """An OSError where there is no network: those that fetch try for a minute, and say so in lines of their own."""
    with suppress(HTTPError):  # an answer
        urlopen(Request(url, method="HEAD"), timeout=_PATIENCE).close()
