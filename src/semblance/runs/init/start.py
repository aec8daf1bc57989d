"""Where weights to start with come from: a name of timm's or torchvision's, a file, a folder for a hub, or a run."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from semblance.errors import UserError, unknown
from semblance.nets.backbones import backbone
from semblance.runs.config import TrainConfig
from semblance.runs.documents import read_json
from semblance.runs.folder import RunFolder
from semblance.runs.init.layouts import recognise
from semblance.runs.init.read import read
from semblance.runtime.bounded_text import read_text
from semblance.shown import shown

TIMM, TORCHVISION = "timm:", "torchvision:"
HUB = ("model.safetensors", "pytorch_model.bin")  # of a folder with a config.json, as timm writes it
USUAL = (  # that are tried where weights are not of the network that was asked for
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vit_tiny_patch16_224", "vit_small_patch16_224",
    "vit_small_patch8_224", "vit_base_patch16_224", "vit_base_patch8_224", "efficientnet_b0", "tf_efficientnet_lite0",
    "convnext_tiny",
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

            hint = f" For timm's weights of that name: --init {TIMM}{init}." if timm.is_model(init) else ""
            raise UserError(f"--init {shown(init)}: there is no such file.{hint}")
        return cls("file", init)

    def networks(self) -> dict[str, str]:
        """The options that build the networks which the weights are of, as far as they say so."""
        path = Path(self.name)
        if self.kind == "timm":
            return {"backbone": _tagged(self.name)[0]}
        if self.kind == "torchvision":
            return {"backbone": f"torchvision/{self.name.partition('.')[0]}"}
        if self.kind == "run":
            config = TrainConfig.load(RunFolder(path).config)
            given = {"backbone": config.backbone, "audio_backbone": config.audio_backbone}
            return {name: value for name, value in given.items() if value is not None}
        found = _hub_config(path).get("architecture") if self.kind == "hub" else _own_metadata(path).get("backbone")
        return {"backbone": found} if isinstance(found, str) else {}

    def tensors(self) -> dict[str, Tensor]:
        """All that there is, by name."""
        path = Path(self.name)
        if self.kind == "timm":
            return _of_timm(self.name)
        if self.kind == "torchvision":
            return _of_torchvision(self.name)
        if self.kind == "hub":
            file = next((path / name for name in HUB if (path / name).exists()), None)
            if file is None:
                raise UserError(f"--init {shown(path)}: there is no {' and no '.join(HUB)}.")
            return read(file)
        if self.kind == "run":
            return _of_run(RunFolder(path))
        return read(path)


def start_with(init: str, networks: Sequence[nn.Module], names: Sequence[str]) -> list[str]:
    """Copy weights into the networks that they are of, one at least; what was taken and left, in sentences.

    names: of the networks, for messages.
    """
    held = Start.of(init).tensors()
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
        raise UserError(*(f"--init {shown(init)} is not whole for {line}." for line in refused), *_other(held, names))
    told += [f"{line}: it starts at random." for line in refused]
    if left := [name for name in held if name not in taken]:
        told.append(f"Not taken from {shown(init)}: {_groups(left)}.")
    return told


def _of_timm(name: str) -> dict[str, Tensor]:
    """From the local cache of the hub, or fetched."""
    import timm

    architecture, tag = _tagged(name)
    full = f"{architecture}.{tag}" if tag else architecture
    try:
        return timm.create_model(full, pretrained=True).state_dict()
    except Exception as error:  # of the hub, in whatever way there is no network
        about = timm.get_pretrained_cfg(full)
        where = about.hf_hub_id or about.url if about else full
        raise UserError(
            f"--init {TIMM}{shown(name)} is not in the cache of this machine and cannot be fetched here "
            f"({type(error).__name__}). Fetch {where} where there is a network, and give the file or its folder."
        ) from error


def _tagged(name: str) -> tuple[str, str]:
    """Architecture and tag of weights of timm's, "" for the usual ones; a UserError where there are none."""
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"--init {TIMM}{shown(name)}: timm has no model {shown(architecture)}.{hint}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if not tags:
        raise UserError(f"--init {TIMM}{shown(name)}: timm has no weights of {architecture}.")
    if tag and tag not in tags:
        raise unknown(f"weights of {architecture} in timm", tag, tags)
    return architecture, tag


def _of_torchvision(name: str) -> dict[str, Tensor]:
    import torchvision.models

    architecture, _, tag = name.partition(".")
    if architecture not in torchvision.models.list_models(module=torchvision.models):
        raise unknown("torchvision model", architecture, torchvision.models.list_models(module=torchvision.models))
    weights = torchvision.models.get_model_weights(architecture)
    if tag and tag not in weights.__members__:
        raise unknown(f"weights of {architecture} in torchvision", tag, weights.__members__)
    try:
        return dict(weights[tag or "DEFAULT"].get_state_dict(check_hash=True))
    except Exception as error:  # in whatever way there is no network
        raise UserError(
            f"--init {TORCHVISION}{shown(name)} is not in the cache of this machine and cannot be fetched here. Where "
            f"there is a network, fetch {weights[tag or 'DEFAULT'].url}, and give the file."
        ) from error


def _of_run(folder: RunFolder) -> dict[str, Tensor]:
    """The networks that a run hands out; of one that was stopped, those of its last checkpoint."""
    files = {"": folder.backbone, "video.": folder.path / "video_backbone.safetensors"}
    files["audio."] = folder.path / "audio_backbone.safetensors"
    held = {f"{of}{name}": value for of, file in files.items() if file.exists() for name, value in read(file).items()}
    if not held and not folder.checkpoint.exists():
        raise UserError(f"--init {shown(folder.path)}: this run has neither a backbone nor a checkpoint yet.")
    return held or read(folder.checkpoint)


def _hub_config(path: Path) -> dict[str, Any]:
    try:
        found = read_json(read_text(path / "config.json"))
    except (OSError, ValueError) as error:
        raise UserError(f"--init {shown(path)}: its config.json cannot be read: {error}.") from error
    return found if isinstance(found, dict) else {}


def _other(held: dict[str, Tensor], names: Sequence[str]) -> list[str]:
    """Which of the usual networks the weights are of, if any."""
    for name in USUAL:
        with suppress(UserError), torch.device("meta"):
            recognise(held, backbone(name))
            return [] if name in names else [f"They are whole for {name}: give --backbone {name}."]
    return []


def _groups(names: Sequence[str]) -> str:
    """Names in short: how many begin with the same part."""
    depth = 1
    while depth < 4 and len({tuple(name.split(".")[:depth]) for name in names}) == 1:
        depth += 1
    counts = Counter(".".join(name.split(".")[:depth]) for name in names)
    told = [shown(name) if count == 1 else f"{count} of {shown(name)}" for name, count in counts.most_common(6)]
    return ", ".join([*told, *([f"{len(counts) - 6} more kinds"] if len(counts) > 6 else [])])


def _own_metadata(path: Path) -> dict[str, Any]:
    """What a backbone.safetensors of ours says of itself; nothing of other files."""
    with suppress(Exception), safe_open(path, "pt") as file:
        return dict(read_json((file.metadata() or {}).get("semblance", "{}")))
    return {}
