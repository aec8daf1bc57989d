"""From options to a configuration: what a person leaves open is filled from the method's recipe."""

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from semblance import systems
from semblance.errors import UserError, unknown
from semblance.runs.config import TrainConfig, check_hyper, check_weights, read_views
from semblance.runs.init.published import TIMM
from semblance.runs.init.start import Start
from semblance.runs.options import SAID, TrainOptions, ViewFields, flag, flag_problem
from semblance.runtime import named
from semblance.shown import shown
from semblance.systems import AnyView, Method, Recipe
from semblance.systems.recipe import OPTIMIZERS
from semblance.views.view import View

LARGE = 96  # side of the views of recipes for small images where the pictures are larger
TAKEN = (  # from the recipe as they are
    "audio_backbone", "epochs", "optimizer", "weight_decay", "decay_1d", "warmup_epochs", "final_lr", "clip_each",
)  # fmt: skip
# Of weights that somebody has trained, which the rates of a recipe would destroy: docs/weights.md.
CONTINUED = {"layer_decay": 0.7, "head_epochs": 1.0, "hold_norms": True, "keep": "best"}
ADAMW = {"optimizer": "adamw", "weight_decay": 0.05}  # for them, unless another optimiser is given
HEADS_LR, BACKBONE_SHARE = 1e-3, 0.1  # its rate at any batch size; of the rate, for the backbone
EMBEDDED = ("shapes", "digits", "bounce")  # data that needs no download, for a CPU's few minutes


