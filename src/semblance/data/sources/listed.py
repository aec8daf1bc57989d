"""Pictures that a person names one by one."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.formats import EXTENSIONS, HEAD, is_picture
from semblance.data.pictures.grey_levels import common_scale
from semblance.data.pictures.images import Images
from semblance.data.samples import Source
from semblance.data.sources.files import SCALED, Files, See, look_over, sample_sizes, see_item
from semblance.data.sources.kinds import read_whole


def load_listed(
    paths: Sequence[str], image_size: int, see: See, canvas: int | None = None, grey_levels: int | None = None
) -> Source[Images]:
    """Files in the order in which they are named, one as often as it is, all to be seen on demand, without labels.

    The rest is as for files.load_files.
    """
    files = Files(Path(f"the list of {len(paths):,}" if len(paths) > 1 else paths[0]), list(paths), read_file)
    canvas = canvas or choose_canvas(sample_sizes(files, files.items), image_size)
    notes = []
    if grey_levels is None:
        extents = look_over(files, files.items, {path: path for path in paths}).extents
        if (grey_levels := common_scale(extents)) is not None:
            notes.append(SCALED.format(f"{grey_levels:,}", f"{len(extents):,} files"))
    decode = partial(see_item, files.read, see, grey_levels)
    return Source(Images(files.path.name, canvas, files.items, decode=decode, grey_levels=grey_levels), notes=notes)


def is_one_picture(path: str) -> bool:
    """Whether a path is of a file of one picture, by its extension or its first bytes."""
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        return False
    if Path(path).suffix.lower() in EXTENSIONS:
        return True
    with open(path, "rb") as file:
        return is_picture(file.read(HEAD))


def read_file(path: str | Path) -> bytes:
    """The bytes of a file; a ValueError where it is too large, or nearly all of it is missing."""
    with open(os.path.expanduser(path), "rb") as file:
        return read_whole(file, str(path))
