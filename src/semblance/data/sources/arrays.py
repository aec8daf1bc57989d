"""Pictures in NumPy arrays: .npy, .npz, and what libraries hand over as arrays."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import Draw, cut_array, resize
from semblance.data.pictures.decode_all import Decoded, decode_all
from semblance.data.pictures.images import Images
from semblance.data.samples import Skipped, Source, labelled
from semblance.data.sources.array_pictures import ArrayPictures, on_one_scale
from semblance.data.sources.npy import NpyFile
from semblance.data.splits import is_held_out
from semblance.errors import UserError
from semblance.runtime.memory import Limits, too_large
from semblance.shown import shown

Part = tuple[np.ndarray | NpyFile, np.ndarray | None]
Scaled = tuple[ArrayPictures, np.ndarray | None]


def load_npy(path: Path, image_size: int, limits: Limits, grey_levels: int | None = None) -> Source[Images]:
    """Pictures (N,H,W), (N,H,W,1|3|4) or (N,1|3,H,W), without labels; left on disk if too large for memory.

    uint8, or numbers of any kind that the scale from 0 to grey_levels holds, by default the smallest usual one.
    """
    with _unreadable_told(path):
        pictures = ArrayPictures.of(NpyFile.opened(path), path)
        canvas = _canvas(pictures, image_size)
        if len(pictures) * 3 * canvas**2 <= limits.bytes:
            return from_arrays(path.name, (pictures.array, None), None, image_size, limits, grey_levels=grey_levels)
        (pictures,), grey_levels, notes = on_one_scale([pictures], grey_levels, whole=False)
    decode, cut = partial(_decode_row, pictures), partial(_cut_row, pictures)
    exact = pictures.size == (canvas, canvas)
    items = range(len(pictures))
    images = Images(path.name, canvas, items, decode=decode, cut=cut, exact=exact, grey_levels=grey_levels)
    return Source(images, notes=notes)


def load_npz(path: Path, image_size: int, limits: Limits, grey_levels: int | None = None) -> Source[Images]:
    """Pictures as in a .npy under `x`, `images` or `x_train`; labels, if any, under `y`, `labels` or `y_train`.

    `x_test` and `y_test` are held out. With labels but no `x_test`, a tenth of the rows is, by a hash of their index.
    """
    found = read_npz(path, limits, "save the pictures as .npy, which can stay on disk")

    def first(*keys: str) -> np.ndarray | None:
        return next((found[key] for key in keys if key in found), None)

    pictures, held = first("x", "images", "x_train"), first("x_test")
    if pictures is None:
        raise UserError(f"{path} has no array named x, images or x_train; it has {', '.join(found) or 'none'}.")
    test = None if held is None else (held, first("y_test"))
    train = pictures, first("y", "labels", "y_train")
    return from_arrays(path.name, train, test, image_size, limits, grey_levels=grey_levels)


def read_npz(path: Path, limits: Limits, remedy: str) -> dict[str, np.ndarray]:
    """The arrays of a .npz by name; a UserError where they are damaged or, unpacked, too large for memory."""
    with _unreadable_told(path):
        with ZipFile(path) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > limits.bytes:
            raise too_large(path, size, limits, remedy)
        with np.load(path, allow_pickle=False) as arrays:
            return {key: found for key in arrays.files if isinstance(found := arrays[key], np.ndarray)}


def from_arrays(
    name: str,
    train: Part,
    test: Part | None,
    image_size: int,
    limits: Limits,
    classes: Sequence[str] | None = None,
    grey_levels: int | None = None,
) -> Source[Images]:
    """Pictures and labels held in memory; a tenth is held out where there are labels but no test pictures.

    Labels are indices into `classes` or, without it, any values: their sorted distinct ones are then the classes.
    """
    given_parts = [train] if test is None else [train, test]
    pictures = [ArrayPictures.of(x, name) for x, _ in given_parts]
    pictures, grey_levels, notes = on_one_scale(pictures, grey_levels, whole=True)
    parts = [(x, _one_each(name, x, y)) for x, (_, y) in zip(pictures, given_parts, strict=True)]
    if classes is None:
        given = [labels for _, labels in parts if labels is not None]
        values = np.unique(np.concatenate(given)) if given else np.empty(0)
        classes = [str(value) for value in values]
        if len(given) == 2 and not np.isin(given[0], given[1]).any():
            parts = [(x, None) for x, _ in parts]
            notes.append("The training and the test part share no label.")
        parts = [(x, None if labels is None else np.searchsorted(values, labels)) for x, labels in parts]
    whole, *rest = (_images(name, part, classes, image_size, limits, grey_levels) for part in parts)
    if rest:
        if whole.attributes.keys() != rest[0].attributes.keys():
            notes.append("Only one of the training and the test part has labels.")
        return Source(whole, rest[0], notes)
    held = torch.tensor([is_held_out(str(i)) for i in whole.items])
    if not whole.attributes or not held.any() or held.all():
        return Source(whole, notes=notes)
    return Source.divided(whole, held, notes)


def _one_each(name: str, pictures: ArrayPictures, labels: np.ndarray | None) -> np.ndarray | None:
    """Labels (N,) of N pictures, given as (N,) or (N, 1)."""
    if labels is None or labels.shape == (len(pictures),):
        return labels
    if labels.shape != (len(pictures), 1):
        raise UserError(f"{name} has {len(pictures)} pictures but labels of shape {labels.shape}: give one each.")
    return labels[:, 0]


def _images(
    name: str, part: Scaled, classes: Sequence[str], image_size: int, limits: Limits, grey_levels: int | None
) -> Images:
    pictures, labels = part
    canvas = _canvas(pictures, image_size)
    if (needed := len(pictures) * 3 * canvas**2) > limits.bytes:
        raise too_large(name, needed, limits, "give fewer pictures")
    items = range(len(pictures))
    exact = pictures.size == (canvas, canvas)
    skipped: Skipped = []
    if exact and pictures.channels != 4 and pictures.array.dtype == np.uint8:
        pixels = torch.empty(len(pictures), 3, canvas, canvas, dtype=torch.uint8)
        for rows in pictures.blocks():
            pixels[rows] = torch.from_numpy(np.ascontiguousarray(pictures[rows].transpose(0, 3, 1, 2)))
    else:
        pixels, _, skipped = decode_all(name, items, partial(_decode_row, pictures), canvas, limits.workers)
    sizes = torch.tensor([pictures.size], dtype=torch.int32).repeat(len(pictures), 1)
    known = labelled(None if labels is None else torch.as_tensor(labels, dtype=torch.int64), classes)
    return Images(
        name, canvas, items, pixels, sizes, known, cut=None if exact else partial(_cut_row, pictures), exact=exact,
        grey_levels=grey_levels, skipped=skipped,
    )  # fmt: skip


def _canvas(pictures: ArrayPictures, image_size: int) -> int:
    height, width = pictures.size
    return width if height == width else choose_canvas([(height, width)], image_size)


def _decode_row(pictures: ArrayPictures, i: int, canvas: int) -> Decoded:
    return resize(pictures[i : i + 1][0], canvas), pictures.size


def _cut_row(pictures: ArrayPictures, i: int, draw: Draw) -> list[Tensor]:
    return cut_array(pictures[i : i + 1][0], draw)


@contextmanager
def _unreadable_told(path: Path) -> Iterator[None]:
    """Within, what broken and foreign files raise (RuntimeError, zlib.error, MemoryError, ...) becomes a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = " ".join(shown(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} cannot be read as plain NumPy arrays: {told}.") from error
