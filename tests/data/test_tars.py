"""Tars of every make: sparse files, links, names that stand twice or lead out, joined, cut and damaged ones."""

import io
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import suppress
from gzip import compress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semblance.data import Source, find_files, load
from semblance.data.sources.files import Files, is_picture
from semblance.errors import UserError

Pack = Callable[[Callable[[tarfile.TarFile], None]], Path]


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture(params=["w", "w:gz"], ids=["plain", "compressed"])
def pack(request: pytest.FixtureRequest, tmp_path: Path) -> Pack:
    def make(fill: Callable[[tarfile.TarFile], None]) -> Path:
        path = tmp_path / f"set.tar{'.gz' * (request.param == 'w:gz')}"
        with tarfile.open(path, request.param) as tar:
            fill(tar)
        return path

    return make


def contents(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """Of the pictures that are found, by name, and what is told."""
    files = find_files(path, is_picture)
    assert files is not None
    return {str(item): files.read(item) for item in files.items}, list(files.left_out.lines())


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize(
    "how", ["--format=gnu", *(f"--format=posix --sparse-version={v}" for v in ("0.0", "0.1", "1.0"))]
)
def test_sparse_files_are_read_whole(tmp_path: Path, how: str, zipped: bool) -> None:
    """More stretches than the first header holds, and holes at both ends."""
    if not shutil.which("tar"):
        pytest.skip("there is no tar")
    (tmp_path / "p").mkdir()
    for i, holes in enumerate((1, 3, 40)):
        with open(tmp_path / "p" / f"{i}.bmp", "wb") as file:
            for hole in range(holes):
                file.seek((hole + 1) * 65536)
                file.write(random.Random(hole).randbytes(5000))
            file.truncate((holes + 2) * 65536)
    (tmp_path / "p" / "3.bmp").write_bytes(b"not sparse")
    path = tmp_path / f"s.tar{'.gz' * zipped}"
    subprocess.run(["tar", "-C", tmp_path, *how.split(), "-Scaf", path, "p"], check=True)
    if len(path.read_bytes()) > 43 * 65536:
        pytest.skip("this disk has no holes")
    found, told = contents(path)
    assert found == {f"p/{i}.bmp": (tmp_path / "p" / f"{i}.bmp").read_bytes() for i in range(4)} and not told


def test_links_are_what_they_lead_to(pack: Pack) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "d/hard.png", kind=tarfile.LNKTYPE, link="a/later.png")
        add(tar, "a/1.png", b"one")
        add(tar, "a/blob", b"blob")  # of no kind by name or content, but a link to it has a name
        add(tar, ".store/key.jpg", b"stored")  # as git-annex has it
        add(tar, "b/hard.png", kind=tarfile.LNKTYPE, link="./a/1.png")
        add(tar, "b/soft.png", kind=tarfile.SYMTYPE, link="../a/1.png")
        add(tar, "b/chain.png", kind=tarfile.SYMTYPE, link=".//soft.png")
        add(tar, "b/of-hidden.png", kind=tarfile.SYMTYPE, link="../.store/key.jpg")
        add(tar, "b/of-blob.png", kind=tarfile.SYMTYPE, link="../a/blob")
        add(tar, "b/rooted.png", kind=tarfile.SYMTYPE, link="/a/1.png")
        add(tar, "c", kind=tarfile.SYMTYPE, link="a")
        add(tar, "b/through.png", kind=tarfile.SYMTYPE, link="../c/../c/1.png")
        add(tar, "b/circle1.png", kind=tarfile.SYMTYPE, link="circle2.png")
        add(tar, "b/circle2.png", kind=tarfile.SYMTYPE, link="circle1.png")
        add(tar, "b/out.png", kind=tarfile.SYMTYPE, link="../../a/1.png")
        add(tar, "b/gone.png", kind=tarfile.SYMTYPE, link="nowhere.png")
        add(tar, "b/pipe.png", kind=tarfile.FIFOTYPE)

    found, told = contents(pack(fill))
    assert found == {
        "a/1.png": b"one", "b/hard.png": b"one", "b/soft.png": b"one", "b/chain.png": b"one", "b/through.png": b"one",
        "b/rooted.png": b"one", "b/of-hidden.png": b"stored", "b/of-blob.png": b"blob",
    }  # fmt: skip
    assert set(told) == {
        "Left out as pipes, sockets or devices: 1 file, as b/pipe.png.",
        "Left out as links that lead nowhere: 5 files, as b/circle1.png, b/circle2.png, b/gone.png.",
        "Left out as links to folders that are met elsewhere or hold the set: 1 folder, as c/.",
        "Left out as hidden, or made by a system: 1 file, as .store/key.jpg.",
        "Left out as files of unknown kinds: 1 file, as a/blob.",
        "Taken more than once, since they are links to one file: 5 files, as b/chain.png, b/hard.png, b/rooted.png.",
    }


