"""A set of image files, wherever they lie, as pictures to train on and to evaluate on."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import Draw, cut_file, decode, look_at, read_size
from semblance.data.pictures.decode_all import decode_all
from semblance.data.pictures.formats import EXTENSIONS
from semblance.data.pictures.grey_levels import common_scale
from semblance.data.pictures.images import Images
from semblance.data.samples import Skipped, Source, reason
from semblance.data.sources.kinds import is_of_kind
from semblance.data.sources.label_table import read_tables
from semblance.data.splits import LabelOptions, LabelTable, Part, split
from semblance.data.tally import Tally
from semblance.data.understood import understood
from semblance.errors import UserError
from semblance.runtime.memory import Limits, too_large
from semblance.shown import shown

SCALED = "Values of more than 8 bits are scaled from 0 to {}, by the largest of {}; --grey-levels overrules."
_SAMPLE = 100
_LOOKED_AT = 200
_LARGEST_TABLE = 1 << 28  # bytes; a million rows take some 50 MB


@dataclass
class Files:
    """Image files to be split and decoded.

    items: one per file; str(item) is its name, relative, with `/` between folders.
    read: the bytes of an item's file; can be pickled if on_disk.
    on_disk: whether files can be read again later, so that they need not fit in memory.
    left_out: the files beside them that are not taken, by why.
    """

    path: Path
    items: Sequence[Any]
    read: Callable[[Any], bytes]
    on_disk: bool = True
    left_out: Tally = field(default_factory=Tally)


def is_picture(name: str) -> bool:
    """Whether a file of this relative name is taken for a picture: by extension, unless hidden or made by a system."""
    return is_of_kind(name, EXTENSIONS)


See = Callable[[bytes, int, int | None], Tensor]  # of a file's bytes, canvas and grey levels


def load_files(
    files: Files, image_size: int, limits: Limits, options: LabelOptions, grey_levels: int | None = None,
    canvas: int | None = None, see: See | None = None,
) -> Source[Images]:  # fmt: skip
    """Split the files by name; decode them now if they fit in memory, else leave them to be decoded on demand.

    grey_levels: the value that is white in deep grey whose files do not say it; decided by the files where None.
    canvas: the side in pixels that pictures are kept at; decided by the files where None.
    see: makes what a network is shown of each file, float32 (3, H, W), on demand, in the place of canvases; not of
        files that can be read only once.
    """
    if not files.items:
        kinds = f"Pictures are files of these kinds: {' '.join(sorted(EXTENSIONS))}."
        raise UserError(" ".join([f"No images found in {shown(files.path)}.", *files.left_out.lines(), kinds]))
    by_name = {str(item): item for item in files.items}
    table = read_labels(options.table, by_name)
    parts = split(list(by_name), options, table)
    sampled = sample_sizes(files, [by_name[name] for name in parts.train.names])
    canvas = canvas or choose_canvas(sampled, image_size)
    exact = set(sampled) == {(canvas, canvas)}
    count = len(parts.train.names) + (len(parts.test.names) if parts.test else 0)
    see = see if files.on_disk else None
    fits = see is None and count * 3 * canvas**2 <= limits.bytes
    if not fits and not files.on_disk:
        raise too_large(files.path, count * 3 * canvas**2, limits, "unpack it and give the folder")
    if parts.test and not fits:  # what fits is decoded, which shows what is readable
        try:
            sample_sizes(files, [by_name[name] for name in parts.test.names])
        except UserError as error:
            parts.notes.append(f"No picture is held out. {error}")
            parts.test = None
    told, notes = Tally(), []
    if grey_levels is None or not fits:
        found = look_over(files, [item for part in (parts.train, parts.test) if part for item in part.names], by_name)
        if grey_levels is None and (grey_levels := common_scale(found.extents)) is not None:
            notes.append(SCALED.format(f"{grey_levels:,}", f"{len(found.extents):,} files"))
        told = Tally() if fits else found.told  # what is decoded now is told in full
    read_picture, cut = partial(_decode_item, files.read, grey_levels), partial(_cut_item, files.read, grey_levels)
    if see is not None:
        read_picture = partial(see_item, files.read, see, grey_levels)

    def decode_and_tell(item: Any, canvas: int) -> tuple[Tensor, tuple[int, int]]:
        remarks: list[str] = []
        picture = decode(files.read(item), canvas, grey_levels, remarks.append)
        for kind in remarks:
            told.add(kind, str(item))
        return picture

    def images(part: Part) -> Images:
        items, known = [by_name[name] for name in part.names], part.attributes
        unread = Images(files.path.name, canvas, items, attributes=known, cut=cut, exact=exact, grey_levels=grey_levels)
        if not fits:
            return replace(unread, decode=read_picture)
        pixels, sizes, skipped = decode_all(files.path.name, items, decode_and_tell, canvas, limits.workers)
        return replace(unread, pixels=pixels, sizes=sizes, skipped=skipped)

    train, test = images(parts.train), images(parts.test) if parts.test else None
    if not len(train.readable):
        raise _none_readable(files.path, train.skipped)
    if test and not len(test.readable):
        train.skipped += test.skipped
        test = None
    source = Source(train, test, [*files.left_out.lines(), *notes, *told.lines(), *parts.notes])
    source.notes += [] if table is None else table.told()
    source.notes.append(understood(source, parts.labels_by, parts.split_by))
    return source


def read_labels(path: str | None, files: Collection[str], sounds: Collection[str] | None = None) -> LabelTable | None:
    """The table of --labels, if there is one; a UserError where it cannot be read."""
    if path is None:
        return None
    try:
        with Path(os.path.expanduser(path)).open("rb") as file:
            table = file.read(_LARGEST_TABLE + 1)
    except OSError as error:
        raise UserError(f"--labels {shown(path)} cannot be read: {error.strerror}.") from error
    if len(table) > _LARGEST_TABLE:
        raise UserError(f"--labels {shown(path)} is larger than {_LARGEST_TABLE >> 20} MiB, which no table is.")
    return read_tables({Path(path).name: table}, files, sounds)


def _decode_item(
    read: Callable[[Any], bytes], grey_levels: int | None, item: Any, canvas: int
) -> tuple[Tensor, tuple[int, int]]:
    return decode(read(item), canvas, grey_levels)


def see_item(
    read: Callable[[Any], bytes], see: See, grey_levels: int | None, item: Any, canvas: int
) -> tuple[Tensor, tuple[int, int]]:
    return see(read(item), canvas, grey_levels), (0, 0)


def _cut_item(read: Callable[[Any], bytes], grey_levels: int | None, item: Any, draw: Draw) -> list[Tensor]:
    return cut_file(read(item), draw, grey_levels)


@dataclass
class _Found:
    """extents: of deep grey whose files do not say its scale. told: what befell the files looked at."""

    extents: list[tuple[float, float, bool]] = field(default_factory=list)
    told: Tally = field(default_factory=Tally)


def look_over(files: Files, names: Sequence[str], by_name: Mapping[str, Any]) -> _Found:
    """What files spread over the set show, besides their sizes."""
    found, remarks = _Found(), Tally()
    some = sorted(names)[:: -(-len(names) // _LOOKED_AT)]
    for name in some:
        with suppress(OSError, ValueError):  # told once it is decoded
            extent = look_at(files.read(by_name[name]), partial(_add, remarks, name))
            found.extents += [extent] if extent else []
    for kind, theirs in remarks.kinds.items():
        found.told.add(f"{kind}, of {len(some):,} files looked at", *theirs)
    return found


def _add(tally: Tally, name: str, kind: str) -> None:
    tally.add(kind, name)


def sample_sizes(files: Files, items: Sequence[Any]) -> list[tuple[int, int]]:
    """Sizes of about a hundred files spread over the set."""
    sizes: list[tuple[int, int]] = []
    skipped: Skipped = []
    for item in items[:: -(-len(items) // _SAMPLE)]:
        try:
            sizes.append(read_size(files.read(item)))
        except (OSError, ValueError) as error:
            skipped.append((str(item), reason(error)))
    if not sizes:
        raise _none_readable(files.path, skipped)
    return sizes


def _none_readable(path: Path, skipped: Skipped) -> UserError:
    name, why = skipped[0]
    return UserError(f"None of {len(skipped)} files tried in {path} can be read as an image; {name}: {why}.")
