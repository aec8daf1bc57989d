"""The resolved configuration of a run: every value, where it came from the recipe or from the user."""

import json
from hashlib import blake2b
from inspect import signature
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from . import systems
from .api import train
from .engine.checkpoint import write_atomically
from .engine.optimizers import NAMES
from .errors import UserError, unknown
from .systems import AnyView, Method, Recipe
from .views.clip import ClipView
from .views.sound import SoundView
from .views.view import View

Precision = Literal["auto", "32", "bf16", "64"]
MAY_CHANGE = {  # in config.yaml of a run, or by flags beside --resume
    "data", "data_root", "download", "epochs", "max_steps", "eval_every", "devices", "shard", "workers",
    "channels_last", "compile", "micro_batch", "load_size", "from_run", "lr", "bias_lr", "clip_grad",
}  # fmt: skip
LARGE = 96  # side of the views of recipes for small images where the pictures are larger
FLAGS_OF_VIEWS = {View: ("flip_p",), ClipView: ("frames", "fps"), SoundView: ("seconds", "mel")}  # their fields
DEFAULTS = {
    name: option.default for name, option in signature(train).parameters.items() if name not in ("resume", "out")
}
EMBEDDED = ("shapes", "digits", "bounce")  # data that needs no download, for a CPU's few minutes


class TrainConfig(BaseModel):
    """Everything a run depends on. Rates are those of the actual batch, after scaling."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: str
    data: str
    data_root: str
    download: bool
    recipe: str
    backbone: str
    audio_backbone: str | None = None
    image_size: int = Field(ge=8)
    load_size: PositiveInt  # pictures are stored for views of up to this size
    views: tuple[AnyView, ...]
    epochs: PositiveInt
    max_steps: PositiveInt | None
    batch_size: int = Field(ge=2)
    micro_batch: int | None = Field(ge=2)
    optimizer: str
    lr: float = Field(ge=0)
    bias_lr: float = Field(ge=0)
    weight_decay: float = Field(ge=0)
    decay_1d: bool
    warmup_epochs: float = Field(ge=0)
    final_lr: float = Field(ge=0, le=1)
    clip_grad: float | None = Field(gt=0)
    clip_each: float | None = Field(None, gt=0)
    final_weight_decay: float | None = Field(None, ge=0)
    seed: int = Field(ge=-(2**63), lt=2**63)
    devices: PositiveInt
    shard: bool = False
    precision: Precision
    channels_last: bool | None  # None: measured at the start of the run
    compile: bool | None
    workers: int = Field(ge=0)
    eval_every: int = Field(ge=0)
    without: list[str]
    hyper: dict[str, bool | int | float | str]
    from_run: str | None = None  # whose weights and banks this one goes on from

    @property
    def pictures(self) -> list[View]:
        """The views of pictures."""
        return [view for view in self.views if isinstance(view, View)]

    @property
    def video(self) -> ClipView:
        """The view of frames, of methods that learn from clips."""
        return next(view for view in self.views if isinstance(view, ClipView))

    @property
    def sound(self) -> SoundView:
        """The view of sound, of methods that learn from clips."""
        return next(view for view in self.views if isinstance(view, SoundView))

    def identity(self) -> str:
        """A hash of what a checkpoint belongs to: all but how long, how often evaluated and on what it is trained."""
        own = self.model_dump(mode="json", exclude=MAY_CHANGE)
        return blake2b(json.dumps(own, sort_keys=True).encode(), digest_size=8).hexdigest()

    def save(self, path: Path) -> None:
        text = yaml.safe_dump(self.model_dump(), sort_keys=False)
        write_atomically(path, lambda file: file.write(text.encode()))

    @classmethod
    def load(cls, path: Path, **anew: Any) -> "TrainConfig":
        """Read config.yaml of a run folder, some of its values given anew."""
        if not path.is_file():
            raise UserError(f"No run in {path.parent}: it has no config.yaml. Look for the folder that train printed.")
        problems: list[str] = []
        try:
            config = cls.model_validate(yaml.safe_load(path.read_text()) | anew)
            _check_method(systems.get(config.method), config.without, config.hyper, problems)
        except ValidationError as error:
            problems += [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        except (TypeError, ValueError, yaml.YAMLError) as error:
            problems.append(str(error))
        if problems:
            raise UserError(f"{path} is not a whole configuration of Semblance: {'; '.join(problems)}")
        return config


def resolve(flags: dict[str, Any], stored_size: int | None = None) -> TrainConfig:
    """Some of the arguments of train(); what they leave open, or None, is filled from the method's recipe.

    Every problem is reported at once, by a UserError.
    stored_size: side in pixels of the pictures as they lie in memory. Where it is above 64, the views of recipes for
    small images grow to it, up to 96. Unknown before the data is read, which takes the config's load_size.
    """
    flags, problems = _typed(DEFAULTS | flags)
    if problems:
        raise UserError("\n".join(problems))
    cls = systems.get(flags["method"])
    pictures = cls.of_pictures()
    if flags["from_run"] is not None:
        flags = _going_on(flags)
    data = _absolute(flags["data"] or ("shapes" if pictures else "bounce"))
    flags = flags | {"data": data, "data_root": str(Path(flags["data_root"]).expanduser().absolute())}
    name = flags["recipe"] or ("quick" if data in EMBEDDED else "small")
    if name not in cls.recipes:
        raise unknown("recipe", name, cls.recipes)
    recipe = cls.recipes[name]
    if flags["image_size"] or data in EMBEDDED or name == "imagenet" or not pictures:
        size = load_size = flags["image_size"] or recipe.image_size
    else:
        load_size = LARGE
        size = min(LARGE, stored_size) if stored_size and stored_size > 64 else recipe.image_size
    given = {k: v for k, v in flags.items() if v is not None}
    batch_size = given.get("batch_size", recipe.batch_size)
    scale = batch_size / 256
    lr = given.get("lr", recipe.lr * scale)
    values = {
        "data": data, "recipe": name, "image_size": size, "load_size": load_size,
        "backbone": recipe.backbone if size <= 64 else recipe.backbone.removesuffix("-cifar"),
        "audio_backbone": recipe.audio_backbone, "from_run": None, "views": resized(recipe, size),
        "epochs": recipe.epochs, "batch_size": batch_size, "optimizer": recipe.optimizer,
        "lr": lr, "bias_lr": lr if recipe.bias_lr is None else lr * recipe.bias_lr / recipe.lr,
        "weight_decay": recipe.weight_decay, "decay_1d": recipe.decay_1d, "warmup_epochs": recipe.warmup_epochs,
        "final_weight_decay": None if "weight_decay" in given else recipe.final_weight_decay,
        "final_lr": recipe.final_lr, "clip_each": recipe.clip_each, "clip_grad": None, "max_steps": None,
        "micro_batch": None, "channels_last": None, "compile": None, "devices": 1, "workers": 2,
        "without": [],
    } | given | {"recipe": name}  # fmt: skip
    of_views = {name: values.pop(name) for names in FLAGS_OF_VIEWS.values() for name in names if name in values}
    values["views"] = tuple(_view(view, of_views, problems) for view in values["views"])
    values["eval_every"] = given.get("eval_every", max(1, values["epochs"] // 6))
    values["hyper"] = dict(recipe.hyper) | _check_method(cls, values["without"], given.get("hyper", {}), problems)
    if pictures:
        of_clips = [
            name for name in ("audio_backbone", *of_views) if name in given and name not in FLAGS_OF_VIEWS[View]
        ]
        problems += [f"{_flag(name)}: {cls.title} learns from pictures alone." for name in of_clips]
    if values["optimizer"] not in NAMES:
        problems.append(str(unknown("optimizer", values["optimizer"], NAMES)))
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        wrong = {e["loc"][0]: _told(e["loc"][0], e) for e in error.errors()}
        problems += [
            told for name, told in wrong.items() if name in flags
        ] or wrong.values()  # others follow from these
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return config


def _going_on(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags, what they leave open of data and networks taken from the run that this one goes on from."""
    run = TrainConfig.load(Path(flags["from_run"]) / "config.yaml")
    if systems.get(run.method).modalities != systems.get(flags["method"]).modalities:
        raise UserError(f"--from {flags['from_run']} is of {run.method}, which learns from something else.")
    own = {name: getattr(run, name) for name in ("data", "recipe", "backbone", "audio_backbone", "image_size")}
    options = signature(systems.get(flags["method"])).parameters
    flags["hyper"] = {k: v for k, v in run.hyper.items() if k in options} | (flags["hyper"] or {})
    views = [*run.views, *(view.picture for view in run.views if isinstance(view, ClipView))]
    own |= {name: getattr(view, name) for view in views for name in FLAGS_OF_VIEWS[type(view)]}
    return flags | {name: value for name, value in own.items() if flags[name] is None}


