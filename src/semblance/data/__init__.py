"""Data: whatever pictures or clips a person names, as samples to train on and, with labels, to evaluate on."""

from collections.abc import Callable
from pathlib import Path

from semblance.data.clips.clips import Clips
from semblance.data.pictures.images import Images
from semblance.data.samples import Source
from semblance.data.sources.files import Files, is_picture
from semblance.errors import UserError, unknown
from semblance.runtime.memory import Limits
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView

__all__ = ["Clips", "Images", "Source", "find_files", "load", "load_clips"]


def load(
    data: str,
    *,
    image_size: int,
    data_root: str | Path = "data",
    download: bool = False,
    seed: int = 0,
    workers: int | None = None,
    memory_fraction: float = 0.25,
    grey_levels: int | None = None,
) -> Source[Images]:
    """Pictures named by `data`: a path, or one of the names in sources/named.py's NAMES. A path that exists wins.

    Paths: a folder of images, flat or nested; a tar of one, compressed or not; a .npy or .npz of pictures.
    `semblance.data.splits` says how they are split and labelled; labels serve evaluation only.

    image_size: side in pixels of the views to be cut, which bounds the canvas of larger pictures.
    data_root: where torchvision's data sets lie, or are put with `download`.
    seed: draws the pictures of `shapes`; nothing else depends on it.
    workers: decoding threads, one for each processor by default.
    memory_fraction: of the memory now available (8 GiB at most), the share that pictures may take; larger sets stay on
        disk and are decoded on demand.
    grey_levels: the value that is white in grey of more than 8 bits where files do not say it, and in arrays that are
        not uint8; found by the values themselves where None.
    Raises UserError where there is nothing to read.
    """
    from semblance.data.sources import arrays, files, named

    limits = Limits.of_machine(memory_fraction, workers)
    if (found := find_files(path := Path(data).expanduser(), is_picture, memory_fraction)) is not None:
        return files.load_files(found, image_size, limits, grey_levels)
    if (load_arrays := _of_arrays(path, {".npy": arrays.load_npy, ".npz": arrays.load_npz})) is not None:
        return load_arrays(path, image_size, limits, grey_levels)
    if data.lower() in named.NAMES:
        return named.load_named(data.lower(), image_size, Path(data_root).expanduser(), download, seed, limits)
    hint = " bounce is a set of clips, for avid and avid-cma." if data == "bounce" else ""
    raise UserError(f"{unknown('data set', data, named.NAMES)} Nor is there a file or folder {path.absolute()}.{hint}")


def load_clips(
    data: str, video: ClipView, sound: SoundView, *, workers: int | None = None, memory_fraction: float = 0.25
) -> Source[Clips]:
    """Clips named by `data`: a path, or "bounce", which is drawn here. A path that exists wins.

    Paths: a folder or tar of videos with sound, or of pictures and videos with sound files beside them
    (sources/clip_files.py); a .npz of pictures or frames and sounds (sources/clip_arrays.py).

    video, sound: the views to be cut, which say at what rates and sizes clips are kept.
    workers, memory_fraction: as for pictures; what does not fit in memory is decoded to the user's cache folder.
    Raises UserError where there is nothing to read.
    """
    from semblance.data.sources import bounce, clip_arrays, clip_files, named

    limits = Limits.of_machine(memory_fraction, workers)
    found = find_files(path := Path(data).expanduser(), clip_files.is_media, memory_fraction)
    if found is None and (load_arrays := _of_arrays(path, {".npz": clip_arrays.load_clip_npz})) is not None:
        return load_arrays(path, video, sound, limits)
    if found is None and data == "bounce":
        found = Files(Path("bounce"), bounce.names(), bounce.read)
    if found is not None:
        return clip_files.load_clip_files(found, video, sound, limits)
    hint = f" {data} is a set of pictures, without sounds." if data.lower() in named.NAMES else ""
    told = unknown("set of clips", data, ["bounce"])
    raise UserError(f"{told} Nor is there a file or folder {path.absolute()}.{hint}")


def find_files(path: Path, wanted: Callable[[str], bool], memory_fraction: float = 0.25) -> Files | None:
    """The files in a folder or tar whose relative names are wanted; None where the path is neither."""
    from semblance.data.sources import folders, tars

    if path.is_dir():
        return folders.find_in_folder(path, wanted)
    if path.exists() and path.name.lower().endswith(tars.SUFFIXES):
        return tars.find_in_tar(path, Limits.of_machine(memory_fraction, None), wanted)
    return None


def _of_arrays(path: Path, loaders: dict[str, Callable[..., Source]]) -> Callable[..., Source] | None:
    """What loads a file of arrays; None where there is no file, a UserError where it is of another kind."""
    from semblance.data.sources import tars

    if path.exists() and path.suffix.lower() not in loaders:
        kinds = f"{', '.join((*tars.SUFFIXES, *list(loaders)[:-1]))} or {list(loaders)[-1]}"
        raise UserError(f"{path} is not a folder, {kinds}: unpack or convert it.")
    return loaders[path.suffix.lower()] if path.exists() else None
