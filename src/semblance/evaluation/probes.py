"""`semblance.knn` and `semblance.linear_probe`: what the table of a run measures, of features from anywhere."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.errors import UserError, unknown
from semblance.evaluation.knn import check_features
from semblance.evaluation.linear import LinearProbe
from semblance.evaluation.table import TEMPERATURE, Labelled


def knn(
    train: Any, train_labels: Any, test: Any, test_labels: Any, *, k: int | None = None,
    temperature: float = TEMPERATURE,
) -> float:  # fmt: skip
    """Top-1 accuracy in [0, 1] of the weighted nearest neighbours of each test row: how features do without training.

    The k training rows of largest cosine similarity s vote with weight exp(s / temperature). Computed in float32, in
    blocks, so that memory does not grow with the product of rows.

    train, test: features, arrays or tensors of real numbers (N, D) and (M, D), N and M >= 1, on one device.
    train_labels, test_labels: whole numbers from 0 on, (N,) and (M,), one class for each row; two classes or more.
    k: neighbours, at most N of them. Default: 200, or a tenth of N where that is less.
    temperature: above 0; 0.1 is the authors' for CIFAR-10, 0.07 the one for ImageNet.

    Raises UserError for features that are not finite, labels that are none, and shapes that do not fit.
    Source: Wu et al. 2018, arXiv:1805.01978; zhirongw/lemniscate.pytorch: test.py.
    """
    if k is not None:
        _check_whole("k", k)
    if not (isinstance(temperature, Real) and float(temperature) > 0):
        raise UserError(f"temperature: a number above 0 is wanted, not {temperature}.")
    return _labelled(train, train_labels, test, test_labels).knn_top1(None if k is None else int(k), temperature)


def linear_probe(
    train: Any, train_labels: Any, test: Any, test_labels: Any, *, seed: int = 0, **settings: Any
) -> LinearProbe:  # fmt: skip
    """Accuracies of softmax regression on frozen features: how much of the classes can be read off them by a line.

    Features are standardised by the training rows. A tenth of those chooses learning rate and weight decay among 15
    settings; the chosen one is trained again on all. Test rows only measure.

    train, test: features, arrays or tensors of real numbers (N, D) and (M, D), N >= 2, M >= 1, on one device.
    train_labels, test_labels: whole numbers from 0 on, (N,) and (M,), one class for each row; two classes or more.
    seed: of the tenth that is held out and of the order of batches.
    settings: epochs (10, or as many as make 300 steps), batch_size (256), lrs and weight_decays to choose among.

    Returns `top1` and `mean_per_class` in [0, 1], the `lr` and `weight_decay` chosen, and its `validation_top1`.
    Raises UserError for features that are not finite, labels that are none, shapes that do not fit, and other settings.
    Source: the probe of MAE, He et al. 2022, arXiv:2111.06377; facebookresearch/mae: main_linprobe.py
    (semblance/evaluation/linear.py has what differs).
    """
    for name, value in settings.items():
        if name in ("epochs", "batch_size"):
            _check_whole(name, value)
        elif name in ("lrs", "weight_decays"):
            settings[name] = _choices(name, value)
        else:
            raise unknown("setting", name, ("epochs", "batch_size", "lrs", "weight_decays"))
    return _labelled(train, train_labels, test, test_labels).linear(seed=seed, **settings)


def _check_whole(name: str, given: Any) -> None:
    if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
        raise UserError(f"{name}: a whole number is wanted, 1 or more, not {given}.")


def _choices(name: str, given: Any) -> list[float]:
    """Rates or decays to choose among."""
    listed = given.tolist() if isinstance(given, np.ndarray) else given
    numbers = isinstance(listed, Sequence) and all(isinstance(x, Real) and 0 <= float(x) < math.inf for x in listed)
    if not numbers or not listed:
        raise UserError(f"{name}: one finite number or more, of at least 0, is wanted in a list, not {given}.")
    return [float(x) for x in listed]


def _labelled(train: Any, train_labels: Any, test: Any, test_labels: Any) -> Labelled:
    """Both parts as the table measures them."""
    rows = [_features("train", train), _features("test", test, like=train)]
    labels = [_labels("train_labels", train_labels, rows[0]), _labels("test_labels", test_labels, rows[1])]
    classes, numbers = torch.cat(labels).unique(return_inverse=True)  # however high the numbers are
    if len(classes) < 2:
        raise UserError(f"train_labels, test_labels: two classes or more are wanted, and all are {int(classes[0])}.")
    return Labelled(rows[0], numbers[: len(rows[0])], rows[1], numbers[len(rows[0]) :], len(classes))


def _features(name: str, given: Any, like: Any = None) -> Tensor:
    """Features as a tensor without gradient; like: those whose width they must have."""
    features = _tensor(name, given)
    if features.is_complex() or features.dtype == torch.bool:
        raise UserError(f"{name}: features are real numbers, not {_kind(features)}.")
    try:
        check_features(features, None if like is None else np.shape(like)[1])
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    return features


def _labels(name: str, given: Any, features: Tensor) -> Tensor:
    """Labels as int64 (N,), one for each row of the features."""
    labels = _tensor(name, given)
    if labels.is_floating_point() or labels.is_complex():
        raise UserError(f"{name}: labels are whole numbers, not {_kind(labels)}: give labels.astype(int).")
    if labels.shape != features.shape[:1]:
        raise UserError(
            f"{name}: {len(features):,} rows of features need as many labels, ({len(features)},), not "
            f"{tuple(labels.shape)}."
        )
    labels = labels.to(features.device, torch.int64)
    if (low := int(labels.min())) < 0:
        raise UserError(f"{name}: labels count from 0, and the least here is {low}: leave rows without a label out.")
    return labels


def _tensor(name: str, given: Any) -> Tensor:
    """An array, tensor or list of numbers as a tensor without gradient."""
    if isinstance(given, Tensor):
        return given.detach()
    try:
        return torch.from_numpy(np.array(given))  # a copy, of whatever strides
    except (TypeError, ValueError) as error:
        kind = np.asarray(given, dtype=object).dtype if not isinstance(given, np.ndarray) else given.dtype
        hint = " Names become numbers by numpy.unique(names, return_inverse=True)[1]." if "labels" in name else ""
        raise UserError(f"{name}: an array or tensor of numbers is wanted, not one of {kind}.{hint}") from error


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
