"""Between two looks at the loss no method asks a tensor for its value, for which a GPU would have to be waited for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_config, tiny_method, train
from torch.utils._python_dispatch import TorchDispatchMode

from semblance import systems

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense, aten.nonzero, aten._unique2, aten.unique_dim, aten.bincount, aten.masked_select,
    aten.equal,
}  # fmt: skip


class Refuse(TorchDispatchMode):
    """Operations whose result, or its shape, the CPU needs to know."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masks = [t for t in args[1] if t is not None and t.dtype == torch.bool] if func is aten.index.Tensor else []
        assert func.overloadpacket not in WAITING and not masks, f"{func} makes a GPU be waited for"
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("name", [name for name in systems.names() if name != "avid-cma"])
def test_objective_and_update_ask_for_no_value(name: str, tmp_path: Path) -> None:
    """But SwAV's queue, whether it is full, and CMA, whether it has mined: left out here."""
    config = tiny_config(name, max_steps=5)
    if name == "swav":
        config.hyper["queue"] = 0
    method = tiny_method(config)

    def refuse(part: Callable[..., Any]) -> Callable[..., Any]:
        def refusing(*args: Any) -> Any:
            with Refuse():
                return part(*args)

        return refusing

    method.objective, method.update = refuse(method.objective), refuse(method.update)
    train(method, config, tmp_path)
