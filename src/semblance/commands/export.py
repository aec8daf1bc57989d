"""`semblance export`: the network of a run as others load it, with the proof that it is the same."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from semblance import modalities
from semblance.commands import begin
from semblance.commands.embed import pictures_of
from semblance.commands.model_card import told_of
from semblance.commands.opened import Opened
from semblance.commands.printing import say, status
from semblance.data import Source
from semblance.errors import UserError, unknown
from semblance.runs import weights
from semblance.runs.export import hub, onnx, proof, timm, torchvision
from semblance.runs.export.card import card, check_licence
from semblance.runs.export.network import Leaving
from semblance.runtime.atomic_files import writing
from semblance.runtime.memory import told_when_short
from semblance.shown import shown
from semblance.views.clip import plain_clip
from semblance.views.view import MEAN, STD

TARGETS: dict[str, Any] = {"timm": timm, "torchvision": torchvision, "onnx": onnx, "hub": hub}
LOADED_BY = {"timm": "timm", "torchvision": "torchvision", "onnx": "onnxruntime", "hub": "timm"}
COUNT = max(proof.BATCHES)  # samples that prove it


@told_when_short()
def export(
    run: str, *, to: str, out: str, network: str | None = None, data: str | None = None, licence: str | None = None,
    opset: int | None = None, preprocessing: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the network for others, load it in a process of its own and compare features; none that differ are left."""
    path = Path(os.path.expanduser(out))
    _check(to, path, licence, opset, preprocessing)
    opened = Opened.of(run, network, data=data, moved=True)
    method: Any = opened.method().cpu().to(memory_format=torch.contiguous_format)
    source, leaving = _leaving(opened, method)
    options: dict[str, Any] = {"licence": licence, "opset": opset, "preprocessing": preprocessing or "inside"}
    if to == "hub":
        about = {name: getattr(opened.config, name) for name in weights.SEEN} | {"mean": MEAN, "std": STD}
        held = method.network if opened.state else weights.read_metadata(opened.file)[1].get("network", "student")
        options["about"] = about | {"canvas": opened.config.canvas, "network": held}
        told = told_of(opened, source, held)
        options["card"] = lambda code: card(leaving[0], told, code, licence)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".semblance-") as aside:
            proved = [_proved(to, Path(aside), _path(path, each), each, options) for each in leaving]
            for file in sorted(Path(aside).iterdir()):
                file.replace(path.with_name(file.name))
    for each, (written, difference) in zip(leaving, proved, strict=True):
        _say(to, opened, each, written, difference, _path(path, each))
    for note in opened.notes:
        say(note)
    return {
        "files": [str(_path(path, each)) for each in leaving],
        "differences": [difference for _, difference in proved],
        "code": [written.code(_path(path, each)) for each, (written, _) in zip(leaving, proved, strict=True)],
    }


def _check(to: str, path: Path, licence: str | None, opset: int | None, preprocessing: str | None) -> None:
    """A UserError for options that cannot be, before anything is read."""
    if to not in TARGETS:
        raise unknown("target of --to", to, TARGETS)
    suffixes = TARGETS[to].SUFFIXES
    if path.suffix not in suffixes and suffixes != ("",):
        raise UserError(f"--out {shown(path)} must end in {' or '.join(suffixes)} for --to {to}.")
    if to == "hub" and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"--out {shown(path)} is there already: name a new folder.")
    if path.is_file() and (path.parent / "config.yaml").exists():
        raise UserError(f"--out {shown(path)} is a file of the run itself: name another.")
    if to != "hub" and path.is_dir():
        raise UserError(f"--out {shown(path)} is a folder: name a file in it.")
    if to != "onnx" and (
        given := [n for n, v in (("opset", opset), ("preprocessing", preprocessing)) if v is not None]
    ):
        raise UserError(f"--{' and --'.join(given)} go with --to onnx.")
    if preprocessing not in (None, "inside", "beside"):
        raise UserError(f"--preprocessing is inside or beside, not {shown(preprocessing)}.")
    if to != "hub" and licence is not None:
        raise UserError("--licence goes with --to hub, whose model card says it.")
    check_licence(licence)
    if to == "onnx":
        onnx.check_packages()


def _leaving(opened: Opened, method: Any) -> tuple[Source[Any], list[Leaving]]:
    """The networks, with some held-out samples as the run shows them."""
    config, modality = opened.config, opened.modality
    pictures = modality is modalities.named("pictures")
    if not pictures and modality is not modalities.named("clips"):
        raise UserError(
            f"Networks of {modality.samples} cannot be exported: what they are shown is known to them alone."
        )
    source: Source[Any] = pictures_of(opened) if pictures else begin.load(modality, config)
    held_out = source.held_out
    some = torch.linspace(0, len(held_out) - 1, COUNT).round().long()
    bf16 = config.precision == "bf16"
    raw = held_out.read(some)
    if pictures:
        x = raw[0] if raw[0].is_floating_point() else opened.transform.of_canvases(raw[0], raw[1])
        return source, [Leaving(config.backbone, method.encoder, _unnormalised(x), autocast=bf16)]
    video, sound = config.video, config.sound
    frames = _unnormalised(plain_clip(raw, config.image_size))
    assert config.audio_backbone is not None
    return source, [
        Leaving(config.backbone, method.backbone, frames, "video", {"fps": video.fps}, bf16),
        Leaving(
            config.audio_backbone,
            method.audio_backbone,
            sound.plain(raw[2].float() / 32767),
            "audio",
            vars(sound),
            bf16,
        ),
    ]


def _unnormalised(x: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(c).view(3, *[1] * (x.ndim - 2)) for c in (MEAN, STD))
    return x * std + mean


def _path(out: Path, leaving: Leaving) -> Path:
    """Where a network goes: of clips there are two."""
    return out.with_name(f"{out.stem}_{leaving.stream}{out.suffix}") if leaving.stream else out


def _proved(to: str, aside: Path, path: Path, leaving: Leaving, options: dict[str, Any]) -> tuple[Any, float]:
    with status(f"Writing {path.name} and loading it by {LOADED_BY[to]}"):
        written = TARGETS[to].write(aside / path.name, leaving, **options)
        return written, proof.prove(leaving, written, aside / path.name)


def _say(to: str, opened: Opened, leaving: Leaving, written: Any, difference: float, path: Path) -> None:
    batches = " and ".join(map(str, proof.BATCHES))
    say(f"Wrote {shown(path)}: {written.told}.", result=True)
    samples = f"{COUNT} {'held-out ' if opened.folder else ''}{opened.modality.samples}"
    say(
        f"Loaded by {LOADED_BY[to]} in a process of its own, at batch {batches}, its features of {samples} differ by "
        f"{difference:.1e} of the largest at most.",
        result=True,
    )
    if leaving.of_bf16 is not None:
        say(f"The run computed in bf16, by which its own features lie up to {leaving.of_bf16:.1e} of the largest away.")
    say(written.code(path), result=True)
