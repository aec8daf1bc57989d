"""Parts of a person's own by name: FILE.py:NAME, an entry point of a package, or an object that was handed over.

A configuration holds text. What a person hands over from Python has a text, too, that of its file where there is one,
and within `handed_over` that text stands for the object itself.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from hashlib import blake2b
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from semblance.errors import UserError, unknown
from semblance.shown import as_bytes, shown

METHODS, BACKBONES, DATA, VIEWS = (f"semblance.{kind}" for kind in ("methods", "backbones", "data", "views"))
HANDED_OVER = "given from Python: "  # begins the text of an object that nothing else names
_KINDS = {METHODS: "method", BACKBONES: "backbone", DATA: "data set", VIEWS: "view"}
_AGAIN = {  # what to do where an object is gone
    METHODS: "Go on from Python, sb.train(MyMethod, resume=RUN), or put the class into a file: FILE.py:CLASS.",
    BACKBONES: "Go on from Python, sb.train(backbone=module, resume=RUN). To open such a run anywhere, train with "
    "backbone FILE.py:NAME, a function in a file that needs no arguments and returns the module.",
    DATA: "Give data= from Python, or --data: a path, or FILE.py:NAME, a function in a file that returns it.",
}
_BUILT_IN: dict[str, Callable[[str], bool]] = {}  # by group, whether a text names a part of the house
_OBJECTS: ContextVar[Mapping[str, Any]] = ContextVar("objects", default={})  # noqa: B039, it is never changed
_IMPORTING: ContextVar[str] = ContextVar("importing", default="")


@contextmanager
def handed_over(objects: Mapping[str, Any]) -> Iterator[None]:
    """Within, `load` gives these objects for their texts. A UserError while a file is imported for a part in it, since
    a script that trains as it is imported would begin again in every process that only wants that part."""
    if file := _IMPORTING.get():
        raise UserError(
            f"{shown(file)} is imported for a part in it, and calls semblance meanwhile: put that call under "
            'if __name__ == "__main__":'
        )
    token = _OBJECTS.set({**_OBJECTS.get(), **objects})
    try:
        yield
    finally:
        _OBJECTS.reset(token)


def load(text: str, group: str, known: Iterable[str] = ()) -> Any:
    """What a text names: FILE.py:NAME, an entry point of a group such as "semblance.methods", or what was handed over.

    known: other names of the kind, for a UserError where there is no such thing.
    """
    if text in _OBJECTS.get():
        return _OBJECTS.get()[text]
    if is_handed_over(text):
        raise UserError(
            f"The {_KINDS[group]} of this run was {shown(text)}, which no other process can make again. {_AGAIN[group]}"
        )
    if is_in_file(text):
        file, _, name = canonical(text).rpartition(":")
        return _from_file(file, name, _KINDS[group])
    points = brought(group)
    if text not in points:
        raise unknown(_KINDS[group], text, [*known, *points])
    try:
        return points[text].load()
    except Exception as error:  # whatever is wrong with it
        raise UserError(
            f"The {_KINDS[group]} {shown(text)} of {package(points[text])} cannot be loaded: "
            f"{type(error).__name__}: {error}."
        ) from error


def called(make: Any, text: str, group: str) -> Any:
    """What a class or function of somebody's own returns; a UserError that names the line where it fails."""
    try:
        return make()
    except UserError:
        raise
    except Exception as error:  # whatever is wrong with it
        where = traceback.extract_tb(error.__traceback__)[-1]
        line = f" (line {where.lineno} of {shown(where.filename)})" if where.filename != __file__ else ""
        raise UserError(
            f"The {_KINDS[group]} {shown(text)} fails, called without arguments: {type(error).__name__}: {error}{line}."
            " Give a function that needs none."
        ) from error


def name_of(thing: Any) -> str | None:
    """FILE.py:NAME of a class or function that a file holds by that name; None where nothing names it: a lambda, what
    is made within a function, what was typed into a shell or a notebook."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    file, name = getattr(module, "__file__", None), getattr(thing, "__qualname__", "")
    if not file or not file.endswith(".py") or not os.path.isfile(file) or _within(module, name) is not thing:
        return None
    return f"{Path(file).resolve()}:{name}"


def is_own(text: str, group: str) -> bool:
    """Whether a text names a part of somebody's own."""
    return text in _OBJECTS.get() or is_handed_over(text) or is_in_file(text) or text in brought(group)


