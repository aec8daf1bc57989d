"""A map-style Dataset of PyTorch, or what has its `__len__` and `__getitem__`, as pictures."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from semblance.data.decode_in_threads import decode_in_threads
from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import Draw, cut_array, resize
from semblance.data.pictures.decode_all import Decoded, decode_all
from semblance.data.pictures.eight_bit import EightBit
from semblance.data.pictures.grey_levels import is_deep
from semblance.data.pictures.images import Images
from semblance.data.samples import Source
from semblance.data.sources.array_labels import attributes_of
from semblance.data.sources.array_pictures import as_array
from semblance.data.sources.arrays import divided
from semblance.data.splits import LabelOptions
from semblance.errors import UserError
from semblance.runtime.memory import Limits
from semblance.shown import shown

_WANTED = "a picture is wanted, or (picture, label): of PIL with 8 bits, or uint8, or floats from 0 to 1"
_SAMPLED, _TWICE = 100, 16  # items that are read to know their sizes, and twice, to see whether they stay the same


@dataclass(frozen=True)
class _Row:
    """An item of a Dataset, and its name."""

    index: int
    name: str

    def __str__(self) -> str:
        return self.name


def load_dataset(name: str, dataset: Any, image_size: int, limits: Limits, options: LabelOptions) -> Source[Images]:
    """The pictures of a Dataset, and its labels where items are pairs; `dataset.classes` has the names of numbers.

    Rows are named by index, or by `dataset.names`; a tenth is held out by a hash of that. An item that raises counts as
    a file that cannot be read. Items are read once, one after the other, where all pictures fit in memory, else by the
    worker processes whenever they are wanted. Raises UserError for what is no such set, and for an item of another
    kind.
    """
    if isinstance(dataset, IterableDataset) or not all(hasattr(dataset, m) for m in ("__len__", "__getitem__")):
        raise UserError(
            f"{name} is no map-style Dataset, with __len__ and __getitem__: training visits samples in an order of its "
            "own. Of what can only be iterated over, list(dataset) is one, where it fits in memory; of a DataLoader, "
            "its .dataset; of a picture, [picture]."
        )
    rows, notes = _rows(dataset)
    sizes = _sizes(name, dataset, rows, labelled=not options.unlabelled)
    canvas = choose_canvas(sizes, image_size)
    labels: list[Any] = [None] * len(rows)

    def decode(row: _Row, canvas: int) -> Decoded:
        picture, label = _item(dataset, row)
        labels[row.index] = None if options.unlabelled else _label(dataset, row, label)
        return resize(picture, canvas), (picture.shape[0], picture.shape[1])

    exact = set(sizes) == {(canvas, canvas)}
    images = Images(name, canvas, rows, decode=partial(_decode, dataset), cut=partial(_cut, dataset), exact=exact)
    if len(rows) * 3 * canvas**2 <= limits.bytes:
        # In one thread, since a Dataset may read from one open file.
        pixels, read_sizes, skipped = decode_all(name, rows, decode, canvas, workers=1)
        images = replace(images, pixels=pixels, sizes=read_sizes, skipped=skipped)
        if not len(images.readable):
            raise _none_readable(name, skipped)
    elif not options.unlabelled:
        labels = _all_labels(name, dataset, rows)
    known = None if options.unlabelled else _as_array(labels)
    (attributes,), told = attributes_of([known], _classes(dataset, known))
    images.attributes.update(attributes)
    return divided(images, None, options, "by the Dataset", [*notes, *told])


def _rows(dataset: Any) -> tuple[list[_Row], list[str]]:
    """Every item with its name, and a note where its names cannot be those of its rows."""
    try:
        count = len(dataset)
    except Exception as error:  # len itself refuses what is no whole number, or is below 0
        raise UserError(
            f"{type(dataset).__name__}.__len__ does not give how many items there are: {type(error).__name__}: {error}."
        ) from error
    names, by_index = _said(dataset, "names"), [_Row(i, str(i)) for i in range(count)]
    if not count:
        raise UserError(f"{type(dataset).__name__} is empty: there is nothing to train on.")
    if names is None or callable(names):
        return by_index, []
    own = list(map(str, names)) if isinstance(names, Iterable) else []
    if len(own) != count:
        return by_index, ["Rows are named by index: .names has not one for each."]
    if len(set(own)) < count:
        twice = next(name for name, times in Counter(own).items() if times > 1)
        raise UserError(f"Two rows of {type(dataset).__name__} have the name {shown(twice)}: .names are to differ.")
    return [_Row(i, name) for i, name in enumerate(own)], []


def _sizes(name: str, dataset: Any, rows: Sequence[_Row], *, labelled: bool) -> list[tuple[int, int]]:
    """Sizes of about a hundred items spread over the set. A UserError where an item differs from one time to the
    next."""
    sizes: list[tuple[int, int]] = []
    skipped: list[tuple[str, str]] = []
    for n, row in enumerate(rows[:: -(-len(rows) // _SAMPLED)]):
        try:
            picture, label = _item(dataset, row)
            if labelled:
                _label(dataset, row, label)
            if n < _TWICE and not np.array_equal(picture, _item(dataset, row)[0]):
                raise UserError(
                    f"Item {row.index} of {name} is another picture each time it is read: leave random transforms out, "
                    "which are what views are for."
                )
            sizes.append((picture.shape[0], picture.shape[1]))
        except UserError:
            raise
        except ValueError as error:
            skipped.append((str(row), str(error)))
    if not sizes:
        raise _none_readable(name, skipped)
    return sizes


def _none_readable(name: str, skipped: Sequence[tuple[str, str]]) -> UserError:
    return UserError(f"None of {len(skipped)} items tried of {name} can be read; {': '.join(skipped[0])}.")


def _item(dataset: Any, row: _Row) -> tuple[np.ndarray, Any]:
    """A picture, uint8 (H, W) or (H, W, 1 | 3 | 4), and its label, whatever that is. ValueError where the Dataset
    raises, UserError where it gives something else."""
    try:
        found = dataset[row.index]
        picture, label = found if isinstance(found, tuple | list) and len(found) == 2 else (found, None)
        picture = picture[0] if isinstance(picture, tuple | list) and len(picture) == 1 else picture
        if isinstance(picture, Image.Image):
            picture.load()
    except Exception as error:  # whatever it stumbles over
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if (made := _pixels(picture)) is None:
        raise UserError(f"Item {row.index} of {type(dataset).__name__} is {_described(found)}: {_WANTED}.")
    return made, label


def _label(dataset: Any, row: _Row, label: Any) -> int | float | str | None:
    """A number, or text; a UserError for what is neither."""
    if isinstance(label, Tensor | np.ndarray | np.generic) and prod(label.shape) == 1:
        label = label.item()
    if not (label is None or isinstance(label, int | float | str)):
        raise UserError(
            f"The label of item {row.index} of {type(dataset).__name__} is {_described(label)}: a whole number or text "
            "is wanted; unlabelled=True leaves labels aside."
        )
    return label


def _pixels(picture: Any) -> np.ndarray | None:
    """uint8 (H, W) or (H, W, 1 | 3 | 4); None of what is no picture."""
    if isinstance(picture, Image.Image):
        return None if is_deep(picture) else np.asarray(EightBit(picture, 0).made())
    array = as_array(picture) if isinstance(picture, Tensor) else picture
    if not isinstance(array, np.ndarray) or 0 in array.shape or array.ndim not in (2, 3):
        return None
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4):
        if array.shape[0] not in (1, 3):
            return None
        array = array.transpose(1, 2, 0)
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:  # no NaN is
        return (array * 255).round().astype(np.uint8)
    return array if array.dtype == np.uint8 else None


def _described(found: Any) -> str:
    """What something is, for a message."""
    if isinstance(found, tuple | list) and len(found) < 5:
        return f"{len(found)} things ({', '.join(_described(part) for part in found)})"
    if isinstance(found, Image.Image):
        return f"a picture of mode {found.mode}"
    if isinstance(found, Tensor | np.ndarray):
        values = ""
        with suppress(RuntimeError, TypeError, ValueError):  # of an empty one, and of what has no order
            values = f", from {float(found.min()):.3g} to {float(found.max()):.3g}"
        kind = "an array"
        if isinstance(found, Tensor):
            kind = "a tensor" if found.layout == torch.strided else "a sparse tensor"
        return f"{kind} of {str(found.dtype).removeprefix('torch.')} {tuple(found.shape)}{values}"
    keys = f" with {', '.join(map(str, list(found)[:4]))}" if isinstance(found, Mapping) else ""
    return f"a {type(found).__name__}{keys}"


def _decode(dataset: Any, row: _Row, canvas: int) -> Decoded:
    picture, _ = _item(dataset, row)
    return resize(picture, canvas), (picture.shape[0], picture.shape[1])


def _cut(dataset: Any, row: _Row, draw: Draw) -> list[Tensor]:
    return cut_array(_item(dataset, row)[0], draw)


def _all_labels(name: str, dataset: Any, rows: Sequence[_Row]) -> list[Any]:
    """By `dataset.targets`, as torchvision's sets have them, else by a pass over all items, if these are labelled."""
    targets = _said(dataset, "targets")
    held = isinstance(targets, list | tuple | np.ndarray | Tensor) and len(targets) == len(rows)
    if held and getattr(dataset, "target_transform", None) is None:
        return np.asarray(targets).tolist()

    def read_label(i: int) -> int | float | str | None:
        return _label(dataset, rows[i], _item(dataset, rows[i])[1])

    read = decode_in_threads(f"the labels of {name}", len(rows), read_label, workers=1)
    return [None if isinstance(label, Exception) else label for label in read]


