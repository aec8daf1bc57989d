"""The audio backbone of a run on clips, measured on labelled sounds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from semblance.data.sources.files import Files
from semblance.evaluation.batch_norms import learn
from semblance.evaluation.labelled_sounds import fold_accuracies, load_sounds, mean_and_error, sound_features
from semblance.modalities.modality import Evaluation
from semblance.runs.config import TrainConfig
from semblance.runtime import random
from semblance.systems import Method
from semblance.systems.clip_method import ClipMethod

SEEN = 640  # recordings


def evaluate_on_sounds(
    method: ClipMethod, files: Files, config: TrainConfig, untrained: Callable[[], Method]
) -> Evaluation:
    """Untrained and trained audio backbone over the folds of labelled sounds, as the run computed.

    The batch norms of the untrained one know SEEN of these sounds.
    """
    sounds = load_sounds(files, config.sound)
    trained: Any = method.audio_backbone
    weight = next(trained.parameters())
    torch.manual_seed(config.seed)
    start: Any = untrained().audio_backbone
    start.standardise.load_state_dict(trained.standardise.state_dict())
    start = start.to(weight.device, weight.dtype).eval()
    some = random.permutation(random.key(config.seed, "batch norms"), len(sounds.windows))[:SEEN]
    seen = replace(sounds, windows=sounds.windows[some])
    learn(start, lambda: sound_features(start, seen, config.sound, config.precision))
    table: list[dict[str, Any]] = []
    cells = []
    for kind, network in (("untrained", start), ("trained", trained)):
        folds = fold_accuracies(sound_features(network, sounds, config.sound, config.precision), sounds)
        mean, error = mean_and_error(folds)
        table.append({"encoder": f"{kind} network", "svm_top1": mean, "standard_error": error, "folds": folds})
        each = " ".join(f"{100 * fold:.1f}" for fold in folds)
        cells.append([f"{kind} network", f"{100 * mean:.1f} ± {100 * error:.1f}", each])
    title = f"{len(sounds.labels):,} sounds of {len(sounds.classes)} classes"
    return Evaluation(
        table, title, [(["audio backbone", "SVM %", "folds"], cells)], sounds.skipped, notes=[*files.left_out.lines()]
    )