def test_what_was_written_last_under_a_name_is_taken(pack: Pack) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "1.png", b"old")
        add(tar, "hard.png", kind=tarfile.LNKTYPE, link="1.png")
        add(tar, "./1.png", b"new")

    found, told = contents(pack(fill))
    assert found == {"1.png": b"new", "hard.png": b"old"}
    assert told == ["Taken as written last, since the archive has the name more than once: 1 file, as 1.png."]


def test_names_that_lead_out_or_begin_with_a_slash(pack: Pack) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        for name in ("../up.png", "a/../../up.png", "/home/of/me.png", "a/../in.png", "../notes.txt"):
            add(tar, name, b"data")

    found, told = contents(pack(fill))
    assert set(found) == {"home/of/me.png", "in.png"}
    assert told == [
        "Left out since their names lead out of the archive (..): 3 files, as ../up.png, a/../../up.png, ../notes.txt.",
        "Taken as names within the archive, though they begin with a slash: 1 file, as home/of/me.png.",
    ]


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "compressed"])
def test_joined_archives_are_read_to_the_end(tmp_path: Path, zipped: bool) -> None:
    """Also as joined files that are compressed each, as parallel compressors write them."""
    whole = b""
    for i in range(3):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            add(tar, f"{i}.png", bytes([i]))
        whole += compress(file.getvalue()) if zipped else file.getvalue()
    path = tmp_path / f"set.tar{'.gz' * zipped}"
    path.write_bytes(whole)
    assert contents(path) == ({f"{i}.png": bytes([i]) for i in range(3)}, [])


@pytest.fixture
def three(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(3):
            add(tar, f"{i}.png", png(i))
    return tmp_path / "set.tar"


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "compressed"])
def test_cut_and_damaged_archives_are_errors_that_say_how_far_they_go(three: Path, zipped: bool) -> None:
    data = three.read_bytes()
    with tarfile.open(three) as tar:
        second, third = (info.offset for info in tar.getmembers()[1:])
    damaged = bytearray(data)
    damaged[second : second + 20] = b"\xff" * 20
    for spoilt, after in ((data[: third + 700], 3), (data[: third + 100], 2), (bytes(damaged), 1)):
        three.write_bytes(compress(spoilt) if zipped else spoilt)
        with pytest.raises(
            UserError, match=f"cannot be read as a tar archive: .*, after {after} files of it. It is cut"
        ):
            load(str(three), image_size=24)
    three.write_bytes(compress(data[:third]) if zipped else data[:third])  # between two files, which need be no damage
    assert "0.png" in (found := contents(three))[0] and len(found[0]) == 2
    assert found[1] == ["Last in an archive that has no end mark, and may be cut short: 1 file, as 1.png."]
    if zipped:
        three.write_bytes(compress(data)[:-20])
        with pytest.raises(UserError, match="cannot be read as a tar archive"):
            load(str(three), image_size=24)


def test_a_file_that_is_damaged_in_compression_is_an_error(three: Path) -> None:
    data = bytearray(compress(three.read_bytes(), 0))
    data[1500] ^= 255
    three.write_bytes(data)
    with pytest.raises(UserError, match="CRC check failed"):
        load(str(three), image_size=24)


@pytest.mark.parametrize("begins", [False, True])
def test_an_archive_of_terabytes_of_zeros_is_told(begins: bool, tmp_path: Path) -> None:
    path = tmp_path / "holes.tar"
    if begins:
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("a.txt"))
    with path.open("ab") as file:
        file.truncate(1 << 42)
    with pytest.raises(UserError, match="over 64 MiB of zeros at byte 67,"):
        find_files(path, is_picture)


def test_a_sparse_member_of_a_terabyte_is_told(tmp_path: Path) -> None:
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "1.png").write_bytes(png(1))
    (tmp_path / "holes.png").write_bytes(png(2))  # which can be read, but takes as much memory as it declares
    os.truncate(tmp_path / "holes.png", 1 << 29)
    names = ["huge.png", "1.png", "holes.png"]
    for ending in ("tar", "tar.gz"):
        subprocess.run(["tar", "-C", tmp_path, "-Scaf", tmp_path / f"s.{ending}", *names], check=True)
        source: Source = load(str(tmp_path / f"s.{ending}"), image_size=24)
        assert dict(source.skipped) == {
            "huge.png": "too large: 1,024.0 GiB, and at most 1 GiB are read",
            "holes.png": "nearly all of it is missing, as of a download that did not end: fetch it again",
        }


@pytest.mark.parametrize("written", [b"1\n", b"-1\n", b"x\n", b"9999999999999\n"])
def test_a_map_that_is_none_is_damage(tmp_path: Path, written: bytes) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        info = tarfile.TarInfo("1.png")
        info.size = 512
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
        archive.addfile(info, io.BytesIO(written.ljust(512, b"\0")))
    with pytest.raises(UserError, match="damaged header at byte|No images|None of 1 files"):
        load(str(tmp_path / "s.tar"), image_size=24)