def resolve(
    options: TrainOptions | Mapping[str, Any], stored_size: int | None = None, *, exact: bool = False
) -> TrainConfig:
    """The configuration of some options, or of some keyword arguments of train().

    Every problem is reported at once, by a UserError.
    stored_size: side in pixels of the pictures as they lie in memory. Where it is above 64, the views of recipes for
    small images grow to it, up to 96. Unknown before the data is read, which takes the config's load_size.
    exact: whether pictures lie there as they are, so that views need not be cut from the originals.
    """
    if not isinstance(options, TrainOptions):
        options = TrainOptions.of(options)
    problems = list(options.problems)
    try:
        method = systems.canonical(options.method)
        cls = systems.get(method)
        given = options.given | {"method": method}
        if options.from_run is not None:
            given = _of_the_run(options.from_run, cls, given)
        given = _with_the_start(given)
        data = absolute(given.get("data", cls.example))
        usual = ("quick", "small") if data in EMBEDDED else ("small", "quick")
        name = given.get("recipe") or next(recipe for recipe in (*usual, *cls.recipes) if recipe in cls.recipes)
        if name not in cls.recipes:
            raise unknown("recipe", name, cls.recipes)
    except UserError as error:
        raise UserError(*problems, *error.args) from error
    recipe = cls.recipes[name]
    size, load_size = _sizes(cls, name, recipe, data, given.get("image_size"), stored_size)
    batch_size = given.get("batch_size", recipe.batch_size)
    continued = "init" in given and not named.is_handed_over(given["init"])
    careful = continued and given.get("optimizer", "adamw") == "adamw"
    lr = given.get("lr", HEADS_LR if careful else recipe.lr * batch_size / 256)
    epochs = given.get("epochs", recipe.epochs)
    values: dict[str, Any] = {name: getattr(recipe, name) for name in TAKEN} | {
        "image_size": size, "load_size": load_size, "batch_size": batch_size,
        "backbone": recipe.backbone if size <= 64 else recipe.backbone.removesuffix("-cifar"),
        "lr": lr, "bias_lr": lr if recipe.bias_lr is None or careful else lr * recipe.bias_lr / recipe.lr,
        "final_weight_decay": None if "weight_decay" in given or careful else recipe.final_weight_decay,
        "crop_from": "original" if name == "imagenet" and cls.of_pictures() and not exact else "canvas",
        "eval_every": max(1, epochs // 6), "devices": 1, "workers": 2, "without": [],
        "seed": options.seed, "shard": options.shard, "precision": options.precision, "download": options.download,
        "knn_temperature": 0.07 if name == "imagenet" else 0.1,
    } | (
        CONTINUED | {"backbone_lr": BACKBONE_SHARE * lr} if continued else {}
    ) | (ADAMW if careful else {}) | given | {
        "data": data, "data_root": absolute_path(options.data_root), "recipe": name,
        "labels": absolute(given["labels"]) if "labels" in given else None,
        "from_run": None if options.from_run is None else absolute_path(options.from_run),
    }  # fmt: skip
    values["views"] = _views(cls, recipe, size, options, given, problems)
    values["hyper"] = dict(recipe.hyper) | check_hyper(cls, values["without"], given.get("hyper", {}), problems)
    check_weights(cls, values["without"], values["hyper"], problems)
    own_views = cls.of_pictures() and not all(isinstance(view, View) for view in values["views"])
    if own_views and "crop_from" not in given:
        values["crop_from"] = "canvas"
    if values["crop_from"] == "original" and not cls.of_pictures():
        problems.append(_foreign("crop_from", cls))
    elif values["crop_from"] == "original" and own_views:
        problems.append("--crop-from original: views of your own take canvases; give --crop-from canvas.")
    if cls.modality == "clips" and named.is_own(values["backbone"], named.BACKBONES):
        problems.append(f"--backbone {shown(values['backbone'])}: own backbones are for pictures, not for {cls.title}.")
    if recipe.audio_backbone is None and "audio_backbone" in given:
        problems.append(_foreign("audio_backbone", cls))
    if options.shard and given.get("channels_last"):
        problems.append("--shard spreads contiguous parameters only: leave --channels-last out.")
    if values["optimizer"] not in OPTIMIZERS:
        problems.append(str(unknown("optimizer", values["optimizer"], OPTIMIZERS)))
    try:
        config = TrainConfig.model_validate({n: v for n, v in values.items() if n in TrainConfig.model_fields})
    except ValidationError as error:
        wrong = {e["loc"][0]: flag_problem(e["loc"][0], e) for e in error.errors()}
        problems += [told for n, told in wrong.items() if n in given] or wrong.values()  # others follow from these
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return config


def _with_the_start(given: dict[str, Any]) -> dict[str, Any]:
    """What is given, and the networks that its weights are of; a tag in the name of a network asks for its weights."""
    name = given.get("backbone", "")
    named.refuse_a_file_alone(name, named.BACKBONES)
    if named.is_own(name, named.BACKBONES):
        given = given | {"backbone": named.canonical(name)}
        named.load(given["backbone"], named.BACKBONES)  # a typo costs no reading
    elif not name.startswith("torchvision/") and "." in name:
        if "init" in given:
            raise UserError(f"--backbone {shown(name)} asks for its weights, and --init for others: leave one out.")
        given = given | {"init": f"{TIMM}{name}", "backbone": name.partition(".")[0]}
    if "." in given.get("audio_backbone", ""):
        raise UserError(f"--audio-backbone {shown(given['audio_backbone'])}: weights of pictures are not for sound.")
    if "init" not in given or named.is_handed_over(given["init"]):
        return given
    if "from_run" in given:
        raise UserError("--from starts with the weights of a run, and --init with others: leave one out.")
    start = Start.of(given["init"])
    init = given["init"] if start.kind in ("timm", "torchvision") else absolute_path(start.name)
    return start.networks() | given | {"init": init}


def resized(views: tuple[AnyView, ...], ratio: float) -> tuple[AnyView, ...]:
    """Views for another size of pictures, small crops in proportion."""
    return tuple(view.scaled(ratio) for view in views)


def _of_the_run(run: str, cls: type[Method], given: dict[str, Any]) -> dict[str, Any]:
    """What is given, and data, networks, windows and shared hyper-parameters of the run that this one starts with."""
    old = TrainConfig.load(Path(run) / "config.yaml")
    theirs = systems.get(old.method).modality
    if theirs != cls.modality and (isinstance(theirs, str) or type(theirs) is not type(cls.modality)):
        raise UserError(f"--from {shown(run)} is of {old.method}, which learns from something else.")
    own = {name: getattr(old, name) for name in ("data", "recipe", "backbone", "audio_backbone", "image_size")}
    if "data" not in given:  # what is said of it goes along
        own |= {name: getattr(old, name) for name in SAID}
    windows = {name: value for view in old.views for name, value in _fields(view).items()}
    own |= {name: windows[name] for name in ViewFields.model_fields if name in windows}
    shared = {name: value for name, value in old.hyper.items() if name in systems.hyper_parameters(cls)}
    own |= given | {"hyper": shared | given.get("hyper", {})}
    return {name: value for name, value in own.items() if value is not None}


def _sizes(
    cls: type[Method], name: str, recipe: Recipe, data: str | list[str], given: int | None, stored_size: int | None
) -> tuple[int, int]:
    """Side of the views, and the size of views for which pictures are kept."""
    if given or data in EMBEDDED or name == "imagenet" or not cls.of_pictures():
        return given or recipe.image_size, given or recipe.image_size
    return min(LARGE, stored_size) if stored_size and stored_size > 64 else recipe.image_size, LARGE


def _views(
    cls: type[Method], recipe: Recipe, size: int, options: TrainOptions, given: dict[str, Any], problems: list[str]
) -> tuple[AnyView, ...]:
    """The views as they are given, or the recipe's at this size; with those of their fields that are options."""
    flags = {name: given[name] for name in ViewFields.model_fields if name in given}
    views = resized(recipe.views, size / recipe.image_size)
    if options.views is not None:
        count = sum(view.count for view in views)
        try:
            own = resized(read_views(cls, options.views), size / (options.size_of_views or size))
            if (given_count := sum(view.count for view in own)) != count:
                raise ValueError(f"{cls.title} takes {count} views of a sample here, these are {given_count}")
            views = own
        except ValidationError as error:
            problems += [f"views: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        except ValueError as error:
            problems.append(f"views: {error}")
    taken = {name for view in views for name in _fields(view)}
    problems += [_foreign(name, cls) for name in flags if name not in taken]
    return tuple(_with_fields(view, flags, problems) for view in views)


def _foreign(option: str, cls: type[Method]) -> str:
    return f"{flag(option)}: {cls.title} learns from {' and '.join(cls.streams)} alone."


def _fields(view: Any) -> dict[str, Any]:
    """The fields of a view, and of a view within it."""
    own = {f.name: getattr(view, f.name) for f in fields(view)}
    return {name: value for part in own.values() if is_dataclass(part) for name, value in _fields(part).items()} | own


def _with_fields(view: Any, flags: dict[str, Any], problems: list[str]) -> Any:
    """A view, or a view within one, with those of its fields that are options as given."""
    parts = {name: value for name, value in vars(view).items() if is_dataclass(value)}
    own = {name: _with_fields(part, flags, problems) for name, part in parts.items()}
    own |= {name: value for name, value in flags.items() if name in vars(view)}
    try:
        return TypeAdapter(type(view)).validate_python(vars(view) | own)
    except ValidationError as error:
        problems += [flag_problem(e["loc"][0], e) for e in error.errors()]
        return view


def absolute(data: Any) -> Any:
    """Data by paths that hold wherever the run is resumed from; names stay as they are."""
    if isinstance(data, list | tuple):
        return [absolute(each) for each in data]
    path = Path(os.path.expanduser(data))
    return str(path.absolute()) if path.exists() else named.canonical(data)


def absolute_path(folder: str) -> str:
    return str(Path(os.path.expanduser(folder)).absolute())