def _as_array(labels: Sequence[Any]) -> np.ndarray | None:
    """Labels as attributes_of takes them; None where no item has one."""
    if all(label is None for label in labels):
        return None
    if any(isinstance(label, str) for label in labels):
        return np.array(["" if label is None else str(label) for label in labels])
    return np.array([np.nan if label is None else label for label in labels])


def _classes(dataset: Any, labels: np.ndarray | None) -> list[str] | None:
    """Names of classes, where labels are indices of them."""
    names = _names_of_classes(dataset)
    if labels is None or labels.dtype.kind not in "iu" or names is None:
        return None
    return names if labels.min() >= -1 and labels.max() < len(names) else None


def _names_of_classes(dataset: Any) -> list[str] | None:
    """Its own, or those of the Dataset that it is a part of (torch.utils.data.Subset) or of those that it is made of
    (ConcatDataset)."""
    if (names := _said(dataset, "classes")) is not None:
        return list(map(str, names)) if isinstance(names, list | tuple | np.ndarray) else None
    several = _said(dataset, "datasets")
    inner = [*(several if isinstance(several, list | tuple) else []), _said(dataset, "dataset")]
    found = [_names_of_classes(part) for part in inner if isinstance(part, Dataset)]
    return found[0] if found and all(names == found[0] for names in found) else None


def _said(dataset: Any, name: str) -> Any:
    """What a Dataset says of itself by an attribute, None where it has none; a UserError where that cannot be read."""
    try:
        return getattr(dataset, name, None)
    except Exception as error:  # of a property
        raise UserError(
            f"{type(dataset).__name__}.{name} cannot be read: {type(error).__name__}: {error}. Mend it or leave it out."
        ) from error