def _view(view: AnyView, flags: dict[str, Any], problems: list[str]) -> AnyView:
    """A view, those of its fields that are flags as given."""
    given = {name: flags[name] for name in FLAGS_OF_VIEWS[type(view)] if name in flags}
    if isinstance(view, ClipView):
        given["picture"] = _view(view.picture, flags, problems)
    try:
        return TypeAdapter(type(view)).validate_python(vars(view) | given)
    except ValidationError as error:
        problems += [_told(e["loc"][0], e) for e in error.errors()]
        return view


def _typed(flags: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Flags as train() declares them, and what is wrong with those that cannot be so."""
    typed, problems = {}, []
    for name, value in flags.items():
        try:
            plain = fspath(value) if isinstance(value, PathLike) else value
            typed[name] = TypeAdapter(signature(train).parameters[name].annotation).validate_python(plain)
        except ValidationError as error:
            problems.append(_told(name, error.errors()[0]))
    return typed, problems


def _told(name: str | int, error: Any) -> str:
    """A problem of pydantic's as one of a flag."""
    return f"{_flag(name)}: {error['msg']} (got {error['input']!r})"


def _flag(name: str | int) -> str:
    return f"--{str(name).replace('_', '-')}"


def _absolute(data: str) -> str:
    """Data by a path that holds wherever the run is resumed from; names stay as they are."""
    path = Path(data).expanduser()
    return str(path.absolute()) if path.exists() else data


def resized(recipe: Recipe, size: int) -> tuple[AnyView, ...]:
    """The recipe's views for another image size, small crops in proportion."""
    return tuple(view.scaled(size / recipe.image_size) for view in recipe.views)


def _check_method(cls: type[Method], without: list[str], hyper: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Hyper-parameters as the method's signature declares them; the command line reads every number as a float.

    What it does not know of them and of the guards is added to the problems.
    """
    problems += [str(unknown(f"guard of {cls.title}", g, cls.guards)) for g in without if g not in cls.guards]
    options = {n: p.annotation for n, p in signature(cls).parameters.items() if p.kind is p.KEYWORD_ONLY}
    found = {}
    for name, value in hyper.items():
        if name not in options:
            problems.append(str(unknown(f"hyper-parameter of {cls.title}", name, options)))
            continue
        try:
            found[name] = TypeAdapter(options[name]).validate_python(value)
        except ValidationError as error:
            problems += [f"--hyper.{name}: {e['msg']} (got {value!r})" for e in error.errors()]
    return found
