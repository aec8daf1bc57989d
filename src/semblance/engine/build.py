"""From a configuration to a method with its backbones."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from .. import systems
from ..config import TrainConfig
from ..data.samples import Samples
from ..errors import UserError
from ..nets.audio import audio_backbone
from ..nets.backbones import backbone, check_sizes
from ..nets.video import video_backbone
from ..systems import Method
from . import checkpoint
from .folder import RunFolder
from .sharding import check_shardable


def build(config: TrainConfig) -> Method:
    """The method with random weights."""
    cls = systems.get(config.method)
    networks: list[nn.Module]
    if cls.of_pictures():
        networks = [backbone(config.backbone)]
        if config.shard:
            check_shardable(networks[0], config.backbone)
        check_sizes(networks[0], config.backbone, [config.image_size, *(view.size for view in config.pictures)])
    else:
        assert config.audio_backbone is not None
        networks = [video_backbone(config.backbone), audio_backbone(config.audio_backbone, config.sound.bins)]
        clip, size, sound = config.video, config.image_size, config.sound
        _check_windows(networks[0], config.backbone, 3, clip.frames, size, size)
        _check_windows(networks[1], config.audio_backbone, 1, sound.samples // sound.hop, sound.bins)
    make: Callable[..., Method] = cls  # methods differ in how many networks they take
    return make(*networks, without=config.without, **config.hyper)


def _check_windows(network: nn.Module, name: str, *window: int) -> None:
    """A UserError unless the network takes windows (channels, time, ...)."""
    try:
        deepcopy(network).to("meta").eval()(torch.empty(1, *window, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        told = str(error).splitlines()[0]
        raise UserError(f"Backbone {name} does not take windows of {' x '.join(map(str, window))}: {told}") from error


def go_on_from(run: str, method: Method, samples: Samples) -> None:
    """Start a method with the weights, banks and constants of a finished run on the same samples.

    What it alone has stays as it is; what only the other run has is left out.
    """
    path = RunFolder(Path(run)).checkpoint
    if not path.exists():
        raise UserError(f"--from {run}: there is no checkpoint at {path}.")
    state = checkpoint.load(path)
    if state.get("samples") != samples.fingerprint():
        raise UserError(
            f"--from {run} was trained on other data than {samples.name}: its banks hold an embedding of each of its "
            "own samples. Train it on this data first."
        )
    own = method.state_dict()
    shared = {name: value for name, value in state["method"].items() if name in own}
    differing = [name for name, value in shared.items() if value.shape != own[name].shape]
    parts = [{name.split(".")[0] for name in names} for names in (own, state["method"])]
    differing += [name for name in own.keys() ^ state["method"].keys() if all(name.split(".")[0] in p for p in parts)]
    if differing or not any(name.startswith("backbone.") for name in shared):
        raise UserError(
            f"--from {run} has other networks than this run ({', '.join(sorted(differing)[:3]) or 'none in common'}): "
            "give it the same --recipe, --backbone, --audio-backbone and --hyper."
        )
    method.load_state_dict(shared, strict=False)
