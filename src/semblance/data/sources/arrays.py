"""Pictures in NumPy arrays: .npy, .npz, and what libraries hand over as arrays."""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch import Tensor

from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import Draw, cut_array, resize
from semblance.data.pictures.decode_all import Decoded, decode_all
from semblance.data.pictures.images import Images
from semblance.data.samples import Source, labelled
from semblance.data.splits import is_held_out
from semblance.errors import UserError
from semblance.runtime.memory import Limits, too_large

Part = tuple[np.ndarray, np.ndarray | None]


def load_npy(path: Path, image_size: int, limits: Limits) -> Source[Images]:
    """uint8 pictures (N,H,W), (N,H,W,1|3|4) or (N,1|3,H,W), without labels; left on disk if too large for memory."""
    try:
        pictures = _channels_last(_map(str(path)), path)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from error
    canvas = _canvas(pictures, image_size)
    if len(pictures) * 3 * canvas**2 <= limits.bytes:
        return from_arrays(path.name, (pictures, None), None, image_size, limits)
    decode, cut = partial(_decode_row, str(path)), partial(_cut_mapped, str(path))
    exact = pictures.shape[1:3] == (canvas, canvas)
    return Source(Images(path.name, canvas, range(len(pictures)), decode=decode, cut=cut, exact=exact))


def load_npz(path: Path, image_size: int, limits: Limits) -> Source[Images]:
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
    return from_arrays(path.name, (pictures, first("y", "labels", "y_train")), test, image_size, limits)


def read_npz(path: Path, limits: Limits, remedy: str) -> dict[str, np.ndarray]:
    """The arrays of a .npz by name; a UserError where they are damaged or, unpacked, too large for memory."""
    try:
        with ZipFile(path) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > limits.bytes:
            raise too_large(path, size, limits, remedy)
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (BadZipFile, OSError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from error


def from_arrays(
    name: str,
    train: Part,
    test: Part | None,
    image_size: int,
    limits: Limits,
    classes: Sequence[str] | None = None,
) -> Source[Images]:
    """Pictures and labels held in memory; a tenth is held out where there are labels but no test pictures.

    Labels are indices into `classes` or, without it, any values: their sorted distinct ones are then the classes.
    """
    parts = [(x, _one_each(name, x, y)) for x, y in ([train] if test is None else [train, test])]
    notes = []
    if classes is None:
        given = [labels for _, labels in parts if labels is not None]
        values = np.unique(np.concatenate(given)) if given else np.empty(0)
        classes = [str(value) for value in values]
        if len(given) == 2 and not np.isin(given[0], given[1]).any():
            parts, notes = [(x, None) for x, _ in parts], ["The training and the test part share no label."]
        parts = [(x, None if labels is None else np.searchsorted(values, labels)) for x, labels in parts]
    whole, *rest = (_images(name, part, classes, image_size, limits) for part in parts)
    if rest:
        if whole.attributes.keys() != rest[0].attributes.keys():
            notes = ["Only one of the training and the test part has labels."]
        return Source(whole, rest[0], notes)
    held = torch.tensor([is_held_out(str(i)) for i in whole.items])
    if not whole.attributes or not held.any() or held.all():
        return Source(whole)
    return Source.divided(whole, held)


def _one_each(name: str, pictures: np.ndarray, labels: np.ndarray | None) -> np.ndarray | None:
    """Labels (N,) of N pictures, given as (N,) or (N, 1)."""
    if labels is None or labels.shape == (len(pictures),):
        return labels
    if labels.shape != (len(pictures), 1):
        raise UserError(f"{name} has {len(pictures)} pictures but labels of shape {labels.shape}: give one each.")
    return labels[:, 0]


def _images(name: str, part: Part, classes: Sequence[str], image_size: int, limits: Limits) -> Images:
    pictures, labels = _channels_last(part[0], name), part[1]
    canvas = _canvas(pictures, image_size)
    if (needed := len(pictures) * 3 * canvas**2) > limits.bytes:
        raise too_large(name, needed, limits, "give fewer pictures")
    number, height, width, channels = pictures.shape
    exact = (height, width) == (canvas, canvas)
    if exact and channels != 4:
        planes = np.broadcast_to(pictures.transpose(0, 3, 1, 2), (number, 3, height, width))
        pixels = torch.from_numpy(np.array(planes, order="C"))
    else:
        pixels = decode_all(name, range(number), partial(_row, pictures), canvas, limits.workers)[0]
    sizes = torch.tensor([[height, width]], dtype=torch.int32).repeat(number, 1)
    known = labelled(None if labels is None else torch.as_tensor(labels, dtype=torch.int64), classes)
    cut = None if exact else partial(_cut_row, pictures)
    return Images(name, canvas, range(number), pixels, sizes, known, cut=cut, exact=exact)


def _channels_last(array: np.ndarray, source: Path | str) -> np.ndarray:
    """View of the pictures as (N, H, W, C), C one of 1, 3, 4."""
    if array.dtype != np.uint8:
        raise UserError(f"{source} holds {array.dtype} values; give uint8, 0 to 255, e.g. (x * 255).astype('uint8').")
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        raise UserError(f"{source} has shape {array.shape}, one picture; give many, (N, H, W, {array.shape[-1]}).")
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[-1] not in (1, 3, 4) and array.shape[1] in (1, 3):
        array = np.moveaxis(array, 1, -1)
    if array.ndim != 4 or array.shape[-1] not in (1, 3, 4) or not array.size:
        raise UserError(
            f"{source} has shape {array.shape}; give pictures as (N, H, W), (N, H, W, 1 | 3 | 4) or (N, 1 | 3, H, W)."
        )
    return array


def _canvas(pictures: np.ndarray, image_size: int) -> int:
    height, width = pictures.shape[1:3]
    return width if height == width else choose_canvas([(height, width)], image_size)


def _row(pictures: np.ndarray, i: int, canvas: int) -> Decoded:
    height, width = pictures.shape[1:3]
    return resize(np.asarray(pictures[i]), canvas), (height, width)


def _decode_row(path: str, i: int, canvas: int) -> Decoded:
    return _row(_channels_last(_map(path), path), i, canvas)


def _cut_row(pictures: np.ndarray, i: int, draw: Draw) -> list[Tensor]:
    return cut_array(np.asarray(pictures[i]), draw)


def _cut_mapped(path: str, i: int, draw: Draw) -> list[Tensor]:
    return _cut_row(_channels_last(_map(path), path), i, draw)


@lru_cache(maxsize=4)
def _map(path: str) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    return UserError(f"{path} cannot be read as plain NumPy arrays: {error}.")
