"""The resolved configuration of a run, config.yaml: every option, none left open but what is truly optional."""

import json
from collections.abc import Collection
from dataclasses import asdict, fields, is_dataclass
from functools import reduce
from hashlib import blake2b
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import torch
import yaml
from pydantic import (
    Field,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from semblance import systems
from semblance.errors import UserError, unknown
from semblance.runs.documents import brief, read_yaml
from semblance.runs.options import (
    GROUPED,
    Data,
    DataName,
    Hardware,
    Logging,
    Many,
    Measuring,
    Natural,
    Network,
    NotNegative,
    Optimisation,
    Pixels,
    Time,
    Views,
    What,
)
from semblance.runtime import named
from semblance.runtime.atomic_files import write_text
from semblance.shown import shown
from semblance.systems import AnyView, Method
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View

MAY_CHANGE = {  # in config.yaml of a run: what is not part of what a run is
    "data", "data_root", "download", "unlabelled", "labels", "split", "epochs", "max_steps", "eval_every",
    "devices", "shard", "workers", "channels_last", "compile", "micro_batch", "load_size", "from_run", "lr", "bias_lr",
    "backbone_lr", "layer_decay", "head_epochs", "hold_norms",
    "clip_grad", "eval_samples", "knn_k", "knn_temperature", "keep", "init", "log",
}  # fmt: skip
CLASS = "class"  # beside the fields of a view of somebody's own: FILE.py:NAME
V = TypeVar("V", bound=AnyView)


class TrainConfig(Hardware, Logging, Measuring, Time, Optimisation, Views, Network, Data, What):
    """Everything a run depends on. Rates are those of the actual batch, after scaling."""

    data: DataName
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
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    head_epochs: NotNegative = 0.0
    hold_norms: bool = False
    keep: Literal["last", "best"] = "last"
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
        given_kinds = {type(view) for view in views}
        whole = given_kinds in kinds or (method.of_pictures() and not given_kinds <= _kinds(method).keys())
        if sum(view.count for view in views) < fewest or not whole:
            raise ValueError(f"{method.title} takes {fewest} views of a sample or more")
        return views

    @field_serializer("views")
    def _as_written(self, views: tuple[AnyView, ...]) -> list[dict[str, Any]]:
        """Fields by name; those of a class of somebody's own with its name."""
        known = _kinds(systems.get(self.method))
        return [
            ({} if type(view) in known else {CLASS: named.name_of(type(view))}) | asdict(cast(Any, view))
            for view in views
        ]

    @property
    def data_in_words(self) -> str:
        """What its samples are called."""
        return self.data if isinstance(self.data, str) else f"{self.data[0]} and {len(self.data) - 1:,} more"

    @property
    def began_with_weights(self) -> bool:
        """Whether its networks began with weights that somebody gave: a run's, a file's, or those of an own module."""
        given = self.init is not None or self.from_run is not None
        return given or named.is_own(self.backbone, named.BACKBONES)

    @property
    def backbone_rate(self) -> float:
        """The rate of the backbone, which may be another than that of the heads."""
        return self.lr if self.backbone_lr is None else self.backbone_lr

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
    """Views as config.yaml or a person gives them, each of a kind that some recipe of the method has, or a dataclass of
    somebody's own: an object, or its fields beside class: FILE.py:NAME."""
    if not isinstance(given, list | tuple):
        raise ValueError(f"a list of views is wanted, not {brief(given)}")
    kinds = _kinds(cls)
    known = {f.name for kind in kinds for f in fields(kind)}
    plain = [view for view in given if isinstance(view, dict) and CLASS not in view]
    if foreign := {name for view in plain for name in view.keys() - known}:
        raise ValueError(f"a view has no {', '.join(sorted(foreign))}; it has {', '.join(sorted(known))}")
    usual: TypeAdapter[Any] = TypeAdapter(reduce(or_, kinds))
    return tuple(_own_view(view) if _is_own(view, kinds) else usual.validate_python(view) for view in given)


def _kinds(cls: type[Method]) -> dict[Any, None]:
    """The classes of views that a method's recipes have, in their order."""
    return dict.fromkeys(type(view) for recipe in cls.recipes.values() for view in recipe.views)


def _is_own(view: Any, kinds: Collection[type]) -> bool:
    if isinstance(view, dict):
        return CLASS in view
    return hasattr(view, "make") and type(view) not in {View, ClipView, SoundView, *kinds}


def _own_view(given: Any) -> AnyView:
    """A view of a class of somebody's own, given as an object or as it is written down."""
    kind: Any = type(given)
    if isinstance(given, dict):
        kind = named.load(str(given[CLASS]), named.VIEWS)
        given = {name: value for name, value in given.items() if name != CLASS}
    elif named.name_of(kind) is None:
        raise ValueError(f"{brief(kind)} cannot be written down: put the class into a file, at its first level")
    if not (is_dataclass(kind) and hasattr(kind, "make") and hasattr(kind, "scaled")):
        raise ValueError(f"{brief(kind)} is no view: a dataclass with count, scaled and make is wanted (AnyView)")
    try:
        view: Any = TypeAdapter(kind).validate_python(given)
        json.dumps(asdict(view))
    except (PydanticUserError, TypeError) as error:
        raise ValueError(f"a field of {brief(kind)} cannot be written down: {error}") from error
    if not isinstance(view.count, int) or view.count < 1:
        raise ValueError(
            f"the count of {brief(kind)} is {brief(view.count)}: how many such views, 1 or more, is wanted"
        )
    return cast(AnyView, view)


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
