"""Which share of the learning rate each tensor of a backbone takes, so that a start is not lost."""

import re
from collections.abc import Iterable

BACKBONES = ("backbone", "audio_backbone")  # parts of a method
# "layer1.0.conv1.weight" is of "layer1.", "blocks.0.norm.weight" of "blocks.0.", "Mixed_5b.conv.bias" of "Mixed_5b."
_BLOCK = re.compile(r".*?\d[^.]*\.|.*?\.")


def layer_rates(
    names: Iterable[str], share: float, decay: float, parts: Iterable[str] = BACKBONES
) -> dict[str, float]:  # fmt: skip
    """Shares of the rate by name of the tensors of backbones, among all of a method's names in their order.

    share: of the last block. decay: each block takes that part of what the one behind it takes (layer-wise decay, Clark
    et al. 2020, arXiv:2003.10555; microsoft/unilm: beit/optim_factory.py). parts: whose tensors.
    """
    found: dict[str, float] = {}
    names = list(names)
    for part in parts:
        own = {name: _block(name.removeprefix(f"{part}.")) for name in names if name.startswith(f"{part}.")}
        blocks = list(dict.fromkeys(own.values()))
        found |= {name: share * decay ** (len(blocks) - 1 - blocks.index(block)) for name, block in own.items()}
    return found


def _block(name: str) -> str:
    """Up to the first part with a number in a name, else its first part."""
    match = _BLOCK.match(name)
    return match[0] if match else name
