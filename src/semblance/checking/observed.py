"""What a method does beside what it returns, seen while it trains: draws, state of its own, calls to other ranks, ...

None of it need be wrong. Where a promise breaks, it tells why.
"""

import pickle
import random
import sys
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from semblance.checking.processes import Failed
from semblance.checking.small import outcome
from semblance.runs.config import TrainConfig
from semblance.systems import Method

PARTS = ("order", "start_step", "embed", "objective", "update")
HOUSE = str(Path(__file__).parents[1])
BATCH_STATE = ("running_mean", "running_var", "num_batches_tracked")


@dataclass
class Observed:
    """Clues, in words that complete a sentence; lists are empty where there is none."""

    drawn: list[str] = field(default_factory=list)  # "`embed` draws from torch's generator"
    dropouts: list[str] = field(default_factory=list)  # names of modules
    hidden: list[str] = field(default_factory=list)  # what changes from step to step and is in no checkpoint
    plain: list[str] = field(default_factory=list)  # tensors that are no buffers
    collectives: list[str] = field(default_factory=list)  # "all_gather at my.py, line 3, in `embed`"
    embed_changes: list[str] = field(default_factory=list)  # parameters and buffers
    overwritten: list[str] = field(default_factory=list)  # "`embed` changes the views that it is given"
    untrained: list[str] = field(default_factory=list)  # parameters without a gradient
    taught: list[str] = field(default_factory=list)  # parameters of the teacher that are trained
    late: list[str] = field(default_factory=list)  # buffers that are made by the first step
    error: list[Failed] = field(default_factory=list)  # that ended it

    def add(self, other: "Observed") -> None:
        for name, clues in vars(other).items():
            mine = getattr(self, name)
            mine += [clue for clue in clues if clue not in mine]


def observe(config: TrainConfig, out: Path) -> Observed:
    """Of a run; on several ranks, what this one sees."""
    seen = Observed()
    before: dict[str, Any] = {}
    held: list[Method] = []

    def watch(method: Method) -> None:
        held.append(method)
        seen.plain += _plain_tensors(method)
        seen.dropouts += [n for n, m in method.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p]
        before.update(_besides(method))
        before["buffers"] = {name for name, _ in method.named_buffers()}
        for part in PARTS:
            setattr(method, part, _watched(method, part, getattr(method, part), seen))

    try:
        outcome(config, out, prepared=watch)
    except Exception as error:  # whatever a method does; what was seen before tells why
        seen.error.append(Failed.of(error))
        return seen
    method = held[0]
    after = _besides(method)
    seen.hidden += [name for name in after if after[name] != before.get(name)]
    seen.late += [name for name, _ in method.named_buffers() if name not in before["buffers"]]
    kept = method.state_dict()
    seen.hidden += [f"self.{n} (a buffer with persistent=False)" for n, b in method.named_buffers() if n not in kept]
    seen.untrained += [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    if method.teacher is not None:
        own = {id(p): n for n, p in method.named_parameters()}
        seen.taught += [own.get(id(p), "teacher") for p in method.teacher.parameters() if p.requires_grad]
    return seen


def _watched(method: Method, part: str, call: Callable[..., Any], seen: Observed) -> Callable[..., Any]:
    """A part of a method that notes what else it does."""

    def watched(*args: Any) -> Any:
        at = _generators()
        given = deepcopy([_values(a) for a in args]) if part in ("embed", "objective", "update") else []
        state = {n: t.clone() for n, t in method.state_dict().items()} if part == "embed" else {}
        with _Collectives(part, seen):
            found = call(*args)
        drawn = [name for name, where in _generators().items() if where != at[name]]
        clues = [f"`{part}` draws from {name}" for name in drawn]
        for name, was, is_now in zip(("views", "index", "clock"), given, map(_values, args), strict=False):
            named = name if part == "embed" or name != "views" else "embeddings"
            if not _same(was, is_now):
                clues.append(f"`{part}` changes the {named} that it is given")
        seen.add(Observed(drawn=[c for c in clues if "draws" in c], overwritten=[c for c in clues if "changes" in c]))
        changed = [n for n, t in method.state_dict().items() if n in state and not _same([t], [state[n]])]
        seen.add(Observed(embed_changes=[n for n in changed if not n.endswith(BATCH_STATE)]))
        return found

    return watched


def _values(argument: Any) -> list[Tensor]:
    """The tensors of an argument."""
    tensors = (
        argument.values() if isinstance(argument, dict) else argument if isinstance(argument, list) else [argument]
    )
    return [t.detach() for t in tensors if isinstance(t, Tensor)]


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in zip(a, b, strict=True))


def _generators() -> dict[str, bytes]:
    """Where the generators stand that are everybody's."""
    return {
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's generator": pickle.dumps(np.random.get_state()),
        "Python's generator": pickle.dumps(random.getstate()),
    }


def _plain_tensors(method: Method) -> list[str]:
    """Tensors of the method and its modules that are neither parameters nor buffers."""
    found = []
    for name, module in method.named_modules():
        for attribute, value in vars(module).items():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            if not attribute.startswith("_") and any(isinstance(v, Tensor) for v in held):
                found.append(".".join(filter(None, ("self", name, attribute))))
    return found


def _besides(method: Method) -> dict[str, bytes]:
    """All that is no tensor of the checkpoint, by name, as bytes: attributes, those of the class, names of its file."""
    found = {}
    for name, module in method.named_modules():
        for attribute, value in vars(module).items():
            if attribute not in PARTS and attribute not in ("_parameters", "_buffers", "_modules", "training"):
                found[".".join(filter(None, ("self", name, attribute)))] = _bytes(value)
    for cls in type(method).__mro__:
        if cls.__module__ == type(method).__module__:
            found |= {f"{cls.__name__}.{n}": _bytes(v) for n, v in vars(cls).items() if not n.startswith("__")}
    here = vars(sys.modules[type(method).__module__])
    found |= {f"{n}, a name of the file": _bytes(v) for n, v in here.items() if not n.startswith("__")}
    return found


def _bytes(value: Any) -> bytes:
    """What tells a value from another."""
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, nn.Module | type) or callable(value):
        return b""  # modules are seen one by one
    try:
        return pickle.dumps(value)
    except Exception:  # of a graph, a lock, an open file
        return repr(value).encode()


class _Collectives(TorchDispatchMode):
    """Within, notes what talks to other ranks and was not called by the batch norms of the house."""

    def __init__(self, part: str, seen: Observed) -> None:
        super().__init__()
        self.part, self.seen = part, seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional"):
            frames = traceback.extract_stack()
            ours = [f for f in frames if not f.filename.startswith((str(Path(torch.__file__).parent), "<"))]
            last = next(f for f in reversed(ours) if f.filename != __file__)
            if not last.filename.startswith(HOUSE):
                where = f"{Path(last.filename).name}, line {last.lineno}"
                called = func.overloadpacket.__name__.rstrip("_")
                self.seen.add(Observed(collectives=[f"{called} at {where}, in `{self.part}`"]))
        return func(*args, **(kwargs or {}))
