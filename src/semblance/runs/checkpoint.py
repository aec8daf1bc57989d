"""Checkpoints: tensors and plain values in one file."""

import math
import pickletools
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from semblance.errors import UserError
from semblance.runs.config import TrainConfig
from semblance.runs.documents import brief
from semblance.runtime.atomic_files import write_atomically
from semblance.shown import shown

_CALLED = {  # by torch.save of tensors and plain values
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter",
    "torch.storage UntypedStorage", "collections OrderedDict",
}  # fmt: skip


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint of tensors and plain values."""
    write_atomically(path, lambda file: torch.save(state, file))


def about(config: TrainConfig, fingerprint: str, canvas: int | None, step: int, seconds: float) -> dict[str, Any]:
    """What a checkpoint says beside its tensors. fingerprint, canvas: of the samples to train on. seconds: trained."""
    return {"samples": fingerprint, "canvas": canvas, "run": config.identity(), "step": step, "seconds": seconds}


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed, and it takes no more memory than the file is large.

    "method" in it is a dict of tensors by name. What else is in it, and of which shapes, whoever uses it compares with
    what there should be, before any of it is copied.
    """
    try:
        check_size(path)
        _check_calls(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        check_tensors(state)
        weights = state.get("method") if isinstance(state, dict) else None
        if not isinstance(weights, dict) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
        ):
            raise ValueError("it holds no networks")
        return state
    except FileNotFoundError:
        raise UserError(f"No checkpoint at {shown(path)}: nothing to resume. Start the run without --resume.") from None
    except Exception as error:
        why = str(error) if type(error) is ValueError else type(error).__name__
        raise UserError(f"{shown(path)} is not a whole checkpoint of Semblance ({why}).") from error


def differing(own: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> list[str]:
    """Names of a network's tensors that are not held, or in another shape or kind of number.

    Copying would round integers and flags to weights, and leave away what is imaginary. Floats may have more or fewer
    bits, and counts may be held as floats, as where all tensors of a file were made float16.
    """

    def kind(tensor: Tensor) -> tuple[bool, bool, bool]:
        return tensor.is_floating_point(), tensor.is_complex(), tensor.dtype == torch.bool

    def fits(name: str, value: Tensor) -> bool:
        if name not in held or held[name].shape != value.shape:
            return False
        counts = kind(value) == (False, False, False) and held[name].is_floating_point()
        return bool((held[name].double().frac() == 0).all()) if counts else kind(held[name]) == kind(value)

    return sorted(name for name, value in own.items() if not fits(name, value))


def check_networks(own: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> None:
    """ValueError where networks are not what is held."""
    if foreign := differing(own, held):
        raise ValueError(f"{shown(foreign[0])} is missing, or of another shape or kind of number")


def progress(state: dict[str, Any], path: Path) -> tuple[int, float]:
    """Steps taken and seconds trained, by a checkpoint; a UserError where it does not say so."""
    step, seconds = state.get("step"), state.get("seconds")
    if type(step) is int and 0 <= step < 2**53 and isinstance(seconds, float) and 0 <= seconds < math.inf:
        return step, seconds
    raise UserError(f"{shown(path)} does not belong to this run: step {brief(step)} after {brief(seconds)} s.")


def check_size(path: Path) -> None:
    """A ValueError for a file that would unpack to more than its size; nothing of one that is no archive."""
    with suppress(BadZipFile), ZipFile(path) as file:
        if sum(max(m.file_size, m.compress_size) for m in file.infolist()) > path.stat().st_size:
            raise ValueError("it unpacks to more than its size")


def _check_calls(path: Path) -> None:
    """A ValueError for a file that calls more than checkpoints do."""
    try:
        with ZipFile(path) as file:
            pickled = [file.read(m) for m in file.infolist() if m.filename.endswith("/data.pkl")]
    except BadZipFile:
        raise ValueError("it is damaged, or something else") from None
    for operation, argument, _ in (op for data in pickled for op in pickletools.genops(data)):
        if operation.name in ("GLOBAL", "STACK_GLOBAL", "INST") and argument not in _CALLED:
            module, _, name = str(argument).partition(" ")
            if module != "torch" or not (name.endswith("Storage") or isinstance(getattr(torch, name, 0), torch.dtype)):
                raise ValueError(f"it calls {brief(argument)}")


def check_tensors(state: Any) -> None:
    """A ValueError for a tensor of more elements than are stored, which a copy would have to make up."""
    waiting, seen = [state], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, Tensor) and not is_plain(value):
            raise ValueError(f"a tensor of {brief(tuple(value.shape))} is more than what is stored of it")


def is_plain(value: Tensor) -> bool:
    """Whether all elements of a tensor are stored, in memory, and as numbers."""
    plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    return plain and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
