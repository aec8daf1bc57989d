"""Names of tensors in files of others, told from the names of the network that is to have them.

Prefixes are those of facebookresearch/{moco,moco-v3,swav,barlowtwins,vicreg,simsiam,dino,deepcluster,vissl},
HobbitLong/PyContrast, vturrisi/solo-learn and lightly-ai/lightly; their loaders are named in docs/weights.md.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from string import digits
from typing import Any

from torch import Tensor, nn

from semblance.errors import UserError
from semblance.runs.checkpoint import is_plain
from semblance.shown import shown

Names = Mapping[str, str]  # of the network's tensors to the file's

_MOCO_V3 = "MoCo v3, its base encoder"
_HEADS_OF_384 = 12  # of its ViT of that width (facebookresearch/moco-v3: vits.py); timm's has 6, and the same tensors
# In words; what stands before the names of an encoder; what else a file of this kind has. The first that fits is taken.
_OF_METHODS = (  # whatever wrapped the network or a part of it
    ("MoCo v1 or v2, its query encoder", r"(state_dict\.)?encoder_q\.", r"encoder_k\.|queue"),
    (_MOCO_V3, r"(state_dict\.)?base_encoder\.", r"momentum_encoder\.|predictor\."),
    ("VISSL, its trunk", r"(.*\.)?(trunk|base_model)\.(.*\.)?_feature_blocks\.", None),
    ("PIRL of PyContrast, its encoder", r"model\.encoder\.", r"head_jig\."),
    ("DINO, its teacher", r"(state_dict\.)?(model\.)?teacher\.backbone\.", None),
    ("a student's teacher", r"(state_dict\.)?teacher\.", r"(^|\.)student\."),
    ("DINO of lightly, its teacher", r"(state_dict\.)?teacher_backbone\.", r"student_backbone\."),
    ("DINO, its student", r"(state_dict\.)?(model\.)?student\.backbone\.", None),
    ("a checkpoint of Semblance", r"method\.backbone\.", None),
    ("SimSiam, its encoder", r"(state_dict\.)?encoder\.", r"module\.predictor\."),
    ("Barlow Twins or VICReg, its backbone", r"(model\.)?backbone\.", r"module\.projector\."),
    ("SwAV, SeLa-v2 or DeepCluster-v2", r"(state_dict\.)?", r"module\.(prototypes|projection_head)\."),
    ("DeepCluster", r"(state_dict\.)?", r"top_layer\."),
    ("SeLa", r"(state_dict\.)?features\.", r"top_layer"),
)
_OF_CONTAINERS = (
    ("Lightning, as of solo-learn and lightly", r"(state_dict\.)?(backbone|encoder)\.", None),
    ("compiled", r"(.*\.)?_orig_mod\.", None),
    ("DataParallel", r"(.*\.)?module\.", None),
    ("plain names", r"((state_dict|model|model_state|net|weights)\.)?", None),
)
LAYOUTS = (*_OF_METHODS, *_OF_CONTAINERS)
_SLOW = re.compile(r"(momentum|ema|target|teacher|key)(_|\.|$)|_(k|ema|momentum|teacher)\.")  # copies, taken last
_HEAD = re.compile(r"(.*_)?(heads?|fc|classifier)")  # which may have a classifier that the network has not
_TOKENS = {"reg_token", "register_tokens", "dist_token"}  # which a ViT sees beside its patches
_WRAPPERS = {"module", "_orig_mod"}  # of DataParallel and of torch.compile, in the midst of names
_CLASSIFIER = 2  # tensors at the end of a file that names tell nothing of: weight and bias
_NAMED = 0.1  # how near a tensor is that has the name and another shape
_FEWEST = 20  # tensors whose order and shapes are no chance


@dataclass
class Recognised:
    """layout: in words. tensors: by the network's names, of its shapes. left: the file's names that were not taken.
    notes: what was changed."""

    layout: str
    tensors: dict[str, Tensor]
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class NotWhole(UserError):
    """near: the part of network and file that are the same, from 0, where no tensor has even its name, to 1."""

    def __init__(self, told: str, near: float) -> None:
        super().__init__(told)
        self.near = near


def recognise(held: Mapping[str, Tensor], network: nn.Module) -> Recognised:
    """The tensors of a file that are a network's. NotWhole, which says how near it came, where it is not whole."""
    own = {name: value for name, value in network.state_dict().items() if not _counts(name)}
    misfits: list[_Match] = []
    for layout, names in _readings(held, network, own):
        match = _Match.of(layout, names, held, own, network)
        if not match.missing and not match.misshapen and not match.beyond:
            _check_heads(match.layout, network)
            found = match.taken(held, network)
            found.notes += _left_whole(match.names, held, own)
            return found
        misfits.append(match)
    best = max(misfits, key=lambda match: match.near(own), default=None)
    if best is None or len(best.missing) == len(own):
        raise NotWhole(f"none of its {len(held)} tensors has a name of the network's, as {shown(next(iter(own)))}", 0)
    raise NotWhole(best.told(held, own), best.near(own))


