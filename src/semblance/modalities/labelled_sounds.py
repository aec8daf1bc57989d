"""The audio backbone of a run on clips, measured on labelled sounds."""

from collections.abc import Callable
from typing import Any

import torch

from semblance.data.sources.files import Files
from semblance.evaluation.labelled_sounds import fold_accuracies, load_sounds, mean_and_error, sound_features
from semblance.modalities.modality import Evaluation
from semblance.runs.config import TrainConfig
from semblance.systems import Method
from semblance.systems.clip_method import ClipMethod


def evaluate_on_sounds(
    method: ClipMethod, files: Files, config: TrainConfig, untrained: Callable[[], Method]
) -> Evaluation:
    """Untrained and trained audio backbone over the folds of labelled sounds."""
    sounds = load_sounds(files, config.sound)
    torch.manual_seed(config.seed)
    networks: dict[str, Any] = {"untrained": untrained().audio_backbone, "trained": method.audio_backbone}
    networks["untrained"].standardise.load_state_dict(networks["trained"].standardise.state_dict())
    table: list[dict[str, Any]] = []
    cells = []
    for kind, network in networks.items():
        folds = fold_accuracies(sound_features(network, sounds, config.sound), sounds)
        mean, error = mean_and_error(folds)
        table.append({"encoder": f"{kind} network", "svm_top1": mean, "standard_error": error, "folds": folds})
        each = " ".join(f"{100 * fold:.1f}" for fold in folds)
        cells.append([f"{kind} network", f"{100 * mean:.1f} ± {100 * error:.1f}", each])
    title = f"{len(sounds.labels):,} sounds of {len(sounds.classes)} classes"
    return Evaluation(table, title, [(["audio backbone", "SVM %", "folds"], cells)], sounds.skipped)
