"""Evaluation of a finished run on clips, or of its audio backbone on labelled sounds; features of clips."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from .. import data as sources
from ..config import TrainConfig
from ..data.clip_files import is_media
from ..data.files import Files
from ..engine import checkpoint
from ..engine.build import build
from ..engine.clip_results import embed_parts, print_clips, row
from ..engine.folder import RunFolder
from ..engine.precision import choose_precision
from ..errors import UserError
from ..nets.export import load_backbone
from ..systems.contrastive.avid import AVID
from .clips import Embedded, backbone_features, raw_input
from .retrieval import chance, retrieval
from .run import make_folder_of, write_arrays
from .sounds import fold_accuracies, is_sound, load_sounds, mean_and_error, sound_features
from .table import print_skipped


def evaluate(run: Path, data: str | None) -> list[dict[str, Any]]:
    """The table of a run: raw input, then the trained networks; of a folder of sounds, that of the audio backbone."""
    folder = RunFolder(run)
    config, device = here(folder)
    method = trained(folder, config).to(device)
    data = data or config.data
    files = sources.find_files(Path(data).expanduser(), is_media)
    if files is not None and files.items and all(is_sound(str(item)) for item in files.items):
        return _on_sounds(method, files, config)
    source = sources.load_clips(data, config.video, config.sound)
    with Console(stderr=True).status("Measuring retrieval and probes"):
        train, test = embed_parts(method, source, config)
        table = [row("trained networks", train, test, source)]
        if source.train.attributes:
            raw = [Embedded({}, raw_input(clips, config)) for clips in (source.train, source.test)]
            table.insert(0, row("raw input", raw[0], raw[1], source))
    found = retrieval(test.embeddings["video"], test.embeddings["audio"])
    print_clips(found | {"chance": chance(len(source.test))}, table, {}, len(source.test))
    print_skipped(source.skipped)
    return table


def embed(run: Path, data: str, out: Path | None) -> dict[str, Tensor]:
    """Features of every readable clip by both backbones, in the order training, held out."""
    config, device = here(RunFolder(run))
    video, audio = (load_backbone(run / f"{kind}_backbone.safetensors").to(device) for kind in ("video", "audio"))
    source = sources.load_clips(data, config.video, config.sound)
    if out is not None:
        make_folder_of(out)
    parts = (source.train, source.test)
    with Console(stderr=True).status("Embedding clips"):
        found = [backbone_features(video, audio, part, config) for part in parts]
    features = {kind: torch.cat([f[kind] for f in found]) for kind in ("video", "audio")}
    if out is not None:
        arrays: dict[str, Any] = {kind: rows.numpy() for kind, rows in features.items()}
        arrays["names"] = np.array([str(item) for part in parts for item in part.items])
        for name, known in source.train.attributes.items():
            values = torch.cat([part.attributes[name].values for part in parts])
            arrays[f"label_{name}"] = np.array(known.classes)[values.numpy()]
        widths = " and ".join(f"{rows.shape[1]} numbers of {kind}" for kind, rows in features.items())
        write_arrays(out, arrays, f"features of {len(arrays['names']):,} clips, {widths},")
    print_skipped(source.skipped)
    return features


def _on_sounds(method: AVID, files: Files, config: TrainConfig) -> list[dict[str, Any]]:
    """Untrained and trained audio backbone over the folds of labelled sounds."""
    with Console(stderr=True).status("Classifying sounds, fold by fold"):
        sounds = load_sounds(files, config.sound)
        torch.manual_seed(config.seed)
        networks: dict[str, Any] = {"untrained": build(config).audio_backbone, "trained": method.audio_backbone}
        networks["untrained"].standardise.load_state_dict(networks["trained"].standardise.state_dict())
        table: list[dict[str, Any]] = []
        for kind, network in networks.items():
            folds = fold_accuracies(sound_features(network, sounds, config.sound), sounds)
            mean, error = mean_and_error(folds)
            table.append({"encoder": f"{kind} network", "svm_top1": mean, "standard_error": error, "folds": folds})
    title = f"{len(sounds.labels):,} sounds of {len(sounds.classes)} classes"
    shown = Table("audio backbone", "SVM %", "folds", title=title)
    for line in table:
        each = " ".join(f"{100 * f:.1f}" for f in line["folds"])
        shown.add_row(line["encoder"], f"{100 * line['svm_top1']:.1f} ± {100 * line['standard_error']:.1f}", each)
    Console().print(shown)
    print_skipped(sounds.skipped)
    return table


def here(folder: RunFolder) -> tuple[TrainConfig, torch.device]:
    """The run's configuration, computing as this machine's best device does."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = TrainConfig.load(folder.config)
    return config.model_copy(update={"precision": choose_precision("auto", device, clips=True)}), device


def trained(folder: RunFolder, config: TrainConfig) -> AVID:
    """The method with the weights of the run's last checkpoint, without its banks."""
    if not folder.checkpoint.exists():
        raise UserError(f"No trained networks at {folder.checkpoint}: finish the run first.")
    method = build(config)
    state = checkpoint.load(folder.checkpoint)["method"]
    own = method.state_dict()
    method.load_state_dict({name: value for name, value in state.items() if name in own}, strict=False)
    assert isinstance(method, AVID)
    return method
