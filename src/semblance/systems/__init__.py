"""The registry of methods: modules in the families' folders, found by file name, and those that people bring."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from semblance.errors import UserError, unknown
from semblance.runtime import named
from semblance.shown import shown
from semblance.systems.families import FAMILIES, Family
from semblance.systems.method import Clock, Method, WholeSet
from semblance.systems.recipe import Recipe
from semblance.views.view import AnyView, View

__all__ = [
    "AnyView", "Clock", "Family", "Method", "Recipe", "View", "WholeSet", "brought", "canonical", "family", "get",
    "hyper_parameters", "names",
]  # fmt: skip

_SEVERAL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
ALIASES = {"wu2018": "npid", "cma": "avid-cma", "sigreg": "lejepa", "mocov2": "moco"}  # keys as _squashed writes them


def _modules() -> dict[str, str]:
    """Command-line name to module path, without importing any: simclr -> contrastive.simclr."""
    files = [f for family in FAMILIES for f in sorted((Path(__file__).parent / family.folder).glob("[a-z]*.py"))]
    return {f.stem.replace("_", "-"): f"{__name__}.{f.parent.name}.{f.stem}" for f in files}


def names() -> list[str]:
    """Names of the built-in methods, in the order of their families."""
    return list(_modules())


def brought(*, shadowed: bool = False) -> dict[str, str]:
    """Methods of other packages, and which package brings each; shadowed: those instead that nothing reaches."""
    return {name: named.package(point) for name, point in named.brought(named.METHODS, shadowed=shadowed).items()}


def canonical(name: str, *, families: bool = False) -> str:
    """A method's own name, however it is spelt: SimCLR, barlow_twins and MoCoV3 are simclr, barlow-twins and moco-v3.

    FILE.py:CLASS gets the absolute path of the file; names of other packages' methods stay as they are. Raises
    UserError for an unknown name, which may have been meant for one of a family.
    """
    if named.is_own(name, named.METHODS):
        return named.canonical(name)
    named.refuse_a_file_alone(name, named.METHODS)
    known = _spellings()
    if _squashed(name) not in known:
        known_names = [*names(), *brought(), *[f.name for f in FAMILIES] * families]
        raise unknown("method or family" if families else "method", name, known_names)
    return known[_squashed(name)]


def family(name: str) -> Family | None:
    """The family of a name, however it is spelt; None where there is none of that name."""
    return next((family for family in FAMILIES if _squashed(family.name) == _squashed(name)), None)


def get(name: str) -> type[Method]:
    """The class of a method by its name: a built-in one, FILE.py:CLASS, or that of another package."""
    name = canonical(name)
    if named.is_own(name, named.METHODS):
        return _checked(named.load(name, named.METHODS), name)
    module = import_module(_modules()[name])
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    return next(c for c in classes if issubclass(c, Method))


def hyper_parameters(cls: type[Method]) -> dict[str, Parameter]:
    """What --hyper.NAME can set: the arguments of a method's signature with defaults, but `without`. One without an
    annotation is of its default's type."""
    try:
        found = signature(cls, eval_str=True).parameters
    except NameError:  # of a name that only type checkers import
        found = signature(cls).parameters
    return {
        name: p if p.annotation is not p.empty else p.replace(annotation=type(p.default))
        for name, p in found.items()
        if name != "without" and p.default is not p.empty
    }


def _squashed(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def _spellings() -> dict[str, str]:
    """The built-in methods by their squashed names."""
    return {_squashed(n): n for n in names()} | ALIASES


named.built_in(named.METHODS, lambda name: _squashed(name) in _spellings())


def _checked(cls: Any, name: str) -> type[Method]:
    """A UserError for what is no method, or says less than one must."""
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise UserError(f"{shown(name)} is no method: give a class derived from semblance.Method.")
    if missing := [part for part in ("embed", "objective") if getattr(cls, part) is getattr(Method, part)]:
        raise UserError(f"{shown(name)} does not define {' and '.join(missing)} (semblance/systems/method.py).")
    if problems := list(_problems(cls)):
        raise UserError(*(f"{shown(name)}: {problem}" for problem in problems))
    return cls


def _problems(cls: type[Method]) -> Iterator[str]:
    """What the attributes and the signature of a method cannot be."""
    needed = [n for n, p in signature(cls).parameters.items() if p.default is p.empty and p.kind not in _SEVERAL]
    if wrong := needed[len(cls.streams) :]:
        yield f"its __init__ is given {' and '.join(needed[: len(cls.streams)])}: give {' and '.join(wrong)} a default."
    if not (isinstance(cls.guards, Mapping) and all(isinstance(told, str) for told in cls.guards.values())):
        yield "guards is a dict of names to what each does against a collapse."
    if not (isinstance(cls.recipes, Mapping) and cls.recipes and all(map(_is_recipe, cls.recipes.values()))):
        yield 'recipes is a dict of names to semblance.systems.Recipe, whose views is a tuple: {"quick": Recipe(...)}.'
    if cls.network not in ("student", "teacher"):
        yield f"network is student or teacher, not {cls.network}."
    elif cls.network == "teacher" and cls.teacher is Method.teacher:
        yield "network is teacher, and it has none: define the property `teacher`, its slow backbone."


def _is_recipe(recipe: Any) -> bool:
    return isinstance(recipe, Recipe) and isinstance(recipe.views, Sequence)
