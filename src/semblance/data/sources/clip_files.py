"""A folder or tar of clips: videos with their sound, or pictures and videos with sound files beside them."""

import sys
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
from semblance.data.clips.bounds import LARGEST_FILE, Bound, held_in_memory
from semblance.data.clips.clip_cache import decode_clips, decode_to_disk
from semblance.data.clips.clips import Clips
from semblance.data.clips.even_frames import Clip
from semblance.data.clips.media import SOUNDS, VIDEOS, decode_clip, decode_sound, probe, reader
from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import decode, read_size
from semblance.data.pictures.formats import EXTENSIONS
from semblance.data.samples import Skipped, Source, reason
from semblance.data.sources.files import Files, read_labels
from semblance.data.sources.kinds import is_of_kind
from semblance.data.sources.label_table import read_tables
from semblance.data.splits import LabelOptions, LabelTable, Part, split
from semblance.data.understood import understood
from semblance.errors import UserError
from semblance.runtime import disk_cache
from semblance.runtime.memory import Limits
from semblance.shown import shown
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

    @property
    def files(self) -> list[Any]:
        return [item for item in (self.seen, self.heard) if item is not None]


def is_media(name: str) -> bool:
    """Whether a file of this relative name belongs to a set of clips, by extension; none that is hidden does."""
    return _is_table(name) or is_of_kind(name, VIDEOS | SOUNDS | EXTENSIONS)


def _is_table(name: str) -> bool:
    return PurePosixPath(name).name.lower() == LABELS and is_of_kind(name, (".csv",))


def load_clip_files(
    files: Files, video: ClipView, sound: SoundView, limits: Limits, options: LabelOptions
) -> Source[Clips]:
    """Every readable clip of the files, decoded now, once: into memory or, where that is too small, onto the disk.

    A sound file with the stem of a video or picture is its sound. Every labels.csv names clips in its first column, the
    sound file of each in a column `sound`, the split in a column `split`, and labels in all others (label_table.py).
    Without one, folders tell splits and classes as they do for pictures; where nothing tells a split, a tenth is held
    out by the hash of its names.
    """
    table = _read_table(files, options)
    pairs, skipped = _pairs(files.items, table)
    if not pairs:
        told = f"; {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        wanted = "videos with sound, or a sound file beside each picture"
        raise UserError(" ".join([f"No clips found in {shown(files.path)} ({wanted}){told}.", *files.left_out.lines()]))
    canvas, needed = _measure(files, pairs, video, sound)
    decode_pair = partial(_decode, files, canvas, video, sound)
    found = None
    room = min(limits.bytes, _held_at_most(files, pairs))
    if needed <= room:
        found = decode_clips(files.path.name, pairs, decode_pair, limits.workers, room)
    if found is None:
        identity = _identity(files, pairs, (canvas, video.fps, video.seconds, sound.rate, sound.seconds))
        found = decode_to_disk(files.path.name, pairs, decode_pair, limits.workers, canvas, identity, needed)
    skipped += found.skipped
    if len(found.kept) < 2:
        name, why = (skipped or [("", "too few")])[0]
        raise UserError(f"{len(found.kept)} of {len(pairs)} clips in {shown(files.path)} can be read; {name}: {why}.")
    names = [str(pairs[i]) for i in found.kept]
    parts = split(names, options, table, clips=True)
    at = {name: row for row, name in enumerate(names)}

    def clips(part: Part) -> Clips:
        rows = [at[name] for name in part.names]
        frames, sounds = [found.frames[row] for row in rows], [found.sounds[row] for row in rows]
        sizes = torch.tensor(found.sizes, dtype=torch.int32)[rows]
        name = files.path.name
        return Clips(name, canvas, part.names, frames, sounds, sizes, video, sound, part.attributes, skipped)

    source = Source(clips(parts.train), clips(parts.test) if parts.test else None, [*files.left_out.lines()])
    tables = table.notes if table else []
    source.notes += [*parts.notes, *found.told.lines(), *found.notes, *tables, *_unread_tables(files, options)]
    source.notes.append(understood(source, parts.labels_by, parts.split_by))
    return source


def _decode(files: Files, canvas: int, video: ClipView, sound: SoundView, pair: Pair) -> Clip:
    with _in_memory.taken(sum(_size(files, item) for item in pair.files)):
        if pair.heard is None:
            clip = decode_clip(files.read(pair.seen), canvas, video.fps, sound.rate)
        else:
            told: list[str] = []
            wave = decode_sound(files.read(pair.heard), sound.rate, told)
            if _suffix(pair.seen) in EXTENSIONS:
                frame, size = decode(files.read(pair.seen), canvas, remark=told.append)
                return Clip(frame[None], size, wave, told)  # sounds of pictures may be short: silence follows
            seen = decode_clip(files.read(pair.seen), canvas, video.fps, sound.rate, silent=True)
            clip = replace(seen, sound=wave, told=seen.told + told).common(video.fps, sound.rate)
    seconds = min(len(clip.frames) / video.fps, len(clip.sound) / sound.rate)
    if seconds < (least := max(video.seconds, sound.seconds)) - 0.05:
        raise ValueError(f"too short: {seconds:.2f} s, of which {least:g} are needed")
    return clip


