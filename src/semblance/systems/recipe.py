"""Recipes: the settings that go with a method and a scale of images, and the kinds of hyper-parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from semblance.views.view import AnyView, View

# Kinds of hyper-parameters; what a user sets is checked against them.
Positive = Annotated[float, Field(gt=0, le=1e12)]
Amount = Annotated[float, Field(ge=0, le=1e12)]
Share = Annotated[float, Field(ge=0, le=1)]
Few = Annotated[int, Field(gt=0, le=1000)]  # of what is made or done one by one
Count = Annotated[int, Field(gt=0, le=10**9)]
Natural = Annotated[int, Field(ge=0, le=10**9)]


OPTIMIZERS = ("sgd", "adam", "adamw", "muon", "lars", "lars-simclr", "larc", "lars-clip")


@dataclass(frozen=True)
class Recipe:
    """The settings of a run that go with a method and a scale of images."""

    backbone: str
    image_size: int  # of evaluation; the views carry their own sizes
    views: tuple[AnyView, ...]
    batch_size: int
    epochs: int
    optimizer: str  # one of OPTIMIZERS
    lr: float  # at a batch of 256, scaled linearly
    weight_decay: float
    warmup_epochs: float = 10.0
    final_lr: float = 0.0  # fraction of the peak that the cosine ends at
    bias_lr: float | None = None  # of 1-D tensors at a batch of 256, where it differs from lr
    decay_1d: bool = False  # weight decay (and LARS adaptation) on biases and norms too
    final_weight_decay: float | None = None  # where a cosine ends, if it is not constant
    clip_each: float | None = None  # largest norm of the gradient of each tensor
    audio_backbone: str | None = None  # of methods that learn from clips
    hyper: Mapping[str, Any] = field(default_factory=dict)  # arguments of the method that differ from the paper's


TWO_VIEWS = {  # of a method that says nothing else: SimCLR's pictures and optimisation, which suit most
    "small": Recipe(
        backbone="resnet18-cifar", image_size=32, batch_size=128, epochs=200,
        views=(View(32, count=2, scale=(0.2, 1.0), bicubic=True, jitter=(0.4, 0.4, 0.4, 0.1)),),
        optimizer="muon", lr=0.3, bias_lr=0.15, weight_decay=0.01,
    ),
    "quick": Recipe(
        backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=12, warmup_epochs=1,
        views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
        optimizer="muon", lr=0.3, bias_lr=0.15, weight_decay=0.01,
    ),
}  # fmt: skip
