"""A folder or tar of clips: videos with their sound, or pictures and videos with sound files beside them."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from semblance.data.clips.clip_cache import Decoded, decode_clips, decode_to_disk
from semblance.data.clips.clips import Clips
from semblance.data.clips.even_frames import Clip
from semblance.data.clips.media import DECODING, SOUNDS, VIDEOS, decode_clip, decode_sound, probe, reader
from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import EXTENSIONS, decode, read_size
from semblance.data.samples import Attribute, Skipped, Source, reason
from semblance.data.sources.files import Files
from semblance.data.splits import is_held_out, is_of_kind, split
from semblance.errors import UserError
from semblance.runtime.memory import Limits
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView

LABELS = "labels.csv"
_SAMPLE = 50  # files whose headers are read to choose the canvas


@dataclass(frozen=True)
class Pair:
    """A clip's files: a video or a picture, and a sound file where the sound is not the video's own."""

    seen: Any
    heard: Any = None

    def __str__(self) -> str:
        return str(self.seen)


def is_media(name: str) -> bool:
    """Whether a file of this relative name belongs to a set of clips: by extension, unless hidden or made by macOS."""
    labels = PurePosixPath(name).name == LABELS and is_of_kind(name, (".csv",))
    return labels or is_of_kind(name, VIDEOS | SOUNDS | EXTENSIONS)


def load_clip_files(files: Files, video: ClipView, sound: SoundView, limits: Limits) -> Source[Clips]:
    """Every readable clip of the files, decoded now, once: into memory or, where that is too small, onto the disk.

    A sound file with the stem of a video or picture is its sound. A labels.csv names the files of clips in its first
    column, relative to itself, the sound file of each in a column `sound`, the split in a column `split` (train, test),
    and labels in all others. Without one, folders tell splits and classes as they do for pictures; where they tell no
    split, a tenth is held out by the hash of its names.
    """
    table = _read_table(files)
    pairs, skipped = _pairs_of_table(files, table) if table else _pairs_of_names(files.items)
    if not pairs:
        told = f"; {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        wanted = "videos with sound, or a sound file beside each picture"
        raise UserError(f"No clips found in {files.path} ({wanted}){told}.")
    canvas, needed = _measure(files, pairs, video, sound)
    decode_pair = partial(_decode, files.read, canvas, video, sound)
    if needed <= limits.bytes:
        found = decode_clips(files.path.name, pairs, decode_pair, limits.workers)
    else:
        folder = _cache(
            files, pairs, (DECODING, reader().__name__, canvas, video.fps, video.seconds, sound.rate, sound.seconds)
        )
        found = decode_to_disk(files.path.name, pairs, decode_pair, limits.workers, canvas, folder)
    skipped += found.skipped
    if len(found.kept) < 2:
        name, why = (skipped or [("", "too few")])[0]
        raise UserError(f"{len(found.kept)} of {len(pairs)} clips in {files.path} can be read; {name}: {why}.")
    source = _split(files.path.name, canvas, pairs, found, skipped, table, video, sound)
    source.notes += found.told.lines()
    return source


def _decode(read: Callable[[Any], bytes], canvas: int, video: ClipView, sound: SoundView, pair: Pair) -> Clip:
    if pair.heard is None:
        clip = decode_clip(read(pair.seen), canvas, video.fps, sound.rate)
    else:
        told: list[str] = []
        wave = decode_sound(read(pair.heard), sound.rate, told)
        if _suffix(pair.seen) in EXTENSIONS:
            frame, size = decode(read(pair.seen), canvas)
            return Clip(frame[None], size, wave, told)  # sounds of pictures may be short: silence follows
        seen = decode_clip(read(pair.seen), canvas, video.fps, sound.rate, silent=True)
        clip = replace(seen, sound=wave, told=seen.told + told).common(video.fps, sound.rate)
    seconds = min(len(clip.frames) / video.fps, len(clip.sound) / sound.rate)
    if seconds < (least := max(video.seconds, sound.seconds)) - 0.05:
        raise ValueError(f"too short: {seconds:.2f} s, of which {least:g} are needed")
    return clip


def _suffix(item: Any) -> str:
    return PurePosixPath(str(item)).suffix.lower()


def _pairs_of_names(items: Sequence[Any]) -> tuple[list[Pair], Skipped]:
    """Videos and pictures with the sound file of the same stem, and the files that miss a partner."""
    heard = {str(item)[: -len(_suffix(item))]: item for item in items if _suffix(item) in SOUNDS}
    pairs: list[Pair] = []
    skipped: Skipped = []
    for item in items:
        stem = str(item)[: -len(_suffix(item))]
        if _suffix(item) in VIDEOS:
            pairs.append(Pair(item, heard.pop(stem, None)))
        elif _suffix(item) in EXTENSIONS:
            if stem in heard:
                pairs.append(Pair(item, heard.pop(stem)))
            else:
                skipped.append((str(item), "a picture without a sound file beside it"))
    return pairs, skipped + [(str(item), "a sound file without a picture beside it") for item in heard.values()]


def _read_table(files: Files) -> dict[str, dict[str, str]]:
    """Rows of labels.csv by the clip's relative name; empty where there is no such file."""
    found = [item for item in files.items if PurePosixPath(str(item)).name == LABELS]
    if not found:
        return {}
    folder = PurePosixPath(str(found[0])).parent
    try:
        rows = list(csv.DictReader(io.StringIO(files.read(found[0]).decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{found[0]} cannot be read: {error}. Save it as comma-separated UTF-8.") from error
    if not rows or not (columns := list(rows[0])):
        raise UserError(f"{found[0]} has no rows.")
    ragged = [i for i, row in enumerate(rows, 2) if None in row or None in row.values()]
    if ragged:
        raise UserError(f"{found[0]}: line {ragged[0]} has more or fewer cells than the {len(columns)} columns.")
    table = {}
    for row in rows:
        name = str(folder / row.pop(columns[0]))
        if row.get("sound"):
            row["sound"] = str(folder / row["sound"])
        table[name] = row
    return table


def _pairs_of_table(files: Files, table: dict[str, dict[str, str]]) -> tuple[list[Pair], Skipped]:
    by_name = {str(item): item for item in files.items}
    pairs: list[Pair] = []
    skipped: Skipped = []
    for name, row in sorted(table.items()):
        missing = [n for n in (name, row.get("sound")) if n and n not in by_name]
        if missing:
            skipped.append((name, f"{LABELS} names {missing[0]}, which is not there"))
        else:
            pairs.append(Pair(by_name[name], by_name[row["sound"]] if row.get("sound") else None))
    return pairs, skipped


def _measure(files: Files, pairs: Sequence[Pair], video: ClipView, sound: SoundView) -> tuple[int, int]:
    """Side of the canvas and bytes that all clips will take, by the headers of some of them."""
    sizes, frames, samples = [], [], []
    why = ""
    for pair in pairs[:: -(-len(pairs) // _SAMPLE)]:
        try:
            if _suffix(pair.seen) in EXTENSIONS:
                size, shown = read_size(files.read(pair.seen)), 0.0
            else:
                size, shown = probe(files.read(pair.seen))
            heard = len(decode_sound(files.read(pair.heard), 1000)) / 1000 if pair.heard else shown
        except (OSError, ValueError) as error:
            why = f"{pair}: {reason(error)}"
            continue
        sizes.append(size)
        frames.append(max(1, round(min(shown, heard) * video.fps)))
        samples.append((min(shown, heard) if shown else heard) * sound.rate)
    if not sizes:
        raise UserError(f"None of the files tried in {files.path} can be read as a clip; {why}.")
    canvas = choose_canvas(sizes, video.size)
    each = sum(frames) * 3 * canvas**2 + sum(samples) * 2  # bytes
    return canvas, round(len(pairs) * each / len(sizes))


def _cache(files: Files, pairs: Sequence[Pair], settings: tuple) -> Path:
    """The folder for these clips decoded this way, named by a hash of settings, names, sizes and times of change."""

    def stamp(item: Any) -> str:
        path = files.path / str(item) if files.path.is_dir() else files.path
        try:
            status = path.stat()
            return f"{item} {status.st_size} {status.st_mtime_ns}"
        except OSError:
            return str(item)

    text = "\n".join([str(settings), *(stamp(item) for pair in pairs for item in (pair.seen, pair.heard))])
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "semblance" / f"clips-{blake2b(text.encode(), digest_size=12).hexdigest()}"


def _split(
    name: str, canvas: int, pairs: Sequence[Pair], found: Decoded, skipped: Skipped,
    table: dict[str, dict[str, str]], video: ClipView, sound: SoundView,
) -> Source[Clips]:  # fmt: skip
    """Training and held-out clips with their labels."""
    names = [str(pairs[i]) for i in found.kept]
    attributes: dict[str, Attribute] = {}
    held: dict[str, bool] = {}
    notes: list[str] = []
    if table:
        first = next(iter(table.values()))
        attributes = {
            column: a
            for column in first
            if column not in ("split", "sound")
            if (a := attribute([table[n][column] for n in names])) is not None
        }
        if "split" in first:
            held = {n: not table[n]["split"].lower().startswith("train") for n in names}
    else:
        parts = split(names)
        notes = parts.notes
        labelled = [(parts.train, False), *([(parts.test, True)] if parts.test else [])]
        of = {n: (i, test) for part, test in labelled for i, n in enumerate(part.names)}
        names = [n for n in names if n in of]
        if parts.test:
            held = {n: of[n][1] for n in names}
        if parts.classes:
            labels = {n: part.labels[i] for part, _ in labelled if part.labels for i, n in enumerate(part.names)}
            attributes["class"] = Attribute(torch.tensor([labels[n] for n in names]), parts.classes)
    held = held or {n: is_held_out(n) for n in names}
    at = {str(pairs[i]): row for row, i in enumerate(found.kept)}
    rows = [at[n] for n in names]
    whole = Clips(
        name, canvas, names, [found.frames[r] for r in rows], [found.sounds[r] for r in rows],
        torch.tensor(found.sizes, dtype=torch.int32)[rows], video, sound, attributes, skipped,
    )  # fmt: skip
    return divide(whole, torch.tensor([held[n] for n in names]), notes)


def divide(whole: Clips, held: torch.Tensor, notes: Sequence[str] = ()) -> Source[Clips]:
    """Training and held-out clips; held: bool (N,)."""
    if not held.any() or held.all():
        held = torch.arange(len(whole)) % 10 == 9  # so few that the hashes split off none, or all
    return Source.divided(whole, held, notes)


def attribute(values: Sequence[str]) -> Attribute | None:
    """A column of labels; None where it does not group the clips."""
    classes = sorted(set(values))
    if not 1 < len(classes) <= len(values) // 2:
        return None
    index = {c: i for i, c in enumerate(classes)}
    return Attribute(torch.tensor([index[v] for v in values]), classes)
