"""Where weights to start with come from: a name of timm's or torchvision's, a file, a folder for a hub, or a run."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.nets.backbones import backbone, named_as
from semblance.runs.config import TrainConfig
from semblance.runs.documents import read_json
from semblance.runs.folder import RunFolder
from semblance.runs.init.layouts import NotWhole, Recognised, recognise
from semblance.runs.init.published import HUB, INDEX, TIMM, TORCHVISION, of_timm, of_torchvision, tagged
from semblance.runs.init.read import read
from semblance.runtime import named
from semblance.runtime.bounded_text import read_text
from semblance.shown import shortened, shown

FILES = (".pth", ".pt", ".tar", ".ckpt", ".bin", ".npz")  # beside .safetensors, which may be of a run
USUAL = (  # that are tried where weights are not of the network that was asked for
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vit_tiny_patch16_224", "vit_small_patch16_224",
    "vit_small_patch8_224", "vit_base_patch16_224", "vit_base_patch8_224", "efficientnet_b0", "tf_efficientnet_lite0",
    "convnext_tiny", "resnet18-cifar", "resnet34-cifar", "resnet50-cifar",
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """What --init names, told apart by its form.

    kind: "timm", "torchvision", "run", "hub" or "file". name: what is behind "timm:", or a path.
    """

    kind: str
    name: str

    @classmethod
    def of(cls, init: str) -> "Start":
        """A UserError where there is no such thing."""
        for kind in (TIMM, TORCHVISION):
            if init.startswith(kind):
                return cls(kind.removesuffix(":"), init.removeprefix(kind))
        path = Path(init)
        if path.is_dir():
            if (path / "config.yaml").exists():
                return cls("run", init)
            if (path / "config.json").exists():
                return cls("hub", init)
            raise UserError(
                f"--init {shown(init)}: there is no run (config.yaml) in it, and no network for a hub (config.json)."
            )
        if not path.is_file():
            import timm

            known = timm.is_model(init) and path.suffix.lower() not in FILES
            hint = f" For timm's weights of that name: --init {TIMM}{init}." if known else ""
            raise UserError(f"--init {shown(init)}: there is no such file.{hint}")
        return cls("file", init)

    def networks(self) -> dict[str, str]:
        """The options that build the networks which the weights are of, as far as they say so."""
        path = Path(self.name)
        if self.kind == "timm":
            return {"backbone": tagged(self.name)[0]}
        if self.kind == "torchvision":
            return {"backbone": f"torchvision/{self.name.partition('.')[0]}"}
        if self.kind == "run":
            config = TrainConfig.load(RunFolder(path).config)
            given = {"backbone": config.backbone, "audio_backbone": config.audio_backbone}
            return {name: value for name, value in given.items() if value is not None}
        said = _own_backbone(path / HUB[0] if self.kind == "hub" else path)
        if self.kind == "hub" and said is None and (made := made_by(path)) is not None:
            said = named_as(*made) or made[0]
        return {"backbone": said} if said is not None else {}

    def tensors(self) -> dict[str, Tensor]:
        """All that there is, by name; of a run see `of_a_run` (modalities/build.py)."""
        path = Path(self.name)
        if self.kind == "timm":
            return of_timm(self.name)
        if self.kind == "torchvision":
            return of_torchvision(self.name)
        if self.kind == "hub":
            return {name: value for file in _hub_files(path) for name, value in read(file).items()}
        return read(path)


def start_with(
    init: str, held: dict[str, Tensor], networks: Sequence[nn.Module], names: Sequence[str]
) -> list[str]:  # fmt: skip
    """Copy weights into the networks that they are of, one at least; what was taken and left, in sentences.

    init, names: of the weights and of the networks, for messages.
    """
    told, refused, taken, whole = [], [], set[str](), False
    for network, name in zip(networks, names, strict=True):
        try:
            found = recognise(held, network)
        except UserError as error:
            refused.append(f"{name}: {error}")
            continue
        network.load_state_dict(found.tensors, strict=False)
        taken |= held.keys() - set(found.left)
        count = len(network.state_dict())
        told += [
            f"{name} starts with {shown(init)}, taken for {found.layout}: {len(found.tensors)} of {count} tensors."
        ]
        told += found.notes
        whole = True
    if not whole:
        hints = _by_arguments(init) or _other(held, names)
        raise UserError(*(f"--init {shown(init)} is not whole for {line}." for line in refused), *hints)
    told += [f"{line}: it starts at random." for line in refused]
    if left := [name for name in held if name not in taken]:
        told.append(f"Not taken from {shown(init)}: {_groups(left)}.")
    return told


def made_by(path: Path) -> tuple[str, dict[str, Any]] | None:
    """The architecture and the arguments by which timm makes the network of a folder for a hub; None where its
    config.json does not say it, as that of transformers. A UserError where timm has none of that name."""
    import timm

    try:
        found = read_json(read_text(path / "config.json"))
    except (OSError, ValueError) as error:
        raise UserError(f"--init {shown(path)}: its config.json cannot be read: {error}.") from error
    config = found if isinstance(found, dict) else {}
    architecture, arguments = config.get("architecture"), config.get("model_args") or {}
    if not isinstance(architecture, str):
        return None
    if not timm.is_model(architecture) or not isinstance(arguments, dict):
        raise UserError(
            f"--init {shown(path)}: its config.json is of {shortened(architecture)}, which timm {timm.__version__} "
            "does not know. Install the timm that wrote it, or name the file of its weights, and --backbone."
        )
    return architecture, arguments


def _hub_files(path: Path) -> list[Path]:
    """The files of weights in a folder for a hub, one or several."""
    for name in HUB:
        if (path / name).exists():
            return [path / name]
    for name in HUB:
        index = path / INDEX.format(name)
        if index.exists():
            try:
                held = read_json(read_text(index))["weight_map"].values()
                return [path / Path(file).name for file in dict.fromkeys(held)]
            except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
                raise UserError(f"--init {shown(index)} does not say which files hold the weights.") from error
    raise UserError(f"--init {shown(path)}: there is no {' and no '.join(HUB)}.")


def first_whole(held: dict[str, Tensor], names: Sequence[str] = USUAL) -> tuple[str, Recognised]:
    """The first of some networks that weights are whole for; NotWhole with the nearest where there is none."""
    nearest, near = "", -1.0
    for name in names:
        try:
            with torch.device("meta"):
                return name, recognise(held, backbone(name))
        except NotWhole as error:
            if error.near > near:
                nearest, near = f"{name}: {error}", error.near
    raise NotWhole(nearest, near)


def _other(held: dict[str, Tensor], names: Sequence[str]) -> list[str]:
    """Which of the usual networks the weights are of, if any."""
    with suppress(UserError):
        name, _ = first_whole(held)
        return [] if name in names else [f"They are whole for {name}: give --backbone {name}."]
    return []


def _by_arguments(init: str) -> list[str]:
    """What to do about a network that has no name, since timm makes it by arguments."""
    start = Start.of(init)
    made = made_by(Path(start.name)) if start.kind == "hub" else None
    if made is None or not made[1] or start.networks()["backbone"] != made[0]:
        return []
    given = "".join(f", {name}={value!r}" for name, value in made[1].items())
    code = shortened(f"timm.create_model({made[0]!r}, num_classes=0{given})")
    return [f"They are of {code}: give --backbone FILE.py:NAME, a function without arguments that returns it."]


def _groups(names: Sequence[str]) -> str:
    """Names in short: how many begin with the same part."""
    depth = 1
    while depth < 4 and len({tuple(name.split(".")[:depth]) for name in names}) == 1:
        depth += 1
    counts = Counter(".".join(name.split(".")[:depth]) for name in names)
    told = [shown(name) if count == 1 else f"{count} of {shown(name)}" for name, count in counts.most_common(6)]
    return ", ".join([*told, *([f"{len(counts) - 6} more kinds"] if len(counts) > 6 else [])])


def _own_backbone(path: Path) -> str | None:
    """What a backbone.safetensors of ours says of itself; nothing of other files, or of code that came with one."""
    with suppress(Exception), safe_open(path, "pt") as file:
        said = read_json((file.metadata() or {}).get("semblance", "{}")).get("backbone")
        if isinstance(said, str) and (not named.is_in_file(said) or RunFolder(path.parent).named("backbone") == said):
            return said
    return None
