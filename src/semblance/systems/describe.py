"""What a method is, for people and programs: read off its class, its recipes and the state it makes."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semblance.systems import Family, brought, get, hyper_parameters, names
from semblance.systems.families import TRIVIAL
from semblance.systems.method import Method
from semblance.systems.recipe import AnyView, Recipe
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View

PICTURES = 1_234_567  # stands for N, and is easily told from other sizes
COSTS = Path(__file__).parent / "costs.json"  # written by benchmarks/costs.py


class _Backbone(nn.Module):
    num_features = 512


def about(name: str) -> dict[str, Any]:
    """Everything that `semblance methods NAME` shows, as plain values."""
    cls = get(name)
    published = cls.recipes.get("imagenet") or next(iter(cls.recipes.values()))
    return {
        "method": name, "package": brought().get(name, "semblance"), "title": cls.title, "family": cls.family,
        "paper": cls.paper, "equation": cls.equation,
        "picture": cls.picture.strip("\n"), "guards": cls.guards, "views": _views(published.views),
        "state": state(cls),
        "cost": json.loads(COSTS.read_text())["costs"].get(name),
        "defaults": {n: p.default for n, p in hyper_parameters(cls).items()},
        "recipes": {
            recipe: {
                "backbone": " + ".join(filter(None, (r.backbone, r.audio_backbone))), "image_size": r.image_size,
                "views": [_set(view) for view in r.views], "epochs": r.epochs, "warmup_epochs": r.warmup_epochs,
                "batch_size": r.batch_size, "optimizer": r.optimizer, "lr_at_256": r.lr,
                "bias_lr_at_256": r.lr if r.bias_lr is None else r.bias_lr, "final_lr": r.final_lr,
                "weight_decay": r.weight_decay,
                "final_weight_decay": r.weight_decay if r.final_weight_decay is None else r.final_weight_decay,
                "decay_of_biases_and_norms": r.decay_1d, "largest_gradient_of_a_tensor": r.clip_each,
                "hyper": dict(r.hyper),
                "levels_of_the_loss": _levels(cls, r),
            }
            for recipe, r in cls.recipes.items()
        },
    }  # fmt: skip


def about_all() -> list[dict[str, Any]]:
    """The same of all methods, those of other packages last; of one that cannot be used `problem` says why."""
    told = [about(name) for name in names()]
    for name, package in brought().items():
        try:
            told.append(about(name))
        except Exception as error:  # whatever is wrong with a package that happens to be here
            told.append({"method": name, "package": package, "problem": str(error)})
    hidden = "not reachable under that name, which is a built-in method's: the package has to give it another."
    of_the_house = brought(shadowed=True).items()
    return told + [{"method": name, "package": package, "problem": hidden} for name, package in of_the_house]


def about_family(family: Family) -> dict[str, Any]:
    """Everything that `semblance methods FAMILY` shows, as plain values."""
    members = [about(name) for name in names() if get(name).family == family.name]
    return {
        "family": family.name, "idea": family.idea, "trivial_solution": TRIVIAL, "answer": family.trivial,
        "watch": family.watch, "example": family.example, "methods": members,
    }  # fmt: skip


def _levels(cls: type[Method], recipe: Recipe) -> dict[str, float | None]:
    """Levels of the loss by their meaning; None where they depend on the number of samples."""
    levels = _on_paper(cls, **recipe.hyper).constants(recipe.batch_size).items()
    known = f"{PICTURES:,}"
    return {point.replace(known, "N"): None if known in point else level for point, level in levels}


def state(cls: type[Method]) -> dict[str, str]:
    """What a method keeps between steps besides trained weights, by name: a buffer's shape, N being the number of
    samples, or what a part is."""
    model, kept = _on_paper(cls), {}
    for name, buffer in model.named_buffers():
        if "running_" not in name and "num_batches" not in name:
            shape = " x ".join("N" if n == PICTURES else f"{n:,}" for n in buffer.shape) or "one number"
            kept[name] = shape if buffer.numel() else "none, unless it is switched on"
    if hasattr(model, "target"):
        kept["target"] = "a moving average of the trained parts"
    return kept


def _on_paper(cls: type[Method], **hyper: Any) -> Method:
    """The method for a set of PICTURES, on the meta device: shapes without values."""
    make: Callable[..., Method] = cls  # methods differ in how many networks they take
    with torch.device("meta"):
        model = make(*(_Backbone() for _ in cls.streams), **hyper)
        model.prepare(PICTURES)
    return model


def _views(views: tuple[AnyView, ...]) -> str:
    """How many views of which sizes, equal ones counted together."""

    def one(view: Any) -> str:
        if isinstance(view, SoundView):
            return f"{view.seconds:g} s of sound"
        if isinstance(view, ClipView):
            return f"{view.frames} frames of {view.size} px"
        if not isinstance(view, View):
            return type(view).__name__.lower()
        patches = f"{view.grid**2} patches of " if view.grid > 1 else ""
        return f"{patches}{view.size} px"

    counts = Counter[str]()
    for view in views:
        counts[one(view)] += view.count
    return " + ".join(f"{n} x {what}" if n > 1 else what for what, n in counts.items())


def _set(view: Any) -> dict[str, Any]:
    """The view's parameters that are not at their defaults."""
    found = {f.name: getattr(view, f.name) for f in fields(view) if getattr(view, f.name) != f.default}
    picture = found.pop("picture", None)
    return found | (_set(picture) if picture else {})
