"""The cache of decoded clips: whose clips they are, what happens when it is damaged, full, old or in use."""

import fcntl
import gc
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import weakref
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from video_fixtures import RATE, film, mp4

from semblance.data import Clips, Source, load_clips
from semblance.data.clips.bounds import Head
from semblance.data.clips.clip_cache import decode_to_disk
from semblance.data.clips.even_frames import Clip
from semblance.data.sources import clip_files
from semblance.data.sources.bounce import encode
from semblance.errors import CannotWrite, UserError
from semblance.runtime import disk_cache
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View

pytest.importorskip("av", reason="PyAV is not installed")
VIDEO, SOUND = ClipView(View(16), frames=4, fps=8.0), SoundView(seconds=1.0, rate=RATE, fft=256, hop=80)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "semblance"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the clips decoded so far."""
    names, decode = [], clip_files._decode

    def noted(files, canvas, video, sound, pair):
        names.append(str(pair))
        return decode(files, canvas, video, sound, pair)

    monkeypatch.setattr(clip_files, "_decode", noted)
    return names


def load(path: Path) -> Source[Clips]:
    """From the disk: nothing fits in memory."""
    return load_clips(str(path), VIDEO, SOUND, memory_fraction=0)


def films(root: Path, seed: int, count: int = 4) -> Path:
    for i in range(count):
        mp4(root / f"{i}.mp4", seed=seed + i)
    return root


def heard(source: Source[Clips]) -> torch.Tensor:
    assert source.test is not None
    return torch.cat([part.read(range(len(part)))[2] for part in (source.train, source.test) if len(part)])


def tar_of(path: Path, seed: int) -> Path:
    """Clips whose names and sizes do not depend on the seed."""
    with tarfile.open(path, "w") as tar:
        for i in range(4):
            data = encode(*film(seed=seed + i), fps=8, rate=RATE)
            info = tarfile.TarInfo(f"{i}.mp4")
            info.size = 1 << 15
            tar.addfile(info, io.BytesIO(data.ljust(info.size, b"\0")))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


@pytest.mark.parametrize("way", ["replaced", "written over"])
def test_a_tar_in_the_place_of_another_gets_its_own_clips(way: str, tmp_path: Path, decoded: list[str]) -> None:
    """Names, sizes and dates are those of the other."""
    path = tar_of(tmp_path / "films.tar", seed=0)
    first = heard(load(path))
    other = tar_of(tmp_path / "other.tar", seed=50)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (other.stat().st_size, other.stat().st_mtime_ns)
    assert torch.equal(heard(load(path)), first) and len(decoded) == 4
    if way == "replaced":
        other.replace(path)
    else:
        path.write_bytes(other.read_bytes())
        os.utime(path, (1_700_000_000, 1_700_000_000))
    second = heard(load(path))
    assert len(decoded) == 8 and not torch.equal(first, second)


def test_a_file_written_over_in_a_folder_is_another(tmp_path: Path, decoded: list[str]) -> None:
    root = films(tmp_path / "films", seed=0)
    load(root)
    before = (root / "0.mp4").stat()
    (root / "0.mp4").write_bytes((root / "1.mp4").read_bytes().ljust(before.st_size, b"\0"))
    os.utime(root / "0.mp4", ns=(before.st_atime_ns, before.st_mtime_ns))
    load(root)
    assert len(decoded) == 8


def test_a_copied_cache_serves_no_other_files(tmp_path: Path, decoded: list[str], cache: Path) -> None:
    """Somebody's cache beside other files of the same names and dates, as on another machine."""
    root = films(tmp_path / "films", seed=0)
    load(root)
    shutil.copytree(cache, tmp_path / "copy" / "semblance")
    shutil.copytree(root, tmp_path / "aside")
    shutil.rmtree(root)
    shutil.copytree(tmp_path / "aside", root)  # keeps dates
    load(root)
    assert len(decoded) == 8


