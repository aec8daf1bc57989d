"""Semblance trains image encoders without labels by joint embedding."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "Callback", "Method", "UserError", "check", "embed", "evaluate", "export", "knn", "linear_probe", "load_backbone",
    "losses", "methods", "step", "train", "views",
]  # fmt: skip

_HOMES = {
    "Method": "systems", "UserError": "errors", "train": "api", "evaluate": "api", "embed": "api", "export": "api",
    "load_backbone": "commands.backbones", "step": "engine.training_step", "Callback": "engine.callbacks",
    "knn": "evaluation.probes", "linear_probe": "evaluation.probes", "check": "checking.check",
}  # fmt: skip


def methods() -> list[str]:
    """Names of the methods that train() takes, those of other packages last."""
    from semblance.systems import brought, names

    return [*names(), *brought()]


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and `semblance --help` needs none of it."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What can be called."""
    return __all__
