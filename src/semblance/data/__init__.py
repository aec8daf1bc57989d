"""Data sources: whatever pictures the user names, as canvases to train on and, with labels, to evaluate on."""

from pathlib import Path

from semblance.data.images import Images, Source
from semblance.errors import UserError, unknown

__all__ = ["Images", "Source", "load"]


def load(
    data: str,
    *,
    image_size: int,
    data_root: str | Path = "data",
    download: bool = False,
    seed: int = 0,
    workers: int | None = None,
    memory_fraction: float = 0.25,
) -> Source:
    """Pictures named by `data`: a path, or one of the names in `semblance.data.named.NAMES`. A path that exists wins.

    Paths: a folder of images, flat or nested; a tar of one, compressed or not; a .npy or .npz of uint8 pictures.
    How they are split and labelled is said in `semblance.data.splits`; labels serve evaluation only.

    image_size: side in pixels of the views to be cut, which bounds the canvas of larger pictures.
    data_root: where torchvision's data sets lie, or are put with `download`.
    seed: draws the pictures of `shapes`; nothing else depends on it.
    workers: decoding threads, one for each processor by default.
    memory_fraction: of the memory now available (8 GiB at most), what pictures may take; more stay on disk and are
        decoded on demand.
    Raises UserError where there is nothing to read.
    """
    from semblance.data import arrays, files, folders, named, tars
    from semblance.data.memory import Limits

    limits = Limits.of_machine(memory_fraction, workers)
    path = Path(data).expanduser()
    if path.is_dir():
        return files.load_files(folders.find_in_folder(path), image_size, limits)
    if path.exists():
        if path.name.lower().endswith(tars.SUFFIXES):
            return files.load_files(tars.find_in_tar(path, limits), image_size, limits)
        if path.suffix.lower() == ".npy":
            return arrays.load_npy(path, image_size, limits)
        if path.suffix.lower() == ".npz":
            return arrays.load_npz(path, image_size, limits)
        raise UserError(f"{path} is not a folder, {', '.join(tars.SUFFIXES)}, .npy or .npz: unpack or convert it.")
    if data.lower() in named.NAMES:
        return named.load_named(data.lower(), image_size, Path(data_root).expanduser(), download, seed, limits)
    raise UserError(f"{unknown('data set', data, named.NAMES)} Nor is there a file or folder {path.absolute()}.")
