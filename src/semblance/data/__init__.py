"""Data: whatever pictures or clips a person names, as samples to train on and, with labels, to evaluate on."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from semblance.data.clips.clips import Clips
from semblance.data.pictures.images import Images
from semblance.data.samples import Source
from semblance.data.sources.files import Files, See, is_picture
from semblance.data.splits import LabelOptions
from semblance.errors import UserError, unknown
from semblance.runtime import named as parts
from semblance.runtime.memory import Limits
from semblance.shown import shortened, shown
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView

__all__ = ["Clips", "Images", "Source", "find_files", "load", "load_clips", "named_data"]


def load(
    data: str | Sequence[str],
    *,
    image_size: int,
    data_root: str | Path = "data",
    download: bool = False,
    seed: int = 0,
    workers: int | None = None,
    memory_fraction: float = 0.25,
    unlabelled: bool = False,
    labels: str | None = None,
    split: str | None = None,
    grey_levels: int | None = None,
    canvas: int | None = None,
    see: See | None = None,
) -> Source[Images]:
    """Pictures named by `data`: a path, or one of the names in sources/named.py's NAMES. A path that exists wins.

    Paths: a folder of images, flat or nested; a tar of one, compressed or not; a .npy or .npz of pictures. Several: of
    folders, tars and picture files, joined (sources/joined.py). A name of a part of somebody's own: an array or tensor
    of pictures, a map-style Dataset (sources/datasets.py), paths, or a function without arguments that returns any.
    `semblance.data.splits` says how they are split and labelled, and the last of the notes what came of it; labels
    serve evaluation only.

    image_size: side in pixels of the views to be cut, which bounds the canvas of larger pictures.
    data_root: where torchvision's data sets lie, or are put with `download`.
    seed: draws the pictures of `shapes`; nothing else depends on it.
    workers: decoding threads, one for each processor by default.
    memory_fraction: of the memory now available (8 GiB at most), the share that pictures may take; larger sets stay on
        disk and are decoded on demand.
    unlabelled, labels, split: what overrules folders and files (splits.LabelOptions).
    grey_levels: the value that is white in grey of more than 8 bits where files do not say it, and in arrays that are
        not uint8; found by the values themselves where None.
    canvas, see: of files, as for files.load_files.
    Raises UserError where there is nothing to read.
    """
    from semblance.data.sources import array_pictures, arrays, datasets, files, joined, named

    options = LabelOptions(unlabelled, labels, split)
    limits = Limits.of_machine(memory_fraction, workers)
    given = named_data(data)
    if isinstance(given, Tensor):
        if (array := array_pictures.as_array(given)) is None:
            raise UserError("A sparse or quantized tensor cannot be read: give a dense one, such as tensor.to_dense().")
        given = array
    if isinstance(given, np.ndarray):
        return arrays.from_arrays("array", (given, None), None, image_size, limits, options, grey_levels=grey_levels)
    if is_paths(given):
        find = partial(find_files, wanted=is_picture, memory_fraction=memory_fraction)
        return files.load_files(joined.join(given, find, is_picture), image_size, limits, options, grey_levels)
    if not isinstance(given, str | os.PathLike):
        return datasets.load_dataset(type(given).__name__, given, image_size, limits, options)
    data = os.fspath(given)
    if (found := find_files(path := Path(os.path.expanduser(data)), is_picture, memory_fraction)) is not None:
        return files.load_files(found, image_size, limits, options, grey_levels, canvas, see)
    if (load_arrays := _of_arrays(path, {".npy": arrays.load_npy, ".npz": arrays.load_npz})) is not None:
        return load_arrays(path, image_size, limits, options, grey_levels)
    if data.lower() in named.NAMES:
        root = Path(os.path.expanduser(data_root))
        return named.load_named(data.lower(), image_size, root, download, seed, limits, options)
    hint = " bounce is a set of clips, for avid and avid-cma." if data == "bounce" else ""
    raise UserError(
        f"{unknown('data set', data, [*named.NAMES, *parts.brought(parts.DATA)])} Nor is there a file or folder "
        f"{shortened(path.absolute())}.{hint}"
    )


def named_data(data: str | Sequence[str]) -> Any:
    """What data names: itself, of paths and built-in names; else what was handed over, or is in a file or brought by
    another package, called where it is a function."""
    for path in data if is_paths(data) else [data]:
        if isinstance(path, str | os.PathLike):
            parts.refuse_a_file_alone(os.fspath(path), parts.DATA)
    if not isinstance(data, str) or os.path.exists(os.path.expanduser(data)) or not parts.is_own(data, parts.DATA):
        return data
    found = parts.load(data, parts.DATA)
    if not isinstance(found, type) and (hasattr(found, "__getitem__") or not callable(found)):
        return found
    return parts.called(found, data, parts.DATA)


def _is_built_in(name: str) -> bool:
    """Whether a name is that of a set of the house."""
    from semblance.data.sources import named

    return name == "bounce" or name.lower() in named.NAMES


parts.built_in(parts.DATA, _is_built_in)


def is_paths(given: Any) -> bool:
    """Whether something is several paths."""
    return isinstance(given, list | tuple) and bool(given) and all(isinstance(p, str | os.PathLike) for p in given)


def load_clips(
    data: str | Sequence[str], video: ClipView, sound: SoundView, *, workers: int | None = None,
    memory_fraction: float = 0.25, unlabelled: bool = False, labels: str | None = None, split: str | None = None,
) -> Source[Clips]:  # fmt: skip
    """Clips named by `data`: a path, or "bounce", which is drawn here. A path that exists wins.

    Paths: a folder or tar of videos with sound, or of pictures and videos with sound files beside them
    (sources/clip_files.py); a .npz of pictures or frames and sounds (sources/clip_arrays.py).

    video, sound: the views to be cut, which say at what rates and sizes clips are kept.
    workers, memory_fraction: as for pictures; what does not fit in memory is decoded to the user's cache folder.
    unlabelled, labels, split: as for pictures.
    Raises UserError where there is nothing to read.
    """
    from semblance.data.sources import bounce, clip_arrays, clip_files, named

    options = LabelOptions(unlabelled, labels, split)
    limits = Limits.of_machine(memory_fraction, workers)
    if not isinstance(given := named_data(data), str | os.PathLike):
        raise UserError("Clips are one folder, tar or .npz: several, arrays and Datasets are for methods on pictures.")
    data = os.fspath(given)
    found = find_files(path := Path(os.path.expanduser(data)), clip_files.is_media, memory_fraction)
    if found is None and (load_arrays := _of_arrays(path, {".npz": clip_arrays.load_clip_npz})) is not None:
        return load_arrays(path, video, sound, limits, options)
    if found is None and data == "bounce":
        found = Files(Path("bounce"), bounce.names(), bounce.read)
    if found is not None:
        return clip_files.load_clip_files(found, video, sound, limits, options)
    hint = f" {data} is a set of pictures, without sounds." if data.lower() in named.NAMES else ""
    told = unknown("set of clips", data, ["bounce"])
    raise UserError(f"{told} Nor is there a file or folder {shortened(path.absolute())}.{hint}")


def find_files(path: Path, wanted: Callable[[str], bool], memory_fraction: float = 0.25) -> Files | None:
    """The files in a folder or tar whose relative names are wanted; None where the path is neither.

    A set of pictures has those, too, that are pictures by content only. `left_out` counts all else.
    """
    from semblance.data.sources import folders, tars

    by_content = wanted is is_picture
    if os.path.isdir(path):
        return folders.find_in_folder(path, wanted, by_content)
    if os.path.isfile(path) and path.name.lower().endswith(tars.SUFFIXES):
        return tars.find_in_tar(path, Limits.of_machine(memory_fraction, None), wanted, by_content)
    return None


def _of_arrays(path: Path, loaders: dict[str, Callable[..., Source]]) -> Callable[..., Source] | None:
    """What loads a file of arrays; None where there is no file, a UserError where it is of another kind."""
    from semblance.data.sources import tars

    if not os.path.exists(path):
        return None
    if not os.path.isfile(path) or path.suffix.lower() not in loaders:
        kinds = f"{', '.join((*tars.SUFFIXES, *list(loaders)[:-1]))} or {list(loaders)[-1]}"
        raise UserError(f"{shown(path)} is not a folder, {kinds}: unpack or convert it.")
    return loaders[path.suffix.lower()]
