"""Where decoded clips lie: in memory, or in files that are mapped into it."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semblance.data.clips.even_frames import Clip
from semblance.data.decode_in_threads import decode_in_threads
from semblance.data.samples import Skipped, reason
from semblance.data.tally import Tally
from semblance.runtime.atomic_files import folder_aside


@dataclass
class Decoded:
    """Every readable clip: its place among the items, frames, (height, width) and sound; and the unreadable files.

    told: what befell the readable ones.
    """

    kept: list[int] = field(default_factory=list)
    frames: list[Tensor] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    sounds: list[Tensor] = field(default_factory=list)
    skipped: Skipped = field(default_factory=list)
    told: Tally = field(default_factory=Tally)


def decode_clips(title: str, items: Sequence[Any], decode: Callable[[Any], Clip], workers: int) -> Decoded:
    """Decode every item in threads into memory, showing progress on a terminal."""
    found = Decoded()
    for i, clip in _decoded(title, items, decode, workers, found):
        found.kept.append(i)
        found.frames.append(clip.frames)
        found.sizes.append(clip.size)
        found.sounds.append(clip.sound)
    return found


def decode_to_disk(
    title: str, items: Sequence[Any], decode: Callable[[Any], Clip], workers: int, canvas: int, folder: Path
) -> Decoded:
    """Decode every item in threads into two files of a folder; if the folder exists, nothing is decoded.

    The folder is renamed into place once it is complete. The result is memory-mapped from the files.
    """
    if not folder.exists():
        with folder_aside(folder) as aside:
            _write(aside, _decoded(title, items, decode, workers, found := Decoded()), found)
    about = json.loads((folder / "about.json").read_text())
    found = Decoded(kept=about["kept"], sizes=[(h, w) for h, w in about["sizes"]])
    found.skipped = [(name, why) for name, why in about["skipped"]]
    found.told.kinds = about["told"]
    if found.kept:
        pixels = _mapped(folder / "frames", np.uint8).view(-1, 3, canvas, canvas)
        found.frames = list(pixels.split(about["frames"]))
        found.sounds = list(_mapped(folder / "sounds", np.int16).split(about["samples"]))
    return found


def _decoded(
    title: str, items: Sequence[Any], decode: Callable[[Any], Clip], workers: int, found: Decoded
) -> Iterator[tuple[int, Clip]]:
    """Every readable clip with its number; the others are noted in found.skipped."""
    clips = decode_in_threads(title, len(items), lambda i: decode(items[i]), workers)
    for i, clip in enumerate(clips):
        if isinstance(clip, Clip):
            for kind in clip.told:
                found.told.add(kind, str(items[i]))
            yield i, clip
        else:
            found.skipped.append((str(items[i]), reason(clip)))


def _write(folder: Path, clips: Iterator[tuple[int, Clip]], found: Decoded) -> None:
    frames, samples = [], []
    with (folder / "frames").open("wb") as pixels, (folder / "sounds").open("wb") as waves:
        for i, clip in clips:
            pixels.write(clip.frames.contiguous().numpy().tobytes())
            waves.write(clip.sound.numpy().tobytes())
            found.kept.append(i)
            found.sizes.append(clip.size)
            frames.append(len(clip.frames))
            samples.append(len(clip.sound))
    about = {"kept": found.kept, "sizes": found.sizes, "skipped": found.skipped, "frames": frames, "samples": samples}
    about["told"] = found.told.kinds
    (folder / "about.json").write_text(json.dumps(about))


def _mapped(path: Path, dtype: type) -> Tensor:
    return torch.from_numpy(np.memmap(path, dtype, mode="c"))  # copy-on-write, though nothing writes
