"""The registry: a method is a module in a family's folder, found by its file name."""

from importlib import import_module
from pathlib import Path

from ..errors import unknown
from .method import AnyView, Clock, Method, Recipe, View

__all__ = ["AnyView", "Clock", "Method", "Recipe", "View", "get", "names"]


def _modules() -> dict[str, str]:
    """Command-line name to module path, without importing any: simclr -> contrastive.simclr."""
    files = sorted(Path(__file__).parent.glob("*/[a-z]*.py"))
    return {f.stem.replace("_", "-"): f"{__name__}.{f.parent.name}.{f.stem}" for f in files}


def names() -> list[str]:
    """Names of all methods, in the order of their families."""
    return list(_modules())


def get(name: str) -> type[Method]:
    """The class of a method by its command-line name."""
    modules = _modules()
    if name not in modules:
        raise unknown("method", name, modules)
    module = import_module(modules[name])
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    return next(c for c in classes if issubclass(c, Method))
