"""Pictures in NumPy arrays: .npy, .npz, and what libraries hand over as arrays."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import Draw, cut_array, resize
from semblance.data.pictures.decode_all import Decoded, decode_all
from semblance.data.pictures.images import Images
from semblance.data.samples import Attribute, S, Skipped, Source
from semblance.data.sources.array_labels import attributes_of
from semblance.data.sources.array_pictures import ArrayPictures, on_one_scale
from semblance.data.sources.npy import NpyFile
from semblance.data.sources.npz import Npz, NpzArray, unreadable_told
from semblance.data.split_folders import unmatched
from semblance.data.splits import LabelOptions, hold_out_rows
from semblance.data.understood import OF_ARRAYS, understood
from semblance.errors import UserError
from semblance.runtime.memory import Limits, too_large
from semblance.shown import shown

Part = tuple[np.ndarray | NpyFile | NpzArray, np.ndarray | None]


def load_npy(
    path: Path, image_size: int, limits: Limits, options: LabelOptions, grey_levels: int | None = None
) -> Source[Images]:
    """Pictures (N,H,W), (N,H,W,1|3|4) or (N,1|3,H,W), without labels; left on disk if too large for memory.

    uint8, or numbers of any kind that the scale from 0 to grey_levels holds, by default the smallest usual one.
    """
    with unreadable_told(path):
        pictures = ArrayPictures.of(NpyFile.opened(path), path)
        canvas = _canvas(pictures, image_size)
        if len(pictures) * 3 * canvas**2 <= limits.bytes:
            train = (pictures.array, None)
            return from_arrays(path.name, train, None, image_size, limits, options, grey_levels=grey_levels)
        (pictures,), grey_levels, notes = on_one_scale([pictures], grey_levels, whole=False)
    decode, cut = partial(_decode_row, pictures), partial(_cut_row, pictures)
    exact = pictures.size == (canvas, canvas)
    items = range(len(pictures))
    images = Images(path.name, canvas, items, decode=decode, cut=cut, exact=exact, grey_levels=grey_levels)
    return divided(images, None, options, "", notes)


def load_npz(
    path: Path, image_size: int, limits: Limits, options: LabelOptions, grey_levels: int | None = None
) -> Source[Images]:
    """Pictures as in a .npy under `x`, `images` or `x_train`; labels, if any, under `y`, `labels` or `y_train`.

    `x_test` and `y_test` are held out. With labels but no `x_test`, a tenth of the rows is, by a hash of their index.
    What stands for no label is told in array_labels.attributes_of.
    """
    found = Npz(path, limits, "save the pictures as .npy, which can stay on disk")

    def first(*keys: str) -> str:
        return next((key for key in keys if key in found), "")

    pictures, labels = first("x", "images", "x_train"), first("y", "labels", "y_train")
    if not pictures:
        raise UserError(f"{shown(path)} has no array named x, images or x_train; it has {', '.join(found) or 'none'}.")
    test = (found["x_test"], _whole(found, "y_test", options)) if "x_test" in found else None
    train = (found[pictures], _whole(found, labels, options))
    source = from_arrays(path.name, train, test, image_size, limits, options, by="by the file", grey_levels=grey_levels)
    source.notes[:0] = found.unused()
    return source


def _whole(found: Npz, labels: str, options: LabelOptions) -> np.ndarray | None:
    return found[labels].whole() if labels in found and not options.unlabelled else None


def from_arrays(
    name: str,
    train: Part,
    test: Part | None,
    image_size: int,
    limits: Limits,
    options: LabelOptions,
    classes: Sequence[str] | None = None,
    by: str = "by the set",
    grey_levels: int | None = None,
) -> Source[Images]:
    """Pictures and labels held in memory; a tenth is held out where there are labels but no test pictures.

    Labels are as array_labels.attributes_of takes them. by: what says labels and parts.
    """
    given = [train] if test is None else [train, test]
    pictures = [ArrayPictures.of(x, name) for x, _ in given]
    pictures = [x if _as_they_are(x, _canvas(x, image_size)) else x.held() for x in pictures]
    labels = [None if options.unlabelled else _one_each(name, x, y) for x, (_, y) in zip(pictures, given, strict=True)]
    pictures, grey_levels, notes = on_one_scale(pictures, grey_levels, whole=True)
    known, label_notes = attributes_of(labels, classes)
    images = [_images(name, x, own, image_size, limits, grey_levels) for x, own in zip(pictures, known, strict=True)]
    return divided(images[0], images[1] if test else None, options, by, notes + label_notes)


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
        held, split_by = hold_out_rows(train.items, label, options.share, clips=clips), "by hash"
        if held.any():
            source = Source[S].divided(train, held)
            notes += _unmatched(source)
            labels_by = labels_by if source.train.attributes or options.unlabelled else ""
        else:
            notes.append("Too few samples to hold some out.")
    source.notes = [*notes, understood(source, labels_by, split_by, OF_ARRAYS)]
    return source


def _unmatched(source: Source[S]) -> list[str]:
    """Notes on classes of one part only; what the parts do not share at all is no label of theirs any more."""
    told: list[str] = []
    for name in list(source.train.attributes):
        parts = [{c for c in samples.attributes[name].names if c} for samples in (source.train, source.held_out)]
        told += unmatched(parts[0], parts[1])
        if not parts[0] & parts[1]:
            for samples in (source.train, source.held_out):
                del samples.attributes[name]
    return told


def _one_each(name: str, pictures: ArrayPictures, labels: np.ndarray | None) -> np.ndarray | None:
    """Labels (N,) of N pictures, given as (N,) or (N, 1)."""
    if labels is None or labels.shape == (len(pictures),):
        return labels
    if labels.shape != (len(pictures), 1):
        raise UserError(
            f"{shown(name)} has {len(pictures)} pictures but labels of shape {labels.shape}: give one each."
        )
    return labels[:, 0]


def _images(
    name: str, pictures: ArrayPictures, attributes: dict[str, Attribute], image_size: int, limits: Limits,
    grey_levels: int | None,
) -> Images:  # fmt: skip
    canvas = _canvas(pictures, image_size)
    if (needed := len(pictures) * 3 * canvas**2) > limits.bytes:
        raise too_large(name, needed, limits, "give fewer pictures")
    items = range(len(pictures))
    exact = pictures.size == (canvas, canvas)
    skipped: Skipped = []
    if _as_they_are(pictures, canvas):
        pixels = torch.empty(len(pictures), 3, canvas, canvas, dtype=torch.uint8)
        for rows in pictures.blocks():
            pixels[rows] = torch.from_numpy(np.ascontiguousarray(pictures[rows].transpose(0, 3, 1, 2)))
    else:
        pixels, _, skipped = decode_all(name, items, partial(_decode_row, pictures), canvas, limits.workers)
    sizes = torch.tensor([pictures.size], dtype=torch.int32).repeat(len(pictures), 1)
    return Images(
        name, canvas, items, pixels, sizes, attributes, cut=None if exact else partial(_cut_row, pictures), exact=exact,
        grey_levels=grey_levels, skipped=skipped,
    )  # fmt: skip


def _as_they_are(pictures: ArrayPictures, canvas: int) -> bool:
    """Whether they need only be copied, so that no more than a block of them is read at once."""
    return pictures.size == (canvas, canvas) and pictures.channels != 4 and pictures.array.dtype == np.uint8


def _canvas(pictures: ArrayPictures, image_size: int) -> int:
    height, width = pictures.size
    return width if height == width else choose_canvas([(height, width)], image_size)


def _decode_row(pictures: ArrayPictures, i: int, canvas: int) -> Decoded:
    return resize(pictures[i : i + 1][0], canvas), pictures.size


def _cut_row(pictures: ArrayPictures, i: int, draw: Draw) -> list[Tensor]:
    return cut_array(pictures[i : i + 1][0], draw)