def test_other_code_decodes_anew(tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = films(tmp_path / "films", seed=0)
    load(root)
    code = tmp_path / "data"
    for part in ("clips", "pictures"):
        shutil.copytree(clip_files._CODE / part, code / part)
    monkeypatch.setattr(clip_files, "_CODE", code)
    load(root)
    assert len(decoded) == 4
    with (code / "clips" / "even_frames.py").open("a") as file:
        file.write("# changed\n")
    load(root)
    assert len(decoded) == 8


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Change a byte in place; size and date stay."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    """By another of the same size and date."""
    flip(Path(shutil.copy2(path, path.with_name("other"))))
    path.with_name("other").replace(path)


def edit(**changes: object):
    def change(path: Path) -> None:
        about = json.loads(path.read_text())
        about["found"] |= changes
        path.write_text(json.dumps(about))

    return change


def cell(row: int, column: int, value: int):
    def change(path: Path) -> None:
        about = json.loads(path.read_text())
        about["found"]["clips"][row][column] = value
        path.write_text(json.dumps(about))

    return change


DAMAGES = {
    "frames cut": ("frames", truncate), "sounds cut": ("sounds", truncate), "no frames": ("frames", Path.unlink),
    "about cut": ("about.json", truncate), "about empty": ("about.json", lambda p: p.write_text("")),
    "about gone": ("about.json", Path.unlink), "about a list": ("about.json", lambda p: p.write_text("[]")),
    "nested": ("about.json", lambda p: p.write_text("[" * 100_000)),
    "no clips": ("about.json", edit(clips=[])), "strings": ("about.json", edit(clips=[["x"] * 7])),
    "negative": ("about.json", cell(0, 3, -1)), "beyond": ("about.json", cell(1, 5, 10**6)),
    "too large": ("about.json", cell(2, 3, 10**30)), "twice": ("about.json", cell(1, 0, 0)),
    "null": ("about.json", edit(skipped=None)), "digit": ("about.json", flip), "size": ("about.json", cell(0, 1, 33)),
    "frames changed": ("frames", flip), "sounds changed": ("sounds", flip), "frames replaced": ("frames", replaced),
    "sounds replaced": ("sounds", replaced),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_anew_with_a_line(damage: str, tmp_path: Path, decoded: list[str], cache: Path) -> None:
    root = films(tmp_path / "films", seed=0, count=3)
    before = load(root)
    sounds = heard(before).clone()
    del before
    gc.collect()
    (folder,) = cache.iterdir()
    name, spoil = DAMAGES[damage]
    spoil(folder / name)
    source = load(root)
    assert torch.equal(heard(source), sounds) and len(decoded) == 6
    assert f"{folder} was damaged or changed, and is made anew." in source.notes
    assert [p for p in cache.iterdir()] == [folder]
    load(root)
    assert len(decoded) == 6


def test_where_it_lies_and_how_large_it_is_is_told(tmp_path: Path, cache: Path) -> None:
    notes = load(films(tmp_path / "films", seed=0)).notes
    (folder,) = cache.iterdir()
    assert any(str(folder) in note and "GiB" in note for note in notes)


Disk = namedtuple("Disk", "total used free")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[dict[str, int]]:
    """A disk of disk["bytes"], on which nothing but the cache lies."""
    about = {"bytes": 1 << 40}

    def usage(path: Path) -> Disk:
        used = sum(disk_cache.size(folder) for folder in cache.iterdir())
        return Disk(about["bytes"], used, about["bytes"] - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    yield about


def test_what_was_used_longest_ago_goes_first_and_nothing_in_use(
    tmp_path: Path, disk: dict[str, int], cache: Path
) -> None:
    sources, folders = [], []
    for i in range(4):
        sources.append(load(films(tmp_path / str(i), seed=10 * i)))
        (folder,) = {*cache.iterdir()} - {*folders}
        folders.append(folder)
        os.utime(folder, (1000 + i, 1000 + i))
    each = disk_cache.size(folders[0])
    kept = sources[0].train.read([0])[2]
    del sources[1:]
    gc.collect()
    load(tmp_path / "1")  # used again
    disk["bytes"] = round(2 * 3.5 * each)
    notes = load(films(tmp_path / "new", seed=99)).notes
    assert [f.exists() for f in folders] == [True, True, False, False]
    assert any("removed" in note and note.endswith(": 2.") for note in notes)
    assert torch.equal(sources[0].train.read([0])[2], kept)


def test_a_disk_without_room_is_told_before_decoding(tmp_path: Path, disk: dict[str, int], decoded: list[str]) -> None:
    disk["bytes"] = 4096
    with pytest.raises(CannotWrite, match=r"GiB are needed.*XDG_CACHE_HOME=FOLDER"):
        load(films(tmp_path / "films", seed=0))
    assert not decoded


def test_a_disk_that_fills_up_is_told_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    root = films(tmp_path / "films", seed=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))  # no file may be larger
    try:
        with pytest.raises(CannotWrite, match=r"Cannot write .*semblance.*XDG_CACHE_HOME=FOLDER"):
            load(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [*cache.iterdir()]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"Not a directory.*XDG_CACHE_HOME=FOLDER"):
        load(films(tmp_path / "films", seed=0))


def test_what_the_dead_left_is_cleared_before_room_is_looked_for(
    tmp_path: Path, cache: Path, disk: dict[str, int]
) -> None:
    left = cache / ".semblance-0123456789abcdef.tmp"
    left.mkdir(parents=True)
    (left / "frames").write_bytes(bytes(1 << 20))
    disk["bytes"] = 5 << 18
    load(films(tmp_path / "films", seed=0))
    assert not left.exists()


def test_no_more_clips_are_held_than_are_being_decoded() -> None:
    """On the way to the disk; the disk is slower here than the decoder."""
    held, most = weakref.WeakSet(), 0

    class Counted(Clip):
        __hash__ = object.__hash__

    def decode(item: int) -> Clip:
        nonlocal most
        clip = Counted(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), (8, 8), torch.full((100,), item, dtype=torch.int16))
        held.add(clip)
        most = max(most, len(held))
        return clip

    found = decode_to_disk("clips", range(100), decode, 4, 8, "0123", 1000)
    assert [int(sound[0]) for sound in found.sounds] == list(range(100)) == found.kept
    assert most <= 8


def test_headers_that_say_too_little_fill_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes more memory than was foreseen goes to the disk."""
    root = films(tmp_path / "films", seed=0)
    monkeypatch.setattr(clip_files, "probe", lambda data: Head((32, 32), 0.1, "mpeg4", 12))
    for most, place in ((1 << 20, "memory"), (100_000, "disk")):
        monkeypatch.setattr("semblance.runtime.memory._available", lambda most=most: 4 * most)
        source = load_clips(str(root), VIDEO, SOUND)
        assert any("Decoded clips lie in" in note for note in source.notes) == (place == "disk")
        assert len(source.train) + len(source.test) == 4


def test_a_cache_that_may_only_be_read_serves(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    root = films(tmp_path / "films", seed=0)
    load(root)
    (folder,) = cache.iterdir()
    before = folder.stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "utime", lambda path: (_ for _ in ()).throw(PermissionError(1, "not yours")))
        load(root)
    assert len(decoded) == 4 and folder.stat().st_mtime_ns == before


def test_without_a_home_there_is_a_place_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    assert disk_cache.home().name == "semblance"


def test_a_folder_that_is_being_removed_is_not_used(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    """Its lock is held by another process, which has not removed it yet."""
    root = films(tmp_path / "films", seed=0)
    load(root)
    gc.collect()
    (folder,) = cache.iterdir()
    with (folder / "frames").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        load(root)
    assert len(decoded) == 8


def test_processes_that_are_killed_leave_nothing_behind(tmp_path: Path, cache: Path) -> None:
    """A process that is killed while it decodes: neither its lock nor its files keep the next from the cache."""
    root = films(tmp_path / "films", seed=0)
    killed = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from semblance.data.sources import clip_files
import test_clip_cache
decode = clip_files._decode
def dies(files, canvas, video, sound, pair):
    if str(pair) == "3.mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(files, canvas, video, sound, pair)
clip_files._decode = dies
from pathlib import Path
test_clip_cache.load(Path({str(root)!r}))
"""
    done = subprocess.run([sys.executable, "-c", killed], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    (left,) = cache.iterdir()
    assert left.name.startswith(".semblance-")
    load(root)
    assert [path.name[:6] for path in cache.iterdir()] == ["clips-"]
