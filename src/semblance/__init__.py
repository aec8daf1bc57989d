"""Semblance trains image encoders without labels by joint embedding."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Method", "UserError", "check", "embed", "evaluate", "load_backbone", "methods", "step", "train"]

_HOMES = {
    "Method": "systems", "UserError": "errors", "train": "api", "evaluate": "api", "embed": "api",
    "load_backbone": "runs.weights", "step": "engine.training_step", "check": "checking.check",
}  # fmt: skip


def methods() -> list[str]:
    """Names of the methods that train() takes."""
    from semblance.systems import names

    return names()


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and `semblance --help` needs none of it."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What can be called."""
    return __all__
