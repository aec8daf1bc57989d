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
from semblance.runs.checkpoint import check_size, check_tensors
from semblance.runs.documents import brief
from semblance.shown import quoted, shown

_DEEPEST = 8  # dicts in dicts
_NO_WEIGHTS = (  # classes of settings, which trainers pickle beside their tensors
    "argparse.Namespace", "types.SimpleNamespace", "easydict.EasyDict", "addict.addict.Dict",
    "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
    "pytorch_lightning.utilities.parsing.AttributeDict", "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata", "omegaconf.nodes.AnyNode", "omegaconf.nodes.ValueNode",
    "lib.LinearAverage.LinearAverage", "lib.NCEAverage.NCEAverage",
    "collections.defaultdict", "typing.Any", "datetime.datetime", "datetime.timedelta",
)  # fmt: skip
_NUMPY: list[Any] = [
    (np._core.multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct")  # type: ignore[attr-defined]
    for core in ("core", "_core")
] + [
    (np._core.multiarray.scalar, f"numpy.{core}.multiarray.scalar")  # type: ignore[attr-defined]
    for core in ("core", "_core")
]
_NUMPY += [np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in "?bhilqBHILQefdSU")]


class _Nothing:
    """In the place of a class that holds no weights: whatever is made of it is a dict that nobody reads."""

    def __new__(cls, *given: Any, **more: Any) -> Any:
        return OrderedDict()


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by name, those of dicts in dicts by their path: "state_dict.module.conv1.weight".

    A UserError where it is no file of weights, is damaged, or wants a class that may do anything.
    """
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in arrays}
        else:
            found = _unpickled(path)
    except FileNotFoundError:
        raise UserError(f"There is no file {shown(path)}.") from None
    except IsADirectoryError:
        raise UserError(f"{shown(path)} is a folder, and holds neither a run nor a config.json of timm.") from None
    except UnpicklingError as error:
        raise UserError(_refused(path, error)) from error
    except Exception as error:  # whatever a broken or foreign file raises
        told = " ".join(str(error).split())[:400] or type(error).__name__
        raise UserError(f"{shown(path)} cannot be read as weights: {told}.") from error
    tensors = dict(_tensors(found))
    if not tensors:
        raise UserError(f"{shown(path)} holds no tensors by name, so these are no weights.")
    return tensors


def _unpickled(path: Path) -> Any:
    _check_kind(path)
    check_size(path)
    harmless = [(_Nothing, name) for name in _NO_WEIGHTS]
    with torch.serialization.safe_globals([*harmless, *_NUMPY]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protocols of pickle
        found = torch.load(path, map_location="cpu", weights_only=True)
    check_tensors(found)
    return found


def _check_kind(path: Path) -> None:
    """A ValueError for what torch.save has not written."""
    with path.open("rb") as file:
        head = file.read(40)
    if not head.startswith((b"PK", b"\x80")):
        begins = brief(head.decode(errors="replace"))
        raise ValueError(f"it begins with {begins}, as no file of torch.save does; fetch it anew")
    with suppress(BadZipFile), ZipFile(path) as archive:
        if any("/code/" in name for name in archive.namelist()):
            raise ValueError(
                "it is a TorchScript program, which would be executed; where you trust it, torch.save(torch.jit.load("
                f"{str(path)!r}).state_dict(), 'weights.pth') keeps its tensors"
            )


def _refused(path: Path, error: UnpicklingError) -> str:
    """What to do with a file that wants a class which is not known to be harmless."""
    _, _, wanted = str(error).partition("GLOBAL ")
    what = f"wants the class {shown(wanted.split()[0])}" if wanted else "is more than tensors by name"
    out = quoted(path.with_suffix(".tensors.pth").name)
    code = (
        "import torch; plain = lambda v: {k: plain(x) for k, x in v.items()} if isinstance(v, dict) else "
        "plain(v.state_dict()) if hasattr(v, 'state_dict') else v if isinstance(v, torch.Tensor) else None; "
        f"torch.save(plain(torch.load({str(path)!r}, 'cpu', weights_only=False)), {out!r})"
    )
    return (
        f"{shown(path)} {what}, and loading that could execute anything. If you trust where it is from, keep its "
        f"tensors alone, where its classes are installed, and give {out}: python -c {quoted(code)}"
    )


def _tensors(value: Any, within: tuple[str, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    """Tensors of dicts in dicts, by their path."""
    for key, held in value.items() if isinstance(value, dict) and len(within) < _DEEPEST else ():
        if not isinstance(key, str):  # of an optimiser
            continue
        if isinstance(held, np.ndarray) and held.dtype.kind in "?biuf":
            held = torch.from_numpy(held)
        if isinstance(held, Tensor):
            yield ".".join([*within, key]), held.detach()
        else:
            yield from _tensors(held, (*within, key))
