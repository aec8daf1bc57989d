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
from semblance.data.samples import Attribute, S, Source
from semblance.data.sources.array_labels import attributes_of
from semblance.data.splits import LabelOptions, hold_out_rows
from semblance.data.understood import OF_ARRAYS, understood
from semblance.errors import UserError
from semblance.runtime.memory import Limits, too_large
from semblance.shown import shown

Part = tuple[np.ndarray, np.ndarray | None]


def load_npy(path: Path, image_size: int, limits: Limits, options: LabelOptions) -> Source[Images]:
    """uint8 pictures (N,H,W), (N,H,W,1|3|4) or (N,1|3,H,W), without labels; left on disk if too large for memory."""
    try:
        pictures = _channels_last(_map(str(path)), path)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from error
    canvas = _canvas(pictures, image_size)
    if len(pictures) * 3 * canvas**2 <= limits.bytes:
        return from_arrays(path.name, (pictures, None), None, image_size, limits, options)
    decode, cut = partial(_decode_row, str(path)), partial(_cut_mapped, str(path))
    exact = pictures.shape[1:3] == (canvas, canvas)
    images = Images(path.name, canvas, range(len(pictures)), decode=decode, cut=cut, exact=exact)
    return divided(images, None, options, "", [])


def load_npz(path: Path, image_size: int, limits: Limits, options: LabelOptions) -> Source[Images]:
    """Pictures as in a .npy under `x`, `images` or `x_train`; labels, if any, under `y`, `labels` or `y_train`.

    `x_test` and `y_test` are held out. With labels but no `x_test`, a tenth of the rows is, by a hash of their index.
    What stands for no label is told in array_labels.attributes_of.
    """
    found = read_npz(path, limits, "save the pictures as .npy, which can stay on disk")

    used = {"x_test", "y_test"} if "x_test" in found else set()

    def first(*keys: str) -> np.ndarray | None:
        key = next((key for key in keys if key in found), None)
        used.add(key or "")
        return None if key is None else found[key]

    pictures, labels = first("x", "images", "x_train"), first("y", "labels", "y_train")
    if pictures is None:
        raise UserError(f"{path} has no array named x, images or x_train; it has {', '.join(found) or 'none'}.")
    test = (found["x_test"], found.get("y_test")) if "x_test" in found else None
    source = from_arrays(path.name, (pictures, labels), test, image_size, limits, options, by="by the file")
    if unused := [key for key in found if key not in used]:
        source.notes.insert(0, f"Arrays that are not used: {', '.join(map(shown, unused))}.")
    return source


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
    options: LabelOptions,
    classes: Sequence[str] | None = None,
    by: str = "by the set",
) -> Source[Images]:
    """Pictures and labels held in memory; a tenth is held out where there are labels but no test pictures.

    Labels are as array_labels.attributes_of takes them. by: what says labels and parts.
    """
    parts = [(x, _one_each(name, x, y)) for x, y in ([train] if test is None else [train, test])]
    known, notes = attributes_of([None if options.unlabelled else labels for _, labels in parts], classes)
    images = [_images(name, x, own, image_size, limits) for (x, _), own in zip(parts, known, strict=True)]
    return divided(images[0], images[1] if test else None, options, by, notes)


def divided(
    train: S, test: S | None, options: LabelOptions, by: str, notes: list[str], *, clips: bool = False
) -> Source[S]:
    """Both parts as they are, or as a person says; what is understood is told."""
    if options.labels is not None or options.folders:
        raise UserError(
            f"{train.name} is no set of files: --labels and folders in --split cannot be of it. "
            "--split none and a share such as --split 0.2 can, where it brings no test part."
        )
    if test is not None and options.share:
        raise UserError(f"{train.name} brings a test part: leave out --split, or give --split none to leave that away.")
    labels_by = "by --unlabelled" if options.unlabelled else by if train.attributes else ""
    source, split_by = Source[S](train, test), by
    if options.share == 0:
        if test is not None:
            notes.append(f"The {len(test):,} samples of the test part are left out, by --split none.")
        source.test = None
    elif test is None and (clips or train.attributes or options.share):
        label = train.attributes.get("class")
        held, split_by = hold_out_rows(len(train), label, options.share, clips=clips), "by hash"
        if held.any():
            source = Source[S].divided(train, held)
        else:
            notes.append("Too few samples to hold some out.")
    source.notes = [*notes, understood(source, labels_by, split_by, OF_ARRAYS)]
    return source


def _one_each(name: str, pictures: np.ndarray, labels: np.ndarray | None) -> np.ndarray | None:
    """Labels (N,) of N pictures, given as (N,) or (N, 1)."""
    if labels is None or labels.shape == (len(pictures),):
        return labels
    if labels.shape != (len(pictures), 1):
        raise UserError(f"{name} has {len(pictures)} pictures but labels of shape {labels.shape}: give one each.")
    return labels[:, 0]


def _images(name: str, array: np.ndarray, attributes: dict[str, Attribute], image_size: int, limits: Limits) -> Images:
    pictures = _channels_last(array, name)
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
    cut = None if exact else partial(_cut_row, pictures)
    return Images(name, canvas, range(number), pixels, sizes, attributes, cut=cut, exact=exact)


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
