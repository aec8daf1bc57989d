"""All that lies in a folder is taken, or counted by kind: other kinds of files, links, twins, any depth."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semblance.data import Images, Source, find_files, load
from semblance.data.pictures.formats import EXTENSIONS
from semblance.data.sources.clip_files import is_media
from semblance.errors import UserError


def picture(seed: int = 0, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def write(path: Path, data: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture() if data is None else data)
    return path


def names(source: Source[Images]) -> list[str]:
    parts = [source.train] + ([source.test] if source.test else [])
    return sorted(str(item) for part in parts for item in part.items)


def note(source: Source[Images], begin: str) -> str:
    found = [line for line in source.notes if line.startswith(begin)]
    assert len(found) == 1, (begin, source.notes)
    return found[0]


LEFT_OUT = {  # names: what they are counted as
    ("a.cr2", "b.NEF", "c.dng"): "raw camera files (convert them to TIFF or PNG): 3 files",
    ("d.mp4", "e.WAV"): "videos or sounds (avid and avid-cma take them): 2 files",
    ("f.zip", "g.tar.gz"): "archives (unpack them): 2 files",
    ("labels.csv", "README.md", "h.json"): "texts: 3 files",
    ("i.jxl", "j.svg", "k.pdf"): "pictures or drawings of other kinds (convert them to PNG or JPEG): 3 files",
    ("l.npy",): "arrays, records or models (name a .npy or .npz itself as the data): 1 file",
    ("m.png~", "n.jpg.part"): "copies, previews or unfinished downloads: 2 files",
    ("o.xyz", "p", "q.png.enc"): "files of unknown kinds: 3 files",
    (".r.png", ".git/s.png", "__MACOSX/t.png", "@eaDir/u.png/SYNOPHOTO_THUMB.jpg", "$RECYCLE.BIN/v.png",
     "lost+found/w.png", "x/__pycache__/x.png", "System Volume Information/y.png", "x/.ipynb_checkpoints/z.png",
     "#recycle/1.png", "Thumbs.db", "x/desktop.ini", "RECYCLER/2.png", "FOUND.000/3.png", "LOST.DIR/4.png",
     "node_modules/a/5.png"): "hidden, or made by a system: 16 files",
}  # fmt: skip


@pytest.mark.parametrize("packed", ["", ".tar", ".tar.gz"])
def test_what_is_not_taken_is_counted_by_kind(tmp_path: Path, packed: str) -> None:
    root = tmp_path / "set"
    write(root / "x" / "taken.png")
    for group in LEFT_OUT:
        for name in group:
            write(root / name, picture() if name.endswith(("png", "jpg")) else b"something else than a picture")
    if packed:
        subprocess.run(["tar", "-C", root, "-caf", f"{root}{packed}", "."], check=True)
    source = load(f"{root}{packed}", image_size=24)
    assert names(source) == ["x/taken.png"]
    for group, told in LEFT_OUT.items():
        assert note(source, f"Left out as {told.split(':')[0]}").startswith(f"Left out as {told}, as "), group
    assert len(source.notes) == len(LEFT_OUT) + 1  # and how the set was understood


@pytest.mark.parametrize("packed", ["", ".tar", ".tar.gz"])
def test_pictures_are_known_by_content_whatever_their_names(tmp_path: Path, packed: str) -> None:
    root = tmp_path / "set"
    kinds = {
        "none": "PNG",
        "a.jpg_large": "JPEG",
        "b.20230101": "GIF",
        "c.img": "BMP",
        "d.picture": "WEBP",
        "e.": "TIFF",
    }
    for seed, (name, kind) in enumerate(kinds.items()):
        write(root / name, picture(seed, kind))
    for name, data in {"f": b"BMW and other cars", "g": b"P1 is where Python code says", "h": b"", "i": b"GIF"}.items():
        write(root / name, data)
    if packed:
        subprocess.run(["tar", "-C", root, "-caf", f"{root}{packed}", "."], check=True)
    source = load(f"{root}{packed}", image_size=24)
    assert names(source) == sorted(kinds) and not source.skipped
    assert note(source, "Taken for pictures by their content, not their names: 6 files")
    assert note(source, "Left out as files of unknown kinds: 4 files, as f, g, h.")


def test_a_folder_with_nothing_to_take_says_what_it_has(tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path / f"{i}.nef", b"raw")
    with pytest.raises(UserError, match=r"No images found in .*raw camera files \(convert .*5 files, as 0.nef.*\.jpg"):
        load(str(tmp_path), image_size=24)


HEIC = b"\0\0\0\x18ftypheic" + bytes(100)
WITHOUT_LIBRARY = """
import sys
sys.modules["pillow_heif"] = None
from semblance.data import load
source = load(sys.argv[1], image_size=24)
print(*(str(item) for item in source.train.items), *source.notes, *source.train.skipped, sep="\\n")
"""


def test_without_its_library_heic_is_told_with_the_remedy(tmp_path: Path) -> None:
    for name in ("1.HEIC", "2.heif"):
        write(tmp_path / name, HEIC)
    write(tmp_path / "3", b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic" + bytes(100))  # which AVIF's head may be, too
    write(tmp_path / "4.heic")  # a PNG, as phones and messengers name them
    write(tmp_path / "5.jpg", HEIC)
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    remedy = "HEIC (pip install 'semblance[heic]' to read them)"
    assert [line for line in run.stdout.splitlines() if not line.startswith("Understood")] == [
        "4.heic",
        "5.jpg",
        f"Left out as {remedy}: 3 files, as 1.HEIC, 2.heif, 3.",
        "Taken for pictures by their content, not their names: 1 file, as 4.heic.",
        f"('5.jpg', \"{remedy}\")",
    ]


@pytest.mark.parametrize(("library", "kind"), [("pillow_heif", "HEIF"), ("PIL._avif", "AVIF")])
def test_heic_and_avif_are_read_upright(tmp_path: Path, library: str, kind: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed: {kind} is left out, and told")
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = 255  # the upper left quarter is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    for name, turned in (("a", {}), ("b", {"exif": exif.tobytes()})):
        Image.fromarray(pixels).save(tmp_path / f"{name}.{kind[:4].lower()}", kind, quality=95, **turned)
    Image.fromarray(pixels).save(tmp_path / "c", kind)
    source = load(str(tmp_path), image_size=24)
    shown, sizes = source.train.read(range(3))
    assert sizes.tolist() == [[48, 64], [64, 48], [48, 64]]
    at = source.train.canvas // 4
    corners = shown[:, 0][:, [at, at, 3 * at, 3 * at], [at, 3 * at, at, 3 * at]].float()
    expected = [[255, 0, 0, 0], [0, 255, 0, 0], [255, 0, 0, 0]]
    assert np.abs(corners.numpy() - np.array(expected)).max() < 8
    assert f".{kind.lower()}" in EXTENSIONS


def test_folders_that_link_to_each_other_are_entered_once(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for i in range(8):
        write(root / f"f{i}" / "a.png", picture(i))
        for j in range(8):
            os.symlink(root / f"f{j}", root / f"f{i}" / f"to{j}")
    os.symlink("..", root / "up")
    os.symlink("/", root / "everything")
    os.symlink("loop", root / "loop")
    source = load(str(root), image_size=24)
    assert names(source) == [f"f{i}/a.png" for i in range(8)]
    assert "66 folders, as everything/, up/, f0/to0/" in note(source, "Left out as links to folders that are met")
    assert note(source, "Left out as links that lead nowhere: 1 file, as loop.")


def test_the_folder_itself_comes_before_a_link_to_it(tmp_path: Path) -> None:
    for name in ("b", "c"):
        for i in range(20):
            write(tmp_path / "set" / name / f"{i}.png", picture(i))
    write(tmp_path / "other" / "1.png")
    os.symlink("b", tmp_path / "set" / "a")
    os.symlink(tmp_path / "other", tmp_path / "set" / "d")
    os.symlink(tmp_path / "other", tmp_path / "set" / "e")
    source = load(str(tmp_path / "set"), image_size=24)
    assert source.train.attributes["class"].classes == ["b", "c", "d"]
    assert "2 folders, as a/, e/" in note(source, "Left out as links to folders that are met")


def test_links_to_one_file_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "b.png")
    os.link(tmp_path / "b.png", tmp_path / "hard.png")
    os.symlink("b.png", tmp_path / "soft.png")
    write(tmp_path / "other.png")
    source = load(str(tmp_path), image_size=24)
    assert len(names(source)) == 4
    assert note(source, "Taken more than once, since they are links to one file: 2 files, as hard.png, soft.png.")


def test_folders_of_any_depth_are_entered(tmp_path: Path) -> None:
    """Deeper than Python's recursion goes, at a path of 15,000 bytes, of which systems take 4,096."""
    own = "directory"
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir(own, dir_fd=folder)
        inner = os.open(own, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    with open(os.open("a.png", os.O_WRONLY | os.O_CREAT, dir_fd=folder), "wb") as file:
        file.write(picture())
    with open(os.open("b", os.O_WRONLY | os.O_CREAT, dir_fd=folder), "wb") as file:
        file.write(picture(1))
    os.close(folder)
    try:
        source = load(str(tmp_path), image_size=24)
        assert names(source) == [f"{own}/" * 1500 + name for name in ("a.png", "b")] and not source.skipped
    finally:
        subprocess.run(["rm", "-rf", tmp_path / own], check=True)  # shutil.rmtree gives up


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root may read all folders")
def test_folders_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "set" / "a" / "1.png")
    for name in ("closed", "lost+found"):
        write(tmp_path / "set" / name / "2.png")
        (tmp_path / "set" / name).chmod(0)
    code = "import sys; from semblance.data import load; print(*load(sys.argv[1], image_size=24).notes, sep='\\n')"
    command = [sys.executable, "-c", code, str(tmp_path / "set")]
    if os.geteuid() == 0:  # which may read all
        command = ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[:-1] == [
        "Left out as folders that cannot be read (Permission denied): 1 folder, as closed/.",
        "Left out as hidden, or made by a system: 1 folder, as lost+found/.",
    ]


