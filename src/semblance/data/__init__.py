"""Data: whatever pictures or clips a person names, as samples to train on and, with labels, to evaluate on."""

from collections.abc import Callable
from pathlib import Path

from semblance.data.clips.clips import Clips
from semblance.data.pictures.images import Images
from semblance.data.samples import Source
from semblance.data.sources.files import Files, is_picture
from semblance.errors import UserError, unknown
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
) -> Source[Images]:
    """Pictures named by `data`: a path, or one of the names in sources/named.py's NAMES. A path that exists wins.

    Paths: a folder of images, flat or nested; a tar of one, compressed or not; a .npy or .npz of uint8 pictures.
    `semblance.data.splits` says how they are split and labelled; labels serve evaluation only.

    image_size: side in pixels of the views to be cut, which bounds the canvas of larger pictures.
    data_root: where torchvision's data sets lie, or are put with `download`.
    seed: draws the pictures of `shapes`; nothing else depends on it.
    workers: decoding threads, one for each processor by default.
    memory_fraction: of the memory now available (8 GiB at most), the share that pictures may take; larger sets stay on
        disk and are decoded on demand.
    Raises UserError where there is nothing to read.
    """
    from semblance.data.sources import arrays, files, named, tars
    from semblance.runtime.memory import Limits

    limits = Limits.of_machine(memory_fraction, workers)
    path = Path(data).expanduser()
    if (found := find_files(path, is_picture, memory_fraction)) is not None:
        return files.load_files(found, image_size, limits)
    if path.exists():
        if path.suffix.lower() == ".npy":
            return arrays.load_npy(path, image_size, limits)
        if path.suffix.lower() == ".npz":
            return arrays.load_npz(path, image_size, limits)
        raise UserError(f"{path} is not a folder, {', '.join(tars.SUFFIXES)}, .npy or .npz: unpack or convert it.")
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
    from semblance.data.sources import bounce, clip_arrays, clip_files, named, tars
    from semblance.runtime.memory import Limits

    limits = Limits.of_machine(memory_fraction, workers)
    path = Path(data).expanduser()
    if (found := find_files(path, clip_files.is_media, memory_fraction)) is not None:
        return clip_files.load_clip_files(found, video, sound, limits)
    if path.exists():
        if path.suffix.lower() == ".npz":
            return clip_arrays.load_clip_npz(path, video, sound)
        raise UserError(f"{path} is not a folder, {', '.join(tars.SUFFIXES)} or .npz: unpack or convert it.")
    if data == "bounce":
        files = Files(Path("bounce"), bounce.names(), bounce.read)
        return clip_files.load_clip_files(files, video, sound, limits)
    hint = f" {data} is a set of pictures, without sounds." if data.lower() in named.NAMES else ""
    raise UserError(
        f"{unknown('set of clips', data, ['bounce'])} Nor is there a file or folder {path.absolute()}.{hint}"
    )


def find_files(path: Path, wanted: Callable[[str], bool], memory_fraction: float = 0.25) -> Files | None:
    """The files in a folder or tar whose relative names are wanted; None where the path is neither."""
    from semblance.data.sources import folders, tars
    from semblance.runtime.memory import Limits

    if path.is_dir():
        return folders.find_in_folder(path, wanted)
    if path.exists() and path.name.lower().endswith(tars.SUFFIXES):
        return tars.find_in_tar(path, Limits.of_machine(memory_fraction, None), wanted)
    return None