def is_handed_over(text: str) -> bool:
    """Whether a text stands for an object that nothing else names."""
    return text.startswith(HANDED_OVER)


def is_in_file(text: str) -> bool:
    """Whether a text has the form FILE.py:NAME."""
    file, colon, name = text.rpartition(".py:")
    return bool(file and colon and name) and not is_handed_over(text)


def refuse_a_file_alone(text: str, group: str) -> None:
    """Raise UserError for FILE.py without the name of the part in it."""
    if (file := text.removesuffix(":")).endswith(".py") and not os.path.isdir(os.path.expanduser(file)):
        raise UserError(f"{shown(file)} may hold several parts: name the {_KINDS[group]} as {shown(file)}:NAME.")


def canonical(text: str) -> str:
    """FILE.py:NAME with the absolute path of the file; other texts as they are."""
    if not is_in_file(text):
        return text
    file, _, name = text.rpartition(":")
    return f"{Path(os.path.expanduser(file)).resolve()}:{name}"


def short(text: str) -> str:
    """The last part of a text, for the name of a folder: MyMethod of /home/me/my.py:MyMethod."""
    return text.removeprefix(HANDED_OVER).split(" ")[0] if is_handed_over(text) else text.rpartition(":")[2]


def built_in(group: str, names_one: Callable[[str], bool]) -> None:
    """Let a group know the names of the house, which mean what they mean whatever packages are installed."""
    _BUILT_IN[group] = names_one


def brought(group: str, *, shadowed: bool = False) -> dict[str, EntryPoint]:
    """The entry points of a group that other packages bring, by name; none of them is imported. shadowed: those instead
    that nothing reaches, since their names are those of built-in parts."""
    points = {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}
    house = _BUILT_IN.get(group, lambda name: False)
    return {name: point for name, point in points.items() if house(name) == shadowed}


def package(point: EntryPoint) -> str:
    """Who brings an entry point."""
    return point.dist.name if point.dist is not None else point.value.partition(".")[0]


def _within(module: ModuleType | None, name: str) -> Any:
    """What has a name in a module, dots between a class and what it holds; None where there is nothing."""
    return reduce(lambda found, part: getattr(found, part, None), name.split("."), module)


def _from_file(file: str, name: str, kind: str) -> Any:
    module = _module(file, name, kind)
    if (found := _within(module, name)) is None:
        own = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise unknown(f"{kind} of {file}", name, own)
    return found


def _module(file: str, name: str, kind: str) -> ModuleType:
    """A file's module: the one that this process has of it, be it the script that runs, or a new one, under a name that
    is the same in every process."""
    path = Path(file)
    if not path.is_file():
        raise UserError(f"There is no file {shown(file)} with a {kind} {shown(name)}.")
    for module in list(sys.modules.values()):
        known = getattr(module, "__file__", None)
        if known and os.path.basename(known) == path.name and os.path.realpath(known) == file:
            return module
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").exists():  # of a package
        parts.insert(0, folder.name)
        folder = folder.parent
    token = _IMPORTING.set(file)
    sys.path.append(str(folder))  # for what lies beside it, as a script finds it
    try:
        return (_of_a_package(parts, path) if len(parts) > 1 else None) or _alone(path)
    except UserError:
        raise
    except Exception as error:  # whatever is wrong with it
        where = traceback.extract_tb(error.__traceback__)[-1]
        line = error.lineno if isinstance(error, SyntaxError) else where.lineno
        raise UserError(f"{shown(file)} cannot be imported: {type(error).__name__} at line {line}: {error}.") from error
    finally:
        _IMPORTING.reset(token)


def _of_a_package(parts: list[str], path: Path) -> ModuleType | None:
    """The module of a file that a package holds, which may import from beside it; None where another has its name."""
    try:
        module = import_module(".".join(parts))
    except ModuleNotFoundError:
        return None
    return module if os.path.realpath(module.__file__ or "") == str(path) else None


def _alone(path: Path) -> ModuleType:
    own = f"{path.stem}_{blake2b(as_bytes(str(path)), digest_size=4).hexdigest()}"
    spec = spec_from_file_location(own, path)
    assert spec is not None and spec.loader is not None
    sys.modules[own] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[own]
        raise
    return module
