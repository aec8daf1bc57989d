"""A device that is none: tensors that say they are elsewhere, and a count of what a processor would wait for.

Values are real, and lie on the CPU; autograd, the methods and the optimisers take the tensors for another device's. A
step on it therefore ends with the numbers of one on the CPU, and shows what it moves, asks for, or mixes up.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")  # the name that torch takes without having such a device
aten = torch.ops.aten
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
ASKING = {aten._local_scalar_dense, aten.item, aten.is_nonzero}
SHAPED_BY_VALUES = {
    aten.nonzero, aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.bincount, aten.masked_select,
    aten.repeat_interleave, aten.linalg_eigh, aten._linalg_eigh, aten.histc, aten.equal, aten.multinomial,
}  # fmt: skip


class There(Tensor):
    """A tensor on the pretended device; `here` holds its values."""

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, here: Tensor) -> "There":
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.size(), here.stride(), here.storage_offset(), dtype=here.dtype, device=DEVICE
        )
        made.here = here
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.here!r})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{func} on the pretended device, outside of its mode")


class _Numbers(TorchFunctionMode):
    """Numbers of Python to and from the device, which no operation tells of."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = torch.device(kwargs.pop("device"))
            return func(*args, **kwargs).to(device)  # which is counted
        if func is Tensor.new_tensor and isinstance(args[0], There):
            return args[0].here.new_tensor(*args[1:], **kwargs).to(DEVICE)
        if func is Tensor.tolist and isinstance(args[0], There):
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


class PretendedDevice(TorchDispatchMode):
    """Within, computes what is There; `waits` counts, by what they are, operations that a processor waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.numbers = _Numbers()

    def __enter__(self) -> "PretendedDevice":
        self.numbers.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.numbers.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        there: list[There] = []
        here: list[Tensor] = []
        taken, named = _values(args, there, here), _values(kwargs or {}, there, here)
        device = named.get("device")
        moved_here = device is not None and device.type == "cpu" and bool(there)
        if device == DEVICE:
            named["device"] = torch.device("cpu")
        if there or device == DEVICE:
            self._judge(func, args, named, there, here, to_device=device == DEVICE, to_cpu=moved_here)
        found = func(*taken, **named)
        if moved_here or not (there or device == DEVICE):
            return found
        return _wrapped(found, {id(t.here): t for t in there})

    def _judge(
        self, func: Any, args: Any, named: dict, there: list, here: list, *, to_device: bool, to_cpu: bool
    ) -> None:
        packet = func.overloadpacket
        quick = named.get("non_blocking") or (packet is aten.copy_ and len(args) > 2 and args[2])
        if packet in ASKING:
            self.waits["a value is asked for"] += 1
        elif packet in SHAPED_BY_VALUES:
            self.waits[f"{packet.__name__}, whose result the CPU has to know"] += 1
        elif to_cpu or (packet is aten.copy_ and not isinstance(args[0], There)):
            self.waits["a copy to the CPU"] += 1
        elif here and (to_device or packet is aten.copy_):
            if not quick and (to_device or here[0].ndim):
                self.waits["a copy to the device"] += 1
        elif packet in INDEXING:
            for t in args[1]:
                if t is not None and not isinstance(t, There):
                    self.waits["an index that is on the CPU"] += 1
                elif t is not None and t.dtype == torch.bool:
                    self.waits["a mask as an index"] += 1
        elif any(t.ndim for t in here):
            raise RuntimeError(f"{func} mixes tensors of the CPU and of the device")


def _values(tree: Any, there: list, here: list) -> Any:
    """Arguments with values in place of what is There, which is noted, as what is on the CPU is."""
    if isinstance(tree, There):
        there.append(tree)
        return tree.here
    if isinstance(tree, Tensor):
        here.append(tree)
    elif type(tree) in (list, tuple):
        return type(tree)(_values(t, there, here) for t in tree)
    elif type(tree) is dict:
        return {k: _values(t, there, here) for k, t in tree.items()}
    return tree


def _wrapped(tree: Any, owners: dict[int, There]) -> Any:
    """Results as they are There; what an operation was given and changed in place is what it was."""
    if isinstance(tree, Tensor):
        owner = owners.get(id(tree))
        return There(tree) if owner is None else owner
    if type(tree) in (list, tuple):
        return type(tree)(_wrapped(t, owners) for t in tree)
    return tree


def put_there(module: nn.Module) -> None:
    """Move a module's parameters and buffers to the pretended device, shared ones once."""
    moved: dict[int, Any] = {}
    with PretendedDevice():
        for part in module.modules():
            for name, p in part._parameters.items():
                if p is not None:
                    moved.setdefault(id(p), nn.Parameter(There(p.detach()), p.requires_grad))
                    part._parameters[name] = moved[id(p)]
            for name, b in part._buffers.items():
                if b is not None:
                    moved.setdefault(id(b), There(b))
                    part._buffers[name] = moved[id(b)]
