"""For torchvision: a state dict of its model without the classifier."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from semblance.errors import UserError
from semblance.nets.backbones import backbone, in_torchvision
from semblance.runs.export.network import Leaving, Written, quoted_path, same_tensors, wrong_target
from semblance.runs.export.timm import SUFFIXES as SUFFIXES
from semblance.runs.export.timm import write_weights

_FEATURES = """
def features(x):
    with torch.inference_mode():
        return network(normalise(torch.from_numpy(x))).numpy()
"""


def write(path: Path, leaving: Leaving, **_: Any) -> Written:
    try:
        if leaving.stream:
            raise UserError(f"torchvision has no networks of clips like {leaving.backbone}.")
        name = in_torchvision(leaving.backbone)
        with torch.device("meta"):
            theirs = backbone(f"torchvision/{name}")
    except UserError as error:
        raise wrong_target("torchvision", error) from error
    if not same_tensors(leaving.network, theirs):
        raise wrong_target("torchvision", f"torchvision's {name} has other tensors than {leaving.backbone}.")
    write_weights(path, leaving, {})
    head = next(
        part for part in ("fc", "classifier", "heads", "head") if isinstance(getattr(theirs, part, 0), nn.Identity)
    )
    load = ["torch.load({}, weights_only=True)", "safetensors.torch.load_file({})"][path.suffix == ".safetensors"]
    shown = leaving.shown

    def code(path: Path) -> str:
        return "\n".join([
            *(["import safetensors.torch"] if path.suffix == ".safetensors" else []),
            "import torch, torchvision",
            "from torchvision.transforms import v2",
            f"network = torchvision.models.{name}(weights=None)",
            f"network.{head} = torch.nn.Identity()",
            f"network.load_state_dict({load.format(quoted_path(path))})",
            "network.eval()",
            f"normalise = v2.Normalize({list(shown['mean'])}, {list(shown['std'])})",
        ])  # fmt: skip

    return Written(f"torchvision's {name} without {head}", code, _FEATURES)
