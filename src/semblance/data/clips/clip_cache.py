"""Where decoded clips lie: in memory, or in files that are mapped into it."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.bounds import blocks
from semblance.data.clips.even_frames import Clip
from semblance.data.decode_in_threads import decode_in_threads
from semblance.data.samples import Skipped, reason
from semblance.data.tally import Tally
from semblance.runtime import disk_cache
from semblance.runtime.atomic_files import folder_aside
from semblance.runtime.bounded_text import read_text
from semblance.shown import shown

_FRAMES, _SOUNDS, _ABOUT = "frames", "sounds", "about.json"


@dataclass
class Decoded:
    """Every readable clip: its place among the items, frames, (height, width) and sound; and the unreadable files.

    told: what befell the readable ones. notes: what a person should know of where they lie, in sentences.
    """

    kept: list[int] = field(default_factory=list)
    frames: list[Tensor] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    sounds: list[Tensor] = field(default_factory=list)
    skipped: Skipped = field(default_factory=list)
    told: Tally = field(default_factory=Tally)
    notes: list[str] = field(default_factory=list)


def decode_clips(
    title: str, items: Sequence[Any], decode: Callable[[Any], Clip], workers: int, most: int
) -> Decoded | None:
    """Decode every item in threads into memory, showing progress on a terminal; None where they take more bytes than
    `most`, though their headers said less."""
    found, taken, lock = Decoded(), 0, Lock()

    def keep(i: int) -> Clip | None:
        nonlocal taken
        if taken > most:
            return None
        clip = decode(items[i])
        with lock:  # counted where it is decoded: what is done waits for those before it
            taken += clip.frames.nbytes + clip.sound.nbytes
        # In memory, where a large one is not yet, and without what was cut off.
        return None if taken > most else replace(clip, frames=_copied(clip.frames), sound=_copied(clip.sound))

    for i, clip in enumerate(decode_in_threads(title, len(items), keep, workers)):
        if clip is None:
            return None
        if not isinstance(clip, Clip):
            found.skipped.append((str(items[i]), reason(clip)))
            continue
        found.kept.append(i)
        found.frames.append(clip.frames)
        found.sizes.append(clip.size)
        found.sounds.append(clip.sound)
        for kind in clip.told:
            found.told.add(kind, str(items[i]))
    return found


def _copied(values: Tensor) -> Tensor:
    return torch.cat([part.clone() for part in blocks(values)]) if len(values) else values.clone()


def decode_to_disk(
    title: str, items: Sequence[Any], decode: Callable[[Any], Clip], workers: int, canvas: int, identity: str,
    needed: int,
) -> Decoded:  # fmt: skip
    """Decode every item in threads into files of the cache; if they are there whole, nothing is decoded.

    The result is memory-mapped from the files. identity: a hash of what is decoded, and how. needed: bytes that it
    takes, about. Raises CannotWrite, which says where the cache lies, where it cannot be written.
    """
    folder = disk_cache.place(identity)
    with disk_cache.telling():
        notes = []
        found = _map(folder, canvas)
        if found is None:
            if folder.exists():
                notes.append(f"{shown(folder)} was damaged or changed, and is made anew.")
                disk_cache.discard(folder)
            if removed := disk_cache.make_room(needed, _FRAMES):
                notes.append(
                    f"Clips decoded for earlier runs were removed from {shown(folder.parent)} for room: {removed}."
                )
            with folder_aside(folder) as aside:
                _write(aside, title, items, decode, workers)
            found = _map(folder, canvas)
            if found is None:
                raise OSError(f"{shown(folder)} was damaged or removed as soon as it was made")
        found.notes = [*notes, disk_cache.told(folder)]
    return found


def _write(folder: Path, title: str, items: Sequence[Any], decode: Callable[[Any], Clip], workers: int) -> None:
    """Fill a folder. The thread that decodes a clip writes it, so that few are held, in the order they are done."""
    lock = Lock()
    with ExitStack() as open_files:
        pixels, waves = (open_files.enter_context((folder / name).open("wb")) for name in (_FRAMES, _SOUNDS))

        def keep(i: int) -> tuple[list[int], list[str]]:
            clip = decode(items[i])
            with disk_cache.telling(), lock:
                begin = [pixels.tell() // clip.frames[0].nbytes, waves.tell() // 2]
                for file, values in ((pixels, clip.frames), (waves, clip.sound)):
                    for part in blocks(values):
                        file.write(part.numpy().data)
            return [i, *clip.size, begin[0], len(clip.frames), begin[1], len(clip.sound)], clip.told

        rows, skipped, told = [], [], Tally()
        for i, kept in enumerate(decode_in_threads(title, len(items), keep, workers)):
            if isinstance(kept, Exception):
                skipped.append((str(items[i]), reason(kept)))
                continue
            rows.append(kept[0])
            for kind in kept[1]:
                told.add(kind, str(items[i]))
        for file in (pixels, waves):
            file.flush()
            os.fsync(file.fileno())
    files = {name: disk_cache.stamp((folder / name).stat()) for name in (_FRAMES, _SOUNDS)}
    found = {"clips": rows, "skipped": skipped, "told": told.kinds, "files": files}
    with (folder / _ABOUT).open("w") as about:
        json.dump({"digest": _digest(found), "found": found}, about)
        about.flush()
        os.fsync(about.fileno())


def _map(folder: Path, canvas: int) -> Decoded | None:
    """The clips of a folder; None where it is not there, or is damaged, or is about to be removed."""
    try:
        about = json.loads(read_text(folder / _ABOUT))
        if about["digest"] != _digest(about["found"]):
            return None
        about = about["found"]  # as it was written, from here on
        with (folder / _FRAMES).open("rb") as pixels, (folder / _SOUNDS).open("rb") as waves:
            files = {name: disk_cache.stamp(os.fstat(f.fileno())) for name, f in ((_FRAMES, pixels), (_SOUNDS, waves))}
            if not disk_cache.hold(pixels) or files != about["files"]:
                return None
            found = Decoded(skipped=[(name, why) for name, why in about["skipped"]])
            found.told.kinds = about["told"]
            if not about["clips"]:
                return found
            shown = _mapped(pixels, np.uint8).view(-1, 3, canvas, canvas)
            heard = _mapped(waves, np.int16)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    for i, height, width, at, count, start, length in about["clips"]:
        found.kept.append(i)
        found.sizes.append((height, width))
        found.frames.append(shown[at : at + count])
        found.sounds.append(heard[start : start + length])
    return found


def _digest(found: Any) -> str:
    return blake2b(json.dumps(found).encode(), digest_size=16).hexdigest()


def _mapped(file: Any, dtype: type) -> Tensor:
    return torch.from_numpy(np.memmap(file, dtype, mode="c"))  # copy-on-write, though nothing writes
