"""What an editor, a person and the command line are told that train() takes: all of it from one model.

`python tests/commands/test_signature.py` writes the stub anew.
"""

import inspect
import json
import types
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import semblance as sb
from semblance.runs.options import GROUPED, DataName, Name, TrainOptions

STUB = Path(sb.__file__).parent / "__init__.pyi"
OBJECTS = {  # that may stand in the place of names, from Python
    "method": "type[Method]", "backbone": "nn.Module | Callable[[], nn.Module]",
    "data": "Sequence[str | PathLike[str]] | np.ndarray | Tensor | Dataset[Any] | Callable[[], Any]",
}  # fmt: skip


def plain(kind: Any) -> str:
    """A type as it is written, without the ranges of its values."""
    if kind in (Name, DataName):
        return "str | PathLike[str]"
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return " | ".join(plain(k) for k in get_args(kind))
    if kind is type(None):
        return "None"
    if isinstance(kind, type) and not get_args(kind):
        return kind.__name__
    return str(kind).replace("typing.", "").replace("'", '"').replace("dict[", "Mapping[")


def stub() -> str:
    """The text of __init__.pyi."""
    kinds = get_type_hints(TrainOptions, include_extras=True)
    defaults = {name: json.dumps(TrainOptions.model_fields[name].default) for name in GROUPED}
    words = {"null": "None", "false": "False", "true": "True"}
    arguments = [
        f"    {name}: {' | '.join(filter(None, (plain(kinds[name]), OBJECTS.get(name))))} = {words.get(given, given)},"
        for name, given in defaults.items()
    ]
    arguments.insert(1, "    *,")
    return "\n".join([
        '"""Written by tests/commands/test_signature.py: what can be called, for editors and type checkers."""', "",
        "from collections.abc import Callable, Mapping, Sequence", "from os import PathLike",
        "from typing import Any, Literal", "", "import numpy as np", "from torch import Tensor, nn",
        "from torch.utils.data import Dataset", "",
        "from semblance import losses as losses", "from semblance import views as views",
        "from semblance.api import embed as embed", "from semblance.api import evaluate as evaluate",
        "from semblance.api import export as export",
        "from semblance.checking.check import check as check",
        "from semblance.commands.backbones import load_backbone as load_backbone",
        "from semblance.engine.callbacks import Callback as Callback",
        "from semblance.engine.training_step import step as step",
        "from semblance.errors import UserError as UserError",
        "from semblance.evaluation.probes import knn as knn",
        "from semblance.evaluation.probes import linear_probe as linear_probe",
        "from semblance.systems import Method as Method", "",
        "__version__: str", f"__all__ = {json.dumps(sb.__all__)}", "",
        "def methods() -> list[str]:",
        '    """Names of the methods that train() takes, those of other packages last."""', "",
        "def train(", *arguments, ") -> dict[str, Any]:", indent(f'"""{sb.train.__doc__}\n"""', "    "), "",
    ])  # fmt: skip


def test_the_stub_is_the_model() -> None:
    assert STUB.read_text() == stub()


def test_the_signature_is_the_model() -> None:
    parameters = inspect.signature(sb.train).parameters
    assert list(parameters) == list(GROUPED) == list(TrainOptions.model_fields)
    assert all(parameters[name].default == field.default for name, field in TrainOptions.model_fields.items())
    assert all(field.description for field in TrainOptions.model_fields.values())


def test_what_can_be_called_is_listed() -> None:
    assert dir(sb) == sb.__all__ == sorted(sb.__all__)
    assert all(getattr(sb, name).__doc__ for name in dir(sb))


if __name__ == "__main__":
    STUB.write_text(stub())
