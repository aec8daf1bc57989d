"""A folder or tar of clips: videos with their sound, or pictures and videos with sound files beside them."""

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from semblance.data.byte_budget import AT_ONCE, ByteBudget
from semblance.data.clips.bounds import LARGEST_FILE, Bound
from semblance.data.clips.clip_cache import Decoded, decode_clips, decode_to_disk
from semblance.data.clips.clips import Clips
from semblance.data.clips.even_frames import Clip
from semblance.data.clips.media import SOUNDS, VIDEOS, decode_clip, decode_sound, probe, reader
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
_CODE = Path(__file__).parents[1]
_in_memory = ByteBudget(AT_ONCE)  # of files that are being decoded; what they decode to is bounded apart


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
    decode_pair = partial(_decode, files, canvas, video, sound)
    found = None
    if needed <= limits.bytes:
        found = decode_clips(files.path.name, pairs, decode_pair, limits.workers, limits.bytes)
    if found is None:
        identity = _identity(files, pairs, (canvas, video.fps, video.seconds, sound.rate, sound.seconds))
        found = decode_to_disk(files.path.name, pairs, decode_pair, limits.workers, canvas, identity, needed)
    skipped += found.skipped
    if len(found.kept) < 2:
        name, why = (skipped or [("", "too few")])[0]
        raise UserError(f"{len(found.kept)} of {len(pairs)} clips in {files.path} can be read; {name}: {why}.")
    source = _split(files.path.name, canvas, pairs, found, skipped, table, video, sound)
    source.notes += found.told.lines()
    return source


def _decode(files: Files, canvas: int, video: ClipView, sound: SoundView, pair: Pair) -> Clip:
    with _in_memory.taken(sum(_size(files, item) for item in (pair.seen, pair.heard) if item is not None)):
        if pair.heard is None:
            clip = decode_clip(files.read(pair.seen), canvas, video.fps, sound.rate)
        else:
            told: list[str] = []
            wave = decode_sound(files.read(pair.heard), sound.rate, told)
            if _suffix(pair.seen) in EXTENSIONS:
                frame, size = decode(files.read(pair.seen), canvas)
                return Clip(frame[None], size, wave, told)  # sounds of pictures may be short: silence follows
            seen = decode_clip(files.read(pair.seen), canvas, video.fps, sound.rate, silent=True)
            clip = replace(seen, sound=wave, told=seen.told + told).common(video.fps, sound.rate)
    seconds = min(len(clip.frames) / video.fps, len(clip.sound) / sound.rate)
    if seconds < (least := max(video.seconds, sound.seconds)) - 0.05:
        raise ValueError(f"too short: {seconds:.2f} s, of which {least:g} are needed")
    return clip


def _size(files: Files, item: Any) -> int:
    """Bytes of a file, 0 where they are held already; ValueError if too many."""
    try:
        size = item.size if hasattr(item, "size") else (files.path / str(item)).stat().st_size
    except OSError:
        size = 0  # of an archive that is held, drawn, or gone: reading it tells
    if size > LARGEST_FILE:
        raise ValueError(f"{size / (1 << 30):.1f} GiB, more than {LARGEST_FILE >> 30} GiB: cut it into clips")
    return size


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
    sizes: list[tuple[int, int]] = []
    lasting: list[tuple[int, float, float]] = []  # bytes of the file, seconds seen and heard
    why = ""
    for pair in pairs[:: -(-len(pairs) // _SAMPLE)]:
        try:
            taken = _size(files, pair.seen)
            if _suffix(pair.seen) in EXTENSIONS:
                size, shown = read_size(files.read(pair.seen)), 0.0
            else:
                size, shown = probe(files.read(pair.seen))
            if pair.heard:
                _size(files, pair.heard)
            heard = len(decode_sound(files.read(pair.heard), 1000)) / 1000 if pair.heard else shown
        except (OSError, ValueError) as error:
            why = f"{pair}: {reason(error)}"
            continue
        sizes.append(size)
        lasting.append((taken, shown, min(shown, heard) if shown else heard))
    if not sizes:
        raise UserError(f"None of the files tried in {files.path} can be read as a clip; {why}.")
    canvas = choose_canvas(sizes, video.size)
    each = 0.0  # bytes; what lasts too long is refused
    for taken, shown, heard in lasting:
        if shown <= Bound(taken, 3 * canvas**2 * video.fps).seconds:
            each += max(1, round(min(shown, heard) * video.fps)) * 3 * canvas**2 + heard * sound.rate * 2
    return canvas, round(len(pairs) * each / len(sizes))


def _identity(files: Files, pairs: Sequence[Pair], settings: tuple) -> str:
    """A hash of the files, the settings and the code that decodes them.

    Which file a path means is told by its inode and the times of its last change, that of its inode (ctime) among
    them, which nobody can set: so a file that replaces another is another, though name, size and date be equal.
    """

    def stamp(path: Path) -> str:
        try:
            status = path.stat()
            return f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        except OSError:
            return str(path)  # clips that are drawn

    digest = blake2b(repr((reader().__name__, settings, stamp(files.path))).encode(errors="surrogateescape"))
    for pair in pairs:
        for item in (pair.seen, pair.heard):
            digest.update(repr(item if not isinstance(item, str) else stamp(files.path / item)).encode())
    for code in sorted(path for part in ("clips", "pictures") for path in (_CODE / part).glob("*.py")):
        digest.update(code.read_bytes())
    for library in ("av", "torchcodec", "pillow"):
        with suppress(PackageNotFoundError):
            digest.update(f"{library} {version(library)}".encode())
    return digest.hexdigest()[:24]


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
    return divide(whole, torch.tensor([held[n] for n in names]), [*notes, *found.notes])


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
