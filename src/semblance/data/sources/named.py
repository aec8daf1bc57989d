"""Data sets known by name: small torchvision sets, and two that need no files."""

from pathlib import Path
from typing import Any

import numpy as np

from semblance.data.pictures.decode import resize
from semblance.data.pictures.images import Images
from semblance.data.samples import Source
from semblance.data.sources.arrays import Part, from_arrays
from semblance.data.splits import LabelOptions
from semblance.errors import UserError
from semblance.runtime.memory import Limits
from semblance.shown import shown

# torchvision's class, and the arguments that pick its training and test pictures.
_BY_TRAIN: tuple[dict[str, Any], dict[str, Any]] = ({"train": True}, {"train": False})
_BY_SPLIT: tuple[dict[str, Any], dict[str, Any]] = ({"split": "train"}, {"split": "test"})
_TORCHVISION = {
    "cifar10": ("CIFAR10", _BY_TRAIN),
    "cifar100": ("CIFAR100", _BY_TRAIN),
    "mnist": ("MNIST", _BY_TRAIN),
    "fashion-mnist": ("FashionMNIST", _BY_TRAIN),
    "kmnist": ("KMNIST", _BY_TRAIN),
    "usps": ("USPS", _BY_TRAIN),
    "svhn": ("SVHN", _BY_SPLIT),
    "stl10": ("STL10", _BY_SPLIT),  # the 5,000 labelled training pictures
}
NAMES = ("shapes", "digits", *_TORCHVISION)

_SHAPES_TRAIN, _SHAPES_TEST = 5000, 1000


def load_named(
    name: str, image_size: int, root: Path, download: bool, seed: int, limits: Limits, options: LabelOptions
) -> Source[Images]:
    """One of NAMES. Only torchvision's sets use `root` and, where files are missing there, `download`."""
    if name == "shapes":
        return _shapes(image_size, seed, limits, options)
    if name == "digits":
        return _digits(image_size, limits, options)
    set_name, (train, test) = _TORCHVISION[name]
    parts = [_torchvision(name, set_name, root, download, arguments) for arguments in (train, test)]
    (train_part, classes), (test_part, _) = parts
    return from_arrays(name, train_part, test_part, image_size, limits, options, classes)


def _torchvision(
    name: str, set_name: str, root: Path, download: bool, arguments: dict[str, Any]
) -> tuple[Part, list[str]]:
    from torchvision import datasets

    try:
        data = getattr(datasets, set_name)(str(root), download=download, **arguments)
    except (RuntimeError, OSError) as error:
        if download:
            raise UserError(f"{name} could not be downloaded to {shown(root.absolute())}: {error}") from error
        raise UserError(
            f"{name} was not found in {shown(root.absolute())}, or its files are damaged. Add --download to "
            f"fetch it, or give a folder or tar of pictures instead of the name."
        ) from error
    labels = np.asarray(data.targets if hasattr(data, "targets") else data.labels)
    classes = [str(c) for c in getattr(data, "classes", range(10))]
    return (np.asarray(data.data), labels), classes


def _shapes(size: int, seed: int, limits: Limits, options: LabelOptions) -> Source[Images]:
    from semblance.data.sources.shapes import shapes

    pictures, labels, classes = shapes(_SHAPES_TRAIN + _SHAPES_TEST, size, seed)
    x, y, n = pictures.numpy(), labels.numpy(), _SHAPES_TRAIN
    return from_arrays("shapes", (x[:n], y[:n]), (x[n:], y[n:]), size, limits, options, classes)


def _digits(image_size: int, limits: Limits, options: LabelOptions) -> Source[Images]:
    """The 1,797 handwritten digits of scikit-learn, 8x8 with 17 grey levels, enlarged to 32x32."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = (digits.images * (255 / 16)).round().astype(np.uint8)
    pictures = np.stack([resize(picture, 32).numpy() for picture in grey])
    classes = [str(i) for i in range(10)]
    return from_arrays("digits", (pictures, digits.target), None, image_size, limits, options, classes)
