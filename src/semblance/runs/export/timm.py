"""For timm: a file of weights for timm.create_model(NAME, checkpoint_path=FILE, ...)."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from semblance.errors import UserError
from semblance.nets.backbones import in_timm
from semblance.runs.export.network import Leaving, Written, quoted_path, same_tensors, wrong_target

SUFFIXES = (".safetensors", ".pth", ".pt")
FEATURES = """
import torch
seen = timm.data.resolve_model_data_config(network)
mean, std = (torch.tensor(seen[name])[:, None, None] for name in ("mean", "std"))

def features(x):
    with torch.inference_mode():
        return network((torch.from_numpy(x) - mean) / std).numpy()
"""


def made_by_timm(leaving: Leaving, target: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments by which timm makes the network; a UserError where it does not."""
    import timm

    try:
        if leaving.stream:
            raise UserError(f"timm has no networks of clips, as {leaving.backbone}.")
        name, options = in_timm(leaving.backbone, leaving.network)
    except UserError as error:
        raise wrong_target(target, error) from error
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=0, **options)
    if not same_tensors(leaving.network, theirs):
        raise wrong_target(target, f"timm's {name} has other tensors than {leaving.backbone}.")
    return name, options


def write_weights(path: Path, leaving: Leaving, about: dict[str, str]) -> None:
    """The tensors, in safetensors or as torch.save writes them. about: said in safetensors beside them."""
    tensors = leaving.tensors()
    if path.suffix == ".safetensors":
        path.write_bytes(save(tensors, {"format": "pt"} | about))
    else:
        torch.save(tensors, path)


def write(path: Path, leaving: Leaving, **_: Any) -> Written:
    name, options = made_by_timm(leaving, "timm")
    write_weights(path, leaving, {})
    given = "".join(f", {key}={value!r}" for key, value in options.items())
    shown = leaving.shown | ({"fixed_input_size": False} if "dynamic_img_size" in options else {})

    def code(path: Path) -> str:
        return (
            "import timm\n"
            f"network = timm.create_model(\n    {name!r}, num_classes=0{given}, checkpoint_path={quoted_path(path)},\n"
            f"    pretrained_cfg_overlay={shown},\n).eval()\n"
            "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))"
        )

    return Written(f"timm's {name}{' with its arguments' if options else ''}", code, FEATURES)
