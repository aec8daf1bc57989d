"""For a hub: a folder as timm writes it, with weights, timm's configuration, and a model card."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from semblance.runs.export.network import Leaving, Written
from semblance.runs.export.timm import FEATURES, made_by_timm, write_weights
from semblance.shown import shown

SUFFIXES = ("",)


def write(
    path: Path,
    leaving: Leaving,
    *,
    about: dict[str, Any],
    card: Callable[[str], str],
    licence: str | None = None,
    **_: Any,
) -> Written:
    """about: what weights.save says of a backbone. card: of the lines that load it, the text of README.md."""
    import timm

    name, options = made_by_timm(leaving, "hub")
    usual: Any = timm.get_pretrained_cfg(name, allow_unregistered=True)
    parts = {
        "first_conv": _first_conv(leaving.network, getattr(usual, "first_conv", None)),
        "classifier": getattr(usual, "classifier", None),
    }
    config = {
        "architecture": name, "num_classes": 0, "num_features": int(leaving.expected.shape[1]),
        "pretrained_cfg": {
            "tag": "", "custom_load": False, "num_classes": 0, "fixed_input_size": False, "pool_size": None,
            "crop_mode": "center", "license": licence,
        } | leaving.shown | {part: value for part, value in parts.items() if value is not None},
        "model_args": options,
    }  # fmt: skip
    path.mkdir()
    write_weights(path / "model.safetensors", leaving, {"semblance": json.dumps(about)})
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    def code(path: Path) -> str:
        where = f"local-dir:{shown(path.absolute())}"
        return (
            "import timm\n"
            f"network = timm.create_model({where!r}, pretrained=True).eval()\n"
            "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))"
        )

    (path / "README.md").write_text(card(code(Path("PATH")).replace(str(Path("PATH").absolute()), "PATH")))
    return Written(f"a folder for a hub with timm's {name}", code, FEATURES)


def _first_conv(network: nn.Module, usual: Any) -> Any:
    """Its names as timm has them, or what the network itself begins with: other arguments make another stem."""
    names = [usual] if isinstance(usual, str) else usual or []
    if all(f"{name}.weight" in network.state_dict() for name in names):
        return usual
    return next(name for name, part in network.named_modules() if isinstance(part, nn.Conv2d))
