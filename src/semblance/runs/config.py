"""The resolved configuration of a run, config.yaml: every option, none left open but what is truly optional."""

import json
from dataclasses import fields
from functools import reduce
from hashlib import blake2b
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
import yaml
from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator

from semblance import systems
from semblance.errors import UserError, unknown
from semblance.runs.documents import brief, read_yaml
from semblance.runs.options import (
    GROUPED,
    Data,
    Hardware,
    Many,
    Measuring,
    Name,
    Natural,
    Network,
    NotNegative,
    Optimisation,
    Pixels,
    Time,
    Views,
    What,
)
from semblance.runtime.atomic_files import write_text
from semblance.shown import shown
from semblance.systems import AnyView, Method
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View

MAY_CHANGE = {  # in config.yaml of a run: what is not part of what a run is
    "data", "data_root", "download", "unlabelled", "labels", "split", "epochs", "max_steps", "eval_every",
    "devices", "shard", "workers", "channels_last", "compile", "micro_batch", "load_size", "from_run", "lr", "bias_lr",
    "clip_grad", "eval_samples", "knn_k", "knn_temperature", "keep", "init",
}  # fmt: skip
V = TypeVar("V", bound=AnyView)


class TrainConfig(Hardware, Measuring, Time, Optimisation, Views, Network, Data, What):
    """Everything a run depends on. Rates are those of the actual batch, after scaling."""

    data: Name
    recipe: str
    hyper: dict[str, bool | int | float | str]
    without: list[str]
    backbone: str
    image_size: Pixels
    load_size: Annotated[int, Field(gt=0, le=4096)]
    crop_from: Literal["original", "canvas"] = "canvas"  # all there was once
    views: tuple[AnyView, ...]
    batch_size: Annotated[int, Field(ge=2, le=10**9)]
    optimizer: str
    lr: NotNegative
    bias_lr: NotNegative
    final_lr: Annotated[float, Field(ge=0, le=1)]
    warmup_epochs: NotNegative
    weight_decay: NotNegative
    decay_1d: bool
    epochs: Many
    eval_every: Natural
    devices: Annotated[int, Field(gt=0, le=1024)]
    workers: Annotated[int, Field(ge=0, le=1024)]
    canvas: Annotated[int | None, Field(exclude=True)] = None  # that pictures are kept at, of a run that is opened

    @field_validator("views", mode="plain")
    @classmethod
    def _views(cls, given: Any, info: ValidationInfo) -> tuple[AnyView, ...]:
        """Views are of the kinds that the method's recipes have, a method of somebody else's among them."""
        if "method" not in info.data:
            raise ValueError("the method is not known")
        method = systems.get(info.data["method"])
        views = read_views(method, given)
        recipes = method.recipes.values()
        fewest = min(sum(view.count for view in recipe.views) for recipe in recipes)
        kinds = [{type(view) for view in recipe.views} for recipe in recipes]
        if sum(view.count for view in views) < fewest or {type(view) for view in views} not in kinds:
            raise ValueError(f"{method.title} takes {fewest} views of a sample or more")
        return views

    def view(self, kind: type[V]) -> V:
        """The view of a kind, such as ClipView, of which there is one."""
        return next(view for view in self.views if isinstance(view, kind))

    @property
    def layout(self) -> torch.memory_format:
        """Of images in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def pictures(self) -> list[View]:
        """The views of pictures."""
        return [view for view in self.views if isinstance(view, View)]

    @property
    def video(self) -> ClipView:
        """The view of frames, of methods that learn from clips."""
        return self.view(ClipView)

    @property
    def sound(self) -> SoundView:
        """The view of sound, of methods that learn from clips."""
        return self.view(SoundView)

    def identity(self) -> str:
        """A hash of what a checkpoint belongs to: all but how long, how often evaluated and on what it is trained."""
        own = self.model_dump(mode="json", exclude=MAY_CHANGE)
        return blake2b(json.dumps(own, sort_keys=True).encode(), digest_size=8).hexdigest()

    def yaml(self) -> str:
        """The text of config.yaml, a group of options after the other."""
        values = self.model_dump()
        parts: dict[str, list[str]] = {}
        for name, group in GROUPED.items():
            if name in values:
                line = yaml.safe_dump({name: values[name]}, sort_keys=False)
                parts.setdefault(str(group.__doc__), []).append(line)
        return "\n".join(f"# {heading}\n{''.join(lines)}" for heading, lines in parts.items())

    def save(self, path: Path) -> None:
        write_text(path, self.yaml())

    @classmethod
    def load(cls, path: Path) -> "TrainConfig":
        """Read config.yaml of a run folder."""
        if not path.is_file():
            raise UserError(
                f"No run in {shown(path.parent)}: it has no config.yaml. Look for the folder that train printed."
            )
        problems: list[str] = []
        try:
            values = read_yaml(path)
            if isinstance(values, dict) and isinstance(values.get("method"), str):
                systems.get(values["method"])  # before the views, whose kinds it knows
            config = cls.model_validate(values)
            method = systems.get(config.method)
            check_hyper(method, config.without, config.hyper, problems)
            check_weights(method, config.without, config.hyper, problems)
        except ValidationError as error:
            problems += [f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors()]
        except (OSError, TypeError, ValueError) as error:
            problems.append(str(error))
        if problems:
            raise UserError(f"{shown(path)} is not a whole configuration of Semblance: {'; '.join(problems[:5])}")
        return config


def read_views(cls: type[Method], given: Any) -> tuple[AnyView, ...]:
    """Views as config.yaml or a person gives them, each of a kind that some recipe of the method has."""
    if not isinstance(given, list | tuple):
        raise ValueError(f"a list of views is wanted, not {brief(given)}")
    kinds = dict.fromkeys(type(view) for recipe in cls.recipes.values() for view in recipe.views)
    known = {f.name for kind in kinds for f in fields(kind)}  # type: ignore[arg-type]
    if foreign := {name for view in given if isinstance(view, dict) for name in view.keys() - known}:
        raise ValueError(f"a view has no {', '.join(sorted(foreign))}; it has {', '.join(sorted(known))}")
    adapter: TypeAdapter[Any] = TypeAdapter(tuple[reduce(or_, kinds), ...])  # type: ignore[misc, arg-type]
    return adapter.validate_python(given)


def check_hyper(cls: type[Method], without: list[str], hyper: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Hyper-parameters as the method's signature declares them; the command line reads every number as a float.

    What it does not know of them and of the guards is added to the problems.
    """
    problems += [str(unknown(f"guard of {cls.title}", g, cls.guards)) for g in without if g not in cls.guards]
    options = systems.hyper_parameters(cls)
    found = {}
    for name, value in hyper.items():
        if name not in options:
            problems.append(str(unknown(f"hyper-parameter of {cls.title}", name, options)))
            continue
        try:
            found[name] = TypeAdapter(options[name].annotation).validate_python(value)
        except ValidationError as error:
            problems += [f"--hyper.{name}: {e['msg']} (got {brief(value)})" for e in error.errors()]
    return found


def check_weights(cls: type[Method], without: list[str], hyper: dict[str, Any], problems: list[str]) -> None:
    """A problem where all terms of the loss weigh nothing."""
    defaults = {name: parameter.default for name, parameter in systems.hyper_parameters(cls).items()}
    left = [(defaults | hyper)[name] for name in cls.weights if name not in without]
    if cls.weights and not any(left):
        flags = ", ".join(f"--hyper.{name}" for name in cls.weights)
        problems.append(f"{cls.title} has nothing to learn from: give one of {flags} a weight above 0.")