def test_names_that_some_disks_hold_for_one_are_told(tmp_path: Path) -> None:
    for name in ("Cat", "cat", "caf\u00e9", "cafe\u0301", "dog"):
        for i in range(15):
            write(tmp_path / name / f"{i}.png", picture(i))
    if len(list(tmp_path.iterdir())) < 5:
        pytest.skip("this disk holds such names for one")
    for name in ("A.png", "a.png"):
        write(tmp_path / "dog" / name)
    source = load(str(tmp_path), image_size=24)
    assert len(source.train.attributes["class"].classes) == 5
    assert "4 folders, as Cat/, cafe\u0301/, caf\u00e9/." in note(source, "Kept apart as folders")
    assert "2 files, as dog/A.png, dog/a.png." in note(source, "Kept apart as files")


def test_pipes_are_counted_and_files_too_large_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(1 << 40)
    source = load(str(tmp_path), image_size=24)
    assert note(source, "Left out as pipes, sockets or devices: 1 file, as pipe.png.")
    assert source.skipped == [("sparse.png", "too large: 1,024.0 GiB, and at most 1 GiB are read")]


def test_files_of_holes_take_no_memory(tmp_path: Path) -> None:
    """They may be as large as a picture may be, and take no room on the disk: several are read at once."""
    write(tmp_path / "a.png")
    for name, filled in ("begins.png", 1 << 20), ("half.png", 20 << 20), ("small.png", 0):
        shutil.copy(tmp_path / "a.png", tmp_path / name)
        with open(tmp_path / name, "ab") as file:
            file.write(b"x" * filled)
            file.truncate((16 if name == "small.png" else 40) << 20)
    source = load(str(tmp_path), image_size=24)
    why = "nearly all of it is missing, as of a download that did not end: fetch it again"
    assert source.skipped == [("begins.png", why)]


def test_a_pipe_for_a_tar_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "set.tar")
    with pytest.raises(UserError, match="is not a folder, .tar"):
        load(str(tmp_path / "set.tar"), image_size=24)


def test_a_path_longer_than_systems_take_is_unknown() -> None:
    with pytest.raises(UserError, match="Nor is there a file or folder"):
        load("x" * 5000, image_size=24)


def test_a_set_of_clips_is_walked_alike(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.wav", "labels.csv", "c.png", "d.nef", "e.txt", "f", ".g.mp4", "h.zip"):
        write(tmp_path / name)
    files = find_files(tmp_path, is_media)
    assert files is not None and list(files.items) == ["a.mp4", "b.wav", "c.png", "labels.csv"]
    assert [line.split(":")[0] for line in files.left_out.lines()] == [
        "Left out as hidden, or made by a system",
        "Left out as raw camera files (convert them to TIFF or PNG)",
        "Left out as texts",
        "Left out as files of unknown kinds",
        "Left out as archives (unpack them)",
    ]
