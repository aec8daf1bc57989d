"""A network on its way out, and the pictures or sounds that prove it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.shown import shown
from semblance.views.view import CENTRE, MEAN, STD


@dataclass
class Leaving:
    """backbone: its name as in config.yaml. network: on the CPU, in evaluation mode. inputs: what proves it, before it
    is normalised: pictures float32 (n, 3, H, W) in [0, 1], frames (n, 3, T, H, W), or spectrograms in dB. stream:
    "video" or "audio" of clips, "" of pictures. said: more of how inputs are made. autocast: whether the run computed
    in bf16."""

    backbone: str
    network: nn.Module
    inputs: Tensor
    stream: str = ""
    said: dict[str, Any] = field(default_factory=dict)
    autocast: bool = False

    @property
    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """By which inputs are normalised; None for spectrograms, which the network takes as they are."""
        return None if self.stream == "audio" else (MEAN, STD)

    @property
    def shown(self) -> dict[str, Any]:
        """How inputs are shown to the network, of pictures in the terms of timm's configurations."""
        size = self.inputs.shape[-1]
        about = {"input_size": tuple(self.inputs.shape[1:])} | self.said
        if self.mean_and_std is None:
            return about
        crop = CENTRE if size > 64 else 1.0
        return about | {"interpolation": "bilinear", "crop_pct": crop, "mean": MEAN, "std": STD}

    @cached_property
    def expected(self) -> Tensor:
        """The features of the inputs, in the precision of the weights: (n, D)."""
        return self._features()

    @property
    def of_bf16(self) -> float | None:
        """How far the features of the run itself lie from the expected ones, as a share of the largest."""
        if not self.autocast:
            return None
        with torch.autocast("cpu", torch.bfloat16):
            found = self._features().double()
        return float((found - self.expected.double()).abs().max() / self.expected.abs().max())

    @torch.no_grad()
    def _features(self) -> Tensor:
        x = normalised(self.inputs, self.mean_and_std).to(next(self.network.parameters()).dtype)
        return self.network(x)

    def tensors(self) -> dict[str, Tensor]:
        """Its state dict, whose floats are float32."""
        state = self.network.state_dict().items()
        return {name: (v.float() if v.is_floating_point() else v).contiguous() for name, v in state}


def normalised(x: Tensor, by: tuple[tuple[float, ...], tuple[float, ...]] | None) -> Tensor:
    if by is None:
        return x
    mean, std = (torch.tensor(values).view(3, *[1] * (x.ndim - 2)) for values in by)
    return (x - mean) / std


@dataclass
class Written:
    """What was written of a network.

    told: what it is in words. code: lines of Python that load it as `network`, given where it lies. features: lines
    that define what the proof calls after them: features(inputs before they are normalised) -> (n, D), arrays. They may
    leave in `seen` how pictures are to be shown by what was written.
    """

    told: str
    code: Callable[[Path], str]
    features: str


def wrong_target(target: str, why: object) -> UserError:
    return UserError(f"--to {target}: {why} --to onnx takes every network.")


def same_tensors(ours: nn.Module, theirs: nn.Module) -> bool:
    """Whether two networks have tensors of the same names and shapes."""
    shapes = [{name: v.shape for name, v in network.state_dict().items()} for network in (ours, theirs)]
    return shapes[0] == shapes[1]


def quoted_path(path: Path) -> str:
    return repr(shown(path.absolute()))
