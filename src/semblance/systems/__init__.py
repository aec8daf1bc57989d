"""The registry of methods: modules in the families' folders, found by file name, or a class in a file of your own."""

import os
import sys
import traceback
from hashlib import blake2b
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import Parameter, signature
from pathlib import Path

from semblance.errors import UserError, unknown
from semblance.shown import as_bytes, shown
from semblance.systems.families import FAMILIES, Family
from semblance.systems.method import Clock, Method, WholeSet
from semblance.systems.recipe import Recipe
from semblance.views.view import AnyView, View

__all__ = [
    "AnyView", "Clock", "Family", "Method", "Recipe", "View", "WholeSet", "canonical", "family", "get",
    "hyper_parameters", "names",
]  # fmt: skip

ALIASES = {"wu2018": "npid", "cma": "avid-cma", "sigreg": "lejepa", "mocov2": "moco"}  # keys as _squashed writes them


def _modules() -> dict[str, str]:
    """Command-line name to module path, without importing any: simclr -> contrastive.simclr."""
    files = [f for family in FAMILIES for f in sorted((Path(__file__).parent / family.folder).glob("[a-z]*.py"))]
    return {f.stem.replace("_", "-"): f"{__name__}.{f.parent.name}.{f.stem}" for f in files}


def names() -> list[str]:
    """Names of all methods, in the order of their families."""
    return list(_modules())


def canonical(name: str, *, families: bool = False) -> str:
    """A method's own name, however it is spelt: SimCLR, barlow_twins and MoCoV3 are simclr, barlow-twins and moco-v3.

    FILE.py:CLASS is kept, with the absolute path of the file. Raises UserError for an unknown name, which may have been
    meant for one of a family.
    """
    file, colon, cls = name.rpartition(".py:")
    if colon:
        return f"{Path(os.path.expanduser(file)).resolve()}.py:{cls}"
    if name.endswith(".py"):
        raise UserError(f"{shown(name)} may hold several classes: name the method as {shown(name)}:CLASS.")
    known = {_squashed(n): n for n in names()} | ALIASES
    if _squashed(name) not in known:
        known_names = names() + [f.name for f in FAMILIES] * families
        raise unknown("method or family" if families else "method", name, known_names)
    return known[_squashed(name)]


def family(name: str) -> Family | None:
    """The family of a name, however it is spelt; None where there is none of that name."""
    return next((family for family in FAMILIES if _squashed(family.name) == _squashed(name)), None)


def get(name: str) -> type[Method]:
    """The class of a method by its name, or by FILE.py:CLASS."""
    name = canonical(name)
    if ".py:" in name:
        return _from_file(*name.rsplit(":", 1))
    module = import_module(_modules()[name])
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    return next(c for c in classes if issubclass(c, Method))


def hyper_parameters(cls: type[Method]) -> dict[str, Parameter]:
    """What --hyper.NAME can set: the keyword-only arguments of a method's signature."""
    return {name: p for name, p in signature(cls).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _squashed(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def _from_file(file: str, name: str) -> type[Method]:
    """A class in a file, which is imported once, under a name that is the same in every process."""
    path = Path(file)
    own = f"{path.stem}_{blake2b(as_bytes(file), digest_size=4).hexdigest()}"
    if own not in sys.modules:
        spec = spec_from_file_location(own, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise UserError(f"There is no file {shown(file)} with a method {shown(name)}.")
        sys.modules[own] = module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[own])
        except Exception as error:  # whatever is wrong with it
            del sys.modules[own]
            where = traceback.extract_tb(error.__traceback__)[-1]
            line = error.lineno if isinstance(error, SyntaxError) else where.lineno
            raise UserError(
                f"{shown(file)} cannot be imported: {type(error).__name__} at line {line}: {error}."
            ) from error
    classes = [c for c in vars(sys.modules[own]).values() if isinstance(c, type) and c.__module__ == own]
    known = {c.__name__: c for c in classes if issubclass(c, Method)}
    if name not in known:
        raise unknown(f"method of {file}", name, known)
    said = ("family", "title", "paper", "equation", "picture", "guards", "recipes")
    if missing := [attribute for attribute in said if not hasattr(known[name], attribute)]:
        raise UserError(f"{name} in {file} does not say its {', '.join(missing)} (semblance/systems/method.py).")
    return known[name]