def _held_at_most(files: Files, pairs: Sequence[Pair]) -> int:
    """Bytes that the clips may take in memory, by what their files take."""
    if not files.path.exists():
        return sys.maxsize  # drawn here
    return held_in_memory(sum(_stored(files, item) for pair in pairs for item in pair.files))


def _stored(files: Files, item: Any) -> int:
    """Bytes of a file, 0 where it is drawn, or gone: reading it tells."""
    try:
        return item.size if hasattr(item, "size") else (files.path / str(item)).stat().st_size
    except OSError:
        return 0


def _size(files: Files, item: Any) -> int:
    """The same; ValueError if too many."""
    size = _stored(files, item)
    if size > LARGEST_FILE:
        raise ValueError(f"{size / (1 << 30):.1f} GiB, more than {LARGEST_FILE >> 30} GiB: cut it into clips")
    return size


def _suffix(item: Any) -> str:
    return PurePosixPath(str(item)).suffix.lower()


def _pairs(items: Sequence[Any], table: LabelTable | None) -> tuple[list[Pair], Skipped]:
    """Videos and pictures with their sound files, those of a table or of the same stem, and what misses a partner."""
    by_name = {str(item): item for item in items}
    heard = {str(item)[: -len(_suffix(item))]: item for item in items if _suffix(item) in SOUNDS}
    said = table.sounds if table else {}
    unused = {str(item) for item in items if _suffix(item) in SOUNDS} - set(said.values())
    pairs: list[Pair] = []
    missing = table.missing if table else []
    skipped: Skipped = [(name, f"{where} names {name}, which is not there") for name, where in missing]
    for name, item in by_name.items():
        if _suffix(item) not in VIDEOS | EXTENSIONS:
            continue
        partner = by_name.get(said[name]) if name in said else heard.pop(name[: -len(_suffix(item))], None)
        if partner is not None:
            unused.discard(str(partner))
        if name in said and partner is None:
            skipped.append((name, f"{LABELS} names {said[name]}, which is not there"))
        elif partner is None and _suffix(item) in EXTENSIONS:
            skipped.append((name, "a picture without a sound file beside it"))
        else:
            pairs.append(Pair(item, partner))
    return pairs, skipped + [(name, "a sound file without a picture beside it") for name in sorted(unused)]


def _read_table(files: Files, options: LabelOptions) -> LabelTable | None:
    """What --labels or every labels.csv says; None where there is neither."""
    seen = [str(item) for item in files.items if _suffix(item) in VIDEOS | EXTENSIONS]
    sounds = [str(item) for item in files.items if _suffix(item) in SOUNDS]
    if options.labels is not None:
        return read_labels(options.table, seen, sounds)
    given = {str(item): files.read(item) for item in files.items if _is_table(str(item))}
    return read_tables(given, seen, sounds) if given else None


def _unread_tables(files: Files, options: LabelOptions) -> list[str]:
    """A note on tables that --labels takes the place of."""
    unread = [str(item) for item in files.items if options.labels is not None and _is_table(str(item))]
    return [f"Not read, since --labels is given: {', '.join(map(shown, unread[:3]))}."] if unread else []


def _measure(files: Files, pairs: Sequence[Pair], video: ClipView, sound: SoundView) -> tuple[int, int]:
    """Side of the canvas and bytes that all clips will take, by the headers of some of them."""
    sizes: list[tuple[int, int]] = []
    lasting: list[tuple[int, float, float]] = []  # bytes of the file, seconds of frames and of sound that are kept
    why = ""
    for pair in pairs[:: -(-len(pairs) // _SAMPLE)]:
        try:
            taken = _size(files, pair.seen)
            if _suffix(pair.seen) in EXTENSIONS:
                size, seen = read_size(files.read(pair.seen)), 0.0
            else:
                head = probe(files.read(pair.seen))
                size, seen = head.size, head.seconds
            if pair.heard:
                _size(files, pair.heard)
            heard = len(decode_sound(files.read(pair.heard), 1000)) / 1000 if pair.heard else seen
        except (OSError, ValueError) as error:
            why = f"{pair}: {reason(error)}"
            continue
        sizes.append(size)
        both = min(seen, heard)
        lasting.append((taken, both, both if seen else heard))
    if not sizes:
        raise UserError(f"None of the files tried in {shown(files.path)} can be read as a clip; {why}.")
    canvas = choose_canvas(sizes, video.size)
    each = 0.0  # bytes; what lasts too long is refused
    for taken, seen, heard in lasting:
        if seen <= Bound(taken, 3 * canvas**2 * video.fps).seconds:
            each += max(1, round(seen * video.fps)) * 3 * canvas**2 + heard * sound.rate * 2
    return canvas, round(len(pairs) * each / len(sizes))


def _identity(files: Files, pairs: Sequence[Pair], settings: tuple) -> str:
    """A hash of the files, the settings and the code that decodes them."""

    def stamp(path: Path) -> str:
        try:
            return f"{path} {disk_cache.stamp(path.stat())}"
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
