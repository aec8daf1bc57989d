"""Several folders, tars and picture files as one set, as if they lay beside each other in one folder."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from semblance.data.sources.files import Files
from semblance.data.sources.listed import read_file
from semblance.data.tally import Tally
from semblance.errors import UserError
from semblance.shown import shown


@dataclass(frozen=True)
class _Item:
    """name: within the whole set. part, item: of which of the paths, and what it is there."""

    name: str
    part: int
    item: Any

    def __str__(self) -> str:
        return self.name


def join(paths: Sequence[str | Path], find: Callable[[Path], Files | None], wanted: Callable[[str], bool]) -> Files:
    """The files of all paths. A name begins with that of its path, or with as many folders above as tell all paths
    apart: photos/1.jpg and more/2.jpg, but a/photos/1.jpg and b/photos/2.jpg.

    find: the files in a folder or tar, None of what is neither. wanted: whether a file itself is of the kind.
    """
    whole = list(dict.fromkeys(Path(os.path.expanduser(path)).absolute() for path in paths))
    deepest = max(len(path.parts) for path in whole)
    depth = next(d for d in range(1, deepest + 1) if len({path.parts[-d:] for path in whole}) == len(whole))
    items: list[_Item] = []
    reads: list[Callable[[Any], bytes]] = []
    left_out, on_disk = Tally(), True
    for part, path in enumerate(whole):
        own = "/".join(path.parts[-depth:]).lstrip("/")
        if (found := find(path)) is not None:
            items += [_Item(f"{own}/{item}", part, item) for item in found.items]
            reads.append(found.read)
            on_disk &= found.on_disk
            for kind, names in found.left_out.kinds.items():
                left_out.add(kind, *(f"{own}/{name}" for name in names))
        elif path.is_file() and wanted(path.name):
            items.append(_Item(own, part, path))
            reads.append(read_file)
        else:
            why = "of no kind that is read" if path.exists() else "not there"
            raise UserError(f"{shown(path)} is {why}: of several, each is a folder, a tar or a picture file.")
    return Files(Path(f"{len(whole)} paths"), items, partial(_read, reads), on_disk, left_out)


def _read(reads: Sequence[Callable[[Any], bytes]], item: _Item) -> bytes:
    return reads[item.part](item.item)
