"""Evaluation of a frozen audio backbone on labelled sounds: a linear SVM over folds, by ESC-50's protocol."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.media import SOUNDS, decode_sound
from semblance.data.samples import Skipped, reason
from semblance.data.sources.files import Files
from semblance.data.sources.kinds import is_of_kind
from semblance.errors import UserError
from semblance.evaluation.clip_features import probed
from semblance.runtime.precision import autocast
from semblance.shown import as_bytes
from semblance.views.sound import SoundView

WINDOWS = 10  # of each recording, evenly spaced
FOLDS = 5
C = 10.0
_ESC = re.compile(r"(?P<fold>\d)-(?P<recording>[^-]+)-[A-Z]-(?P<label>\d+)")  # 1-100032-A-0.wav


@dataclass
class Recordings:
    """Labelled sounds: windows int16 (N, WINDOWS, samples), class and fold of each, int64 (N,)."""

    windows: Tensor
    labels: Tensor
    folds: Tensor
    classes: list[str]
    skipped: Skipped


def is_sound(name: str) -> bool:
    """Whether a file of this relative name is taken for a sound: by extension, unless hidden."""
    return is_of_kind(name, SOUNDS)


def load_sounds(files: Files, view: SoundView) -> Recordings:
    """Sounds named as ESC's are (fold-recording-take-class), or in a folder for each class, with hashed folds.

    A recording shorter than two windows is repeated. Raises UserError where fewer than two classes or folds are left.
    """
    windows, told, skipped = [], [], []
    for item in files.items:
        place = _class_and_fold(str(item))
        if place is None:
            skipped.append((str(item), "neither named as ESC's files are nor in the folder of a class"))
            continue
        try:
            wave = decode_sound(files.read(item), view.rate)
        except (OSError, ValueError) as error:
            skipped.append((str(item), reason(error)))
            continue
        wave = wave.repeat(-(-2 * view.samples // len(wave))) if len(wave) < 2 * view.samples else wave
        starts = torch.linspace(0, len(wave) - view.samples, WINDOWS).long().tolist()
        windows.append(torch.stack([wave[s : s + view.samples] for s in starts]))
        told.append(place)
    classes = sorted({label for label, _ in told})
    folds = torch.tensor([fold for _, fold in told])
    if len(classes) < 2 or len(folds.unique()) < 2:
        raise UserError(
            f"{files.path} holds {len(told)} labelled sounds of {len(classes)} classes in {len(folds.unique())} folds; "
            "two of each are needed. Name them as ESC does, or put the sounds of each class in a folder of its own."
        )
    labels = torch.tensor([classes.index(label) for label, _ in told])
    return Recordings(torch.stack(windows), labels, folds, classes, skipped)


def _class_and_fold(name: str) -> tuple[str, int] | None:
    """Class and fold of a file by its name."""
    path = PurePosixPath(name)
    if match := _ESC.match(path.stem):
        return match["label"], int(match["fold"])
    if len(path.parts) < 2:
        return None
    return path.parts[-2], int.from_bytes(blake2b(as_bytes(name), digest_size=4).digest(), "big") % FOLDS


@torch.no_grad()
def sound_features(network: Any, sounds: Recordings, view: SoundView, precision: str = "32") -> Tensor:
    """The last map of every window as AVID's probes see it: float32 (N, WINDOWS, F). network: in evaluation mode."""
    weight = next(network.parameters())
    rows = []
    for part in sounds.windows.split(16):
        spectrograms = view.plain(part.flatten(0, 1).to(weight.device).float() / 32767).to(weight.dtype)
        with autocast(precision, weight.device):
            if hasattr(network, "pool"):
                found = probed(network.forward_features(spectrograms), network.parts)
            else:
                found = network(spectrograms)
        rows.append(found.float().cpu().unflatten(0, (-1, WINDOWS)))
    return torch.cat(rows)


def fold_accuracies(features: Tensor, sounds: Recordings, c: float = C) -> list[float]:
    """Top-1 on each fold in turn by a one-vs-rest linear SVM trained on the others, in [0, 1].

    The SVM is trained on single windows; a recording's scores are its windows' mean. Features are standardised by
    the training windows, with 0.01 added to the deviation (Morgado et al. 2021; facebookresearch/AVID-CMA's evaluation
    before its release, which draws its training windows at random and at several speeds, repeats every recording once,
    tries four layers and quotes the best: here the last, with the squared hinge of its earlier revision).
    """
    return [_fold(features, sounds, int(fold), c) for fold in sounds.folds.unique()]


def _fold(features: Tensor, sounds: Recordings, fold: int, c: float) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    held = sounds.folds == fold
    train, test = features[~held].flatten(0, 1), features[held]
    std, mean = torch.std_mean(train, 0)
    labels = sounds.labels[~held].repeat_interleave(WINDOWS).numpy()
    machine = LinearSVC(C=c, max_iter=200, tol=1e-4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations are the protocol's
        machine.fit(((train - mean) / (std + 1e-2)).numpy(), labels)
    scores = machine.decision_function(((test.flatten(0, 1) - mean) / (std + 1e-2)).numpy())
    if scores.ndim == 1:  # with two classes, only the second's
        scores = np.stack([-scores, scores], 1)
    mean_scores = scores.reshape(len(test), WINDOWS, -1).mean(1)
    predicted = machine.classes_[mean_scores.argmax(1)]
    return float((predicted == sounds.labels[held].numpy()).mean())


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean over folds and its standard error."""
    x = np.array(values)
    return float(x.mean()), float(x.std(ddof=1) / len(x) ** 0.5)
