"""Files of weights, whoever wrote them: tensors by name, and nothing that a file holds is executed."""

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from semblance.errors import UserError
from semblance.runs.checkpoint import check_size
from semblance.runs.documents import brief
from semblance.shown import quoted, shown

_DEEPEST = 8  # dicts in dicts
_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # that files of torch.save before version 1.6 begin with
_PICKLED = b"PK", b"\x80"  # files of torch.save, and of pickle, begin with one of these
_PLAIN_PICKLE = "is a pickle that torch.save has not written"
# Classes that trainers pickle beside their tensors. Those of settings may be dicts, and hold tensors by name.
_SETTINGS = (
    "argparse.Namespace", "types.SimpleNamespace", "easydict.EasyDict", "addict.addict.Dict",
    "pytorch_lightning.utilities.parsing.AttributeDict", "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata", "lib.LinearAverage.LinearAverage", "lib.NCEAverage.NCEAverage",
    "lib.alias_multinomial.AliasMethod", "collections.defaultdict", "builtins.dict",
)  # fmt: skip
_VALUES = (
    *(f"pathlib.{within}{kind}Path" for kind in ("", "Posix", "Windows") for within in ("", "Pure", "_local.")),
    *(f"omegaconf.nodes.{kind}Node" for kind in (
        "Any", "Value", "String", "Integer", "Float", "Boolean", "Bytes", "Path", "Enum", "InterpolationResult",
    )),
    *(f"builtins.{kind}" for kind in (
        "object", "type", "bool", "int", "float", "str", "bytes", "list", "tuple", "frozenset", "range", "slice",
    )),
    *(f"datetime.{kind}" for kind in ("date", "time", "datetime", "timedelta", "timezone")),
    "decimal.Decimal", "fractions.Fraction", "uuid.UUID", "typing.Any", "torch.torch_version.TorchVersion",
    "torchvision.transforms.functional.InterpolationMode",
)  # fmt: skip


class _Settings:
    """In the place of a class that may be a dict: whatever is made of it is one."""

    def __new__(cls, *given: Any, **more: Any) -> Any:
        return OrderedDict()


class _Value:
    """In the place of a class of values, which may be keys: a range or bytes of any length take no memory."""

    def __new__(cls, *given: Any, **more: Any) -> "_Value":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


class _Array(np.ndarray):
    """In the place of numpy's, empty until its numbers come: no memory is taken for a shape alone."""

    def __new__(cls, *given: Any, **more: Any) -> "_Array":
        return super().__new__(cls, (0,))


def _reconstruct(*given: Any) -> _Array:
    return _Array()


_NUMPY: list[Any] = [(_Array, "numpy.ndarray"), np.dtype, *(type(np.dtype(kind)) for kind in "?bhilqBHILQefdSUOMm")] + [
    (call, f"numpy.{core}.multiarray.{name}")
    for name, call in (("_reconstruct", _reconstruct), ("scalar", _Value))
    for core in ("core", "_core")
]


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by name, those of dicts in dicts by their path: "state_dict.module.conv1.weight".

    A UserError where it is no file of weights, is damaged, or wants a class that may do anything.
    """
    try:
        kind = path.suffix.lower()
        _check_kind(path, kind)
        if kind == ".safetensors":
            found: Any = load_file(path)
        elif kind == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in arrays}
        else:
            found = _unpickled(path)
        tensors = dict(_tensors(found, set()))
    except FileNotFoundError:
        raise UserError(f"There is no file {shown(path)}.") from None
    except IsADirectoryError:
        raise UserError(f"{shown(path)} is a folder, and holds neither a run nor a config.json of timm.") from None
    except UnpicklingError as error:
        raise UserError(_refused(path, error)) from error
    except Exception as error:  # whatever a broken or foreign file raises
        told = " ".join(str(error).split())[:400] or type(error).__name__
        raise UserError(f"{shown(path)} cannot be read as weights: {told}.") from error
    if not tensors:
        raise UserError(f"{shown(path)} holds no tensors by name, so these are no weights.")
    return tensors


def _unpickled(path: Path) -> Any:
    check_size(path)
    harmless = [*((_Settings, name) for name in _SETTINGS), *((_Value, name) for name in _VALUES), *_NUMPY]
    with torch.serialization.safe_globals(harmless), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protocols of pickle
        return torch.load(path, map_location="cpu", weights_only=True)


def is_pickled(path: Path) -> bool:
    """Whether a file begins as those of torch.save and of pickle."""
    return _head(path).startswith(_PICKLED)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(40)


def _check_kind(path: Path, suffix: str) -> None:
    """A ValueError for what its name does not say, or torch.save has not written."""
    head = _head(path)
    pickled = head.startswith(_PICKLED)
    if suffix == ".safetensors" and pickled:
        raise ValueError("it is a file of torch.save: give it a name that ends in .pth")
    if suffix != ".safetensors" and not pickled and head[8:9] == b"{":
        raise ValueError("it is a file of safetensors: give it a name that ends in .safetensors")
    if suffix in (".safetensors", ".npz"):
        return
    if not pickled:
        begins = brief(head.decode(errors="replace"))
        raise ValueError(f"it begins with {begins}, as no file of torch.save does; fetch it anew")
    if head.startswith(b"\x80") and _MAGIC not in head:
        raise UnpicklingError(_PLAIN_PICKLE)
    with suppress(BadZipFile), ZipFile(path) as archive:
        if any("/code/" in name for name in archive.namelist()):
            raise ValueError(
                "it is a TorchScript program, which would be executed; where you trust it, torch.save(torch.jit.load("
                f"{str(path)!r}).state_dict(), 'weights.pth') keeps its tensors"
            )


def _refused(path: Path, error: UnpicklingError) -> str:
    """What to do with a file that wants a class which is not known to be harmless."""
    told, _, wanted = str(error).partition("GLOBAL ")
    what = f"wants the class {shown(wanted.split()[0])}" if wanted else "is more than tensors by name"
    load = f"torch.load({str(path)!r}, 'cpu', weights_only=False)"
    if told == _PLAIN_PICKLE:
        what, load = told, f"__import__('pickle').load(open({str(path)!r}, 'rb'))"
    out = path.with_suffix(".tensors.pth").name
    code = (
        "import torch; plain = lambda v: {k: plain(x) for k, x in v.items()} if isinstance(v, dict) else "
        "plain(v.state_dict()) if hasattr(v, 'state_dict') else v if isinstance(v, torch.Tensor) else "
        "torch.tensor(v.astype(v.dtype.newbyteorder('='))) if getattr(getattr(v, 'dtype', 0), 'kind', '-') in 'biuf' "
        "else None; "
        f"torch.save(plain({load}), {out!r})"
    )
    return (
        f"{shown(path)} {what}, and loading that could execute anything. If you trust where it is from, keep its "
        f"tensors alone, where its classes are installed, and give {quoted(out)}: python -c {quoted(code)}"
    )


def _tensors(value: Any, seen: set[int], within: tuple[str, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    """Tensors of dicts in dicts, by their path. seen: dicts that are not entered again, as one that holds itself."""
    if not isinstance(value, dict) or len(within) >= _DEEPEST or id(value) in seen:
        return
    seen.add(id(value))
    for key, held in value.items():
        if not isinstance(key, str):  # of an optimiser
            continue
        if isinstance(held, np.ndarray) and held.dtype.kind in "?biuf":
            held = torch.from_numpy(held.astype(held.dtype.newbyteorder("=")))
        if isinstance(held, Tensor):
            yield ".".join([*within, key]), held.detach()
        else:
            yield from _tensors(held, seen, (*within, key))