@pytest.mark.parametrize(
    "size", [b"\x80" + b"\0" * 7 + b"\xff" * 4, b"\xff" * 12], ids=["gigabytes of name", "negative"]
)
def test_headers_of_impossible_sizes_are_damage(three: Path, size: bytes) -> None:
    data = bytearray(three.read_bytes())
    data[124:136] = size
    data[156:157] = tarfile.GNUTYPE_LONGNAME
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    three.write_bytes(data)
    with pytest.raises(UserError, match="cannot be read as a tar archive: a size that cannot be"):
        load(str(three), image_size=24)


def mutant(data: bytes, rng: random.Random) -> bytes:
    """A tar with fields of headers replaced and their checksums mended, blocks moved, cleared or cut off."""
    b = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, way = rng.randrange(len(b) // 512) * 512, rng.random()
        if way < 0.5:
            b[at + rng.randrange(512)] = rng.randrange(256)
        elif way < 0.65:
            b[at + 124 : at + 136] = rng.choice(
                (b"\x80" + b"\xff" * 11, b"\xff" * 12, b"77777777777\0", b"00000000000\0")
            )
        elif way < 0.8:
            b[at + 156] = rng.choice(b"0123456LKxgSVX\0")
        elif way < 0.9:
            other = rng.randrange(len(b) // 512) * 512
            b[at : at + 512] = b[other : other + 512]
        else:
            del b[max(at, 512) :]
        at = min(at, len(b) - 512)
        b[at + 148 : at + 156] = b" " * 8
        b[at + 148 : at + 156] = b"%06o\0 " % sum(b[at : at + 512])
    return bytes(b)


def fuzz(folder: Path, count: int) -> int:
    """How many mutants could be listed; each is, or ends in a UserError."""
    inside = folder / "p" / ("long" * 30)
    inside.mkdir(parents=True)
    with open(inside / f"{'s' * 110}.bmp", "wb") as file:
        for i in range(6):
            file.seek(i * 40_000)
            file.write(b"x" * 600)
    (folder / "p" / "é.png").write_bytes(png(1))
    os.link(folder / "p" / "é.png", folder / "p" / "hard.png")
    os.symlink("é.png", folder / "p" / "soft.png")
    seeds = []
    for how in ("gnu", "posix --sparse-version=0.1", "posix --sparse-version=1.0"):
        made = ["tar", "-C", folder, *f"--format={how} -S -b 1".split(), "-cf", folder / "m.tar", "p"]
        subprocess.run(made, check=True)
        seeds.append((folder / "m.tar").read_bytes())
    rng = random.Random(0)
    listed = 0
    for i in range(count):
        data = mutant(seeds[i % len(seeds)], rng)
        (folder / "m.tar").write_bytes(compress(data, 1) if i % 4 == 0 else data)
        try:
            files: Files | None = find_files(folder / "m.tar", is_picture, 0.05)
        except UserError:
            continue
        assert files is not None
        listed += 1
        for item in files.items:
            with suppress(OSError, ValueError):
                files.read(item)
    return listed


def test_mutants_are_listed_or_told(tmp_path: Path) -> None:
    assert 50 < fuzz(tmp_path, 300) < 290


@pytest.mark.long
def test_many_mutants_are_listed_or_told(tmp_path: Path) -> None:
    assert 0 < fuzz(tmp_path, 20_000) < 20_000


def test_an_archive_whose_download_did_not_end_is_told(tmp_path: Path) -> None:
    """As tools leave it that make the whole file first: what has not come is a hole, which reads as zeros."""
    path, other = tmp_path / "a.tar", tmp_path / "b.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(8):
            pixels = np.random.default_rng(i).integers(0, 256, (400, 400, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "x.png")
            tar.add(tmp_path / "x.png", f"{i}.png")
    data = path.read_bytes()
    with other.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.truncate(len(data))
    assert not [line for line in find_files(path, is_picture).left_out.lines() if "missing on the disk" in line]
    (told,) = [line for line in find_files(other, is_picture).left_out.lines() if "missing on the disk" in line]
    assert told.endswith("1 file, as b.tar.")


def test_zeros_that_a_copy_leaves_out_are_not_missing(tmp_path: Path) -> None:
    """Of pictures that are not packed, and of files that are not read; those that are packed have none."""
    path, told = tmp_path / "a.tar", []
    for name in ("black.bmp", "black.tif", "table.csv", "black.png"):
        with tarfile.open(path, "w") as tar:
            Image.fromarray(np.zeros((1200, 1200, 3), np.uint8)).save(tmp_path / "x.bmp")
            tar.add(tmp_path / "x.bmp", name)
            Image.effect_noise((40, 40), 9).save(tmp_path / "y.png")
            tar.add(tmp_path / "y.png", "y.png")
        data = path.read_bytes()
        with path.open("wb") as file:  # as cp --sparse=always, rsync -S and disks that compress do
            for at in range(0, len(data), 4096):
                part = data[at : at + 4096]
                file.write(part) if part.strip(b"\0") else file.seek(len(part), 1)
            file.truncate(len(data))
        assert path.read_bytes() == data and path.stat().st_blocks * 512 < len(data) // 2
        told.append(any("missing on the disk" in line for line in find_files(path, is_picture).left_out.lines()))
    assert told == [False, False, False, True]