def _left_whole(names: Names, held: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """A note on other whole networks in a file, where neither they nor the one that is taken follow slowly."""
    first = next(iter(own))
    whole = [prefix for prefix in _before(held, own) if all(prefix + name in held for name in own)]
    peers = [prefix for prefix in whole if not _SLOW.search(prefix)]
    taken = [prefix for prefix in peers if prefix + first == names[first]]
    left = [shown(prefix) or "no prefix" for prefix in peers if prefix not in taken]
    told = f"Taken is the network behind {shown(''.join(taken)) or 'no prefix'}; left is that behind {', '.join(left)}."
    return [told] if taken and left else []


def _readings(held: Mapping[str, Tensor], network: nn.Module, own: Mapping[str, Tensor]) -> Iterator[tuple[str, Names]]:
    """Ways to read a file, the likeliest first, and at last the nearest that is not whole."""
    counted = [
        (prefix, {name: prefix + name for name in own if prefix + name in held}) for prefix in _before(held, own)
    ]
    whole = [(prefix, names) for prefix, names in counted if len(names) == len(own)]
    for prefix, names in sorted(whole, key=lambda found: _place(found[0], held)):
        yield _words(prefix, held), names
    plain = {_unwrapped(name): name for name in held}
    for prefix in _before(plain, own):
        if all(prefix + name in plain for name in own):
            yield _words(prefix, plain), {name: plain[prefix + name] for name in own}
    yield from _children_in_order(held, network, own)
    if not any(2 * len(names) > len(own) for _, names in counted):  # else it is nearly this network, by its names
        yield from _by_order(held, own)
    for prefix, names in sorted(counted, key=lambda found: -len(found[1]))[:1]:
        yield _words(prefix, held), names


def _before(held: Iterable[str], own: Mapping[str, Tensor]) -> list[str]:
    """What stands in a file before names of the network's, "" or "module.encoder_q."."""
    found = dict[str, None]()
    for name in held:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in own:
                found[".".join([*parts[:i], ""])] = None
    return list(found)


def _place(prefix: str, held: Iterable[str]) -> tuple[bool, int, str]:
    """Where a prefix stands among others of the same file; copies that follow slowly come last, but a teacher that is
    what is handed out."""
    number = next((i for i, row in enumerate(LAYOUTS) if _is(row, prefix, held)), len(LAYOUTS))
    chosen = number < len(LAYOUTS) and LAYOUTS[number][0].endswith("teacher")
    return bool(_SLOW.search(prefix)) and not chosen, number, prefix


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _words(prefix: str, held: Iterable[str]) -> str:
    return next((row[0] for row in LAYOUTS if _is(row, prefix, held)), f"names behind {shown(prefix)}")


def _is(row: tuple[str, str, str | None], prefix: str, held: Iterable[str]) -> bool:
    _, before, beside = row
    own = _unwrapped(prefix) if row in _OF_METHODS else prefix
    return bool(re.fullmatch(before, own)) and (beside is None or any(re.search(beside, name) for name in held))


def _children_in_order(
    held: Mapping[str, Tensor], network: nn.Module, own: Mapping[str, Tensor]
) -> Iterator[tuple[str, Names]]:
    """Networks that were put into a Sequential, whose parts are numbers: features.4.0.conv1.weight."""
    children = list(dict.fromkeys(name.split(".")[0] for name in own))
    numbers: dict[str, set[int]] = {}
    for name in held:
        parts = name.split(".")
        for i, part in enumerate(parts[:-1]):
            if part.isdecimal():
                numbers.setdefault(".".join([*parts[:i], ""]), set()).add(int(part))
    for prefix in sorted(numbers, key=lambda prefix: _place(prefix, held)):
        found = numbers[prefix]
        if len(found) >= len(children) > 1:
            place = dict(zip(children, sorted(found), strict=False))
            names = {}
            for name in own:
                child, _, rest = name.partition(".")
                names[name] = f"{prefix}{place[child]}.{rest}"
            if all(name in held for name in names.values()):
                words = _words(prefix, held)
                yield f"{words}, a Sequential of the network's parts", names


def _by_order(held: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[tuple[str, Names]]:
    """Files of other names, whose tensors agree with the network's one after the other in kind and shape."""
    wanted = [(name.rpartition(".")[2], value.shape) for name, value in own.items()]
    for prefix in dict.fromkeys(["", *(f"{name.partition('.')[0]}." for name in held)]):
        names = [name for name in held if name.startswith(prefix) and not _counts(name)]
        kinds = [(name.rpartition(".")[2], held[name].shape) for name in names]
        more = kinds[len(wanted) :]
        head = len(more) <= _CLASSIFIER and all(len(shape) <= 2 for _, shape in more)  # and no further convolution
        if len(wanted) >= _FEWEST and kinds[: len(wanted)] == wanted and head:
            yield "other names, of the same kinds and shapes in the same order", dict(zip(own, names, strict=False))


@dataclass
class _Match:
    """One way to read a file. missing: names of the network's. misshapen: those whose tensors have other shapes.
    beyond: names of the file for parts of the encoder that the network has not."""

    layout: str
    names: Names
    missing: list[str]
    misshapen: list[str]
    beyond: list[str]

    @classmethod
    def of(
        cls, layout: str, names: Names, held: Mapping[str, Tensor], own: Mapping[str, Tensor], network: nn.Module
    ) -> "_Match":
        found = {name: held[names[name]] for name in own if name in names}
        misshapen = [
            name for name, value in found.items()
            if value.shape != own[name].shape and not _grid(name, value, own[name], network)
        ]  # fmt: skip
        beyond = _beyond({theirs: name for name, theirs in names.items()}, held)
        return cls(layout, names, [name for name in own if name not in names], misshapen, beyond)

    def near(self, own: Mapping[str, Tensor]) -> float:
        same = len(own) - len(self.missing) - (1 - _NAMED) * len(self.misshapen)
        return same / (len(own) + len(self.beyond))

    def taken(self, held: Mapping[str, Tensor], network: nn.Module) -> Recognised:
        own, notes, tensors = network.state_dict(), [], {}
        _check_numbers({theirs: held[theirs] for theirs in self.names.values()})
        for name, theirs in self.names.items():
            value = held[theirs]
            if value.shape != own[name].shape:
                value = _resampled(value, network)
                prefix = _rows_before_patches(network)
                sides = tuple(round((count - prefix) ** 0.5) for count in (held[theirs].shape[1], own[name].shape[1]))
                notes.append(f"Positions of {sides[0]} x {sides[0]} patches are resampled to {sides[1]} x {sides[1]}.")
            tensors[name] = value
        beside = {name: self._count_beside(name) for name in own if _counts(name)}
        counts = {name: theirs for name, theirs in beside.items() if theirs in held and held[theirs].numel() == 1}
        tensors |= {name: held[theirs].reshape(own[name].shape) for name, theirs in counts.items()}
        taken = {*self.names.values(), *counts.values()}
        return Recognised(self.layout, tensors, [name for name in held if name not in taken], notes)

    def _count_beside(self, name: str) -> str:
        """Where a file has the count of batches of a norm, beside its mean."""
        mean = self.names.get(f"{name.rpartition('.')[0]}.running_mean", "")
        return f"{mean.rpartition('.')[0]}.num_batches_tracked"

    def told(self, held: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
        """What is wrong."""
        parts = []
        if self.missing:
            parts.append(f"{len(self.missing)} are missing, as {shown(self.missing[0])}")
        if self.misshapen:
            name = self.misshapen[0]
            theirs, wanted = tuple(held[self.names[name]].shape), tuple(own[name].shape)
            parts.append(f"{len(self.misshapen)} have another shape, as {shown(name)} of {theirs} for {wanted}")
        if self.beyond:
            parts.append(f"{len(self.beyond)} of the file are beyond it, as {shown(self.beyond[0])}")
        return f"of the {len(own)} tensors of the network {' and '.join(parts)} ({self.layout})"


def _beyond(taken: Mapping[str, str], held: Mapping[str, Tensor]) -> list[str]:
    """Names of a file for parts of an encoder that the network has not, as a deeper one has; not of heads and queues
    beside it, or of what the file has elsewhere. taken: the network's names of those that are.

    Parts lie within those that are taken, whatever these are called, or are one more in a row of such parts.
    """
    paths = {name: name.split(".") for name in held if not _counts(name) and held[name].is_floating_point()}
    root = os.path.commonprefix([path[:-1] for name, path in paths.items() if name in taken])
    inside: dict[tuple[str, ...], set[str]] = {}  # what is taken of each part
    blocks, most = set[tuple[str, ...]](), Counter[tuple[str, ...]]()  # most: dimensions of a part's tensors
    for name, path in paths.items():
        for i in range(len(root), len(path)):
            part = tuple(path[:i])
            most[*part, path[i]] = max(most[*part, path[i]], held[name].ndim)
            if name in taken:
                inside.setdefault(part, set()).add(path[i])
                if i > len(root) and not _HEAD.fullmatch(taken[name].split(".")[0]):
                    blocks.add(part)

    def is_beyond(path: list[str]) -> bool:
        new = (i for i in range(len(root), len(path)) if path[i] not in inside.get(tuple(path[:i]), ()))
        if path[: len(root)] != root or (at := next(new, None)) is None:
            return False
        part = tuple(path[:at])
        if part in blocks or (at == len(root) and path[at] in _TOKENS):
            return True
        row = path[at].rstrip(digits)  # of layer1, layer2, ..., or of 0, 1, ... in a Sequential
        others = [most[*part, other] for other in inside[part] if other.rstrip(digits) == row not in (other, path[at])]
        alike = bool(others) and most[*part, path[at]] >= max(others)  # else it is a head behind them
        return alike and (max(others) > 2 or len(path) > at + 2)

    return [name for name, path in paths.items() if name not in taken and is_beyond(path)]


def _check_heads(layout: str, network: nn.Module) -> None:
    """NotWhole for a ViT whose tensors fit, and whose heads are others: it would compute something else."""
    heads = next((part.num_heads for part in network.modules() if hasattr(part, "num_heads")), None)
    small_vit = layout.startswith(_MOCO_V3) and getattr(network, "embed_dim", None) == 384 and heads is not None
    if small_vit and heads != _HEADS_OF_384:
        code = f"timm.create_model('vit_small_patch16_224', num_classes=0, num_heads={_HEADS_OF_384})"
        raise NotWhole(
            f"the ViT-S of MoCo v3 has {_HEADS_OF_384} heads and this network {heads}: train with --backbone "
            f"FILE.py:NAME, a function that returns {code}",
            1,
        )


def _check_numbers(taken: Mapping[str, Tensor]) -> None:
    """A UserError for tensors that no trained network has."""
    for name, value in taken.items():
        if not is_plain(value):
            dense = ".dequantize()" if value.is_quantized else ".to_dense().clone()"
            raise UserError(f"{shown(name)} is not stored as plain numbers: save it anew, as tensor{dense}")
        if not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise UserError(f"{shown(name)} is of {kind}: give the weights as numbers, float32 or half precision")
        if not _computable(value).isfinite().all():
            raise UserError(f"{shown(name)} holds numbers that are not finite: nothing can be computed with them")
    if not any(_computable(value).any() for value in taken.values() if value.ndim > 1):
        raise UserError("all of its weights are zero")


def _computable(value: Tensor) -> Tensor:
    """As float32 where it has 8 bits, which little can be computed of."""
    return value.float() if value.element_size() == 1 else value


def _counts(name: str) -> bool:
    """Whether it is a count of batches, which older files lack and no norm with momentum needs."""
    return name.endswith("num_batches_tracked")


def _grid(name: str, value: Tensor, own: Tensor, network: nn.Module) -> bool:
    """Whether a tensor has the positions of another grid of patches."""
    side = max(0, value.shape[1] - _rows_before_patches(network)) ** 0.5 if value.ndim == 3 else 0.5
    return name == "pos_embed" and value.shape[::2] == own.shape[::2] and side >= 1 and side % 1 == 0


def _rows_before_patches(network: Any) -> int:
    """Positions of class tokens and registers, which some ViTs give none."""
    return 0 if getattr(network, "no_embed_class", False) else getattr(network, "num_prefix_tokens", 0)


def _resampled(value: Tensor, network: nn.Module) -> Tensor:
    from timm.layers import resample_abs_pos_embed

    vit: Any = network
    grid = list(vit.patch_embed.grid_size)
    return resample_abs_pos_embed(value.float(), new_size=grid, num_prefix_tokens=_rows_before_patches(network))
