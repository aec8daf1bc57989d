"""What befalls pictures on their way is told by kind; files that change or lie about themselves end nothing."""

import io
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_decode import encode, photo

from semblance.data import byte_budget, load
from semblance.data.byte_budget import ByteBudget
from semblance.data.pictures import decode as pictures_decode
from semblance.data.pictures import eight_bit, opened
from semblance.data.pictures.decode import Cuts, cut_file, decode, read_size
from semblance.errors import UserError

CUT_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01"
PICTURE = Image.fromarray(photo())


def remarks(data: bytes) -> list[str]:
    found: list[str] = []
    decode(data, 16, remark=found.append)
    return found


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage!", b"Exif\0\0II*\0\xff\xff\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01"]
)
def test_broken_exif_costs_no_picture(kind: str, exif: bytes) -> None:
    data = encode(PICTURE, kind, exif=exif)
    assert decode(data, 16)[1] == (40, 40) and remarks(data) == [opened.AS_IT_LIES]
    assert not remarks(encode(PICTURE, kind))


@pytest.mark.parametrize("memory_fraction", [0.25, 0.0])
def test_pages_and_orientations_are_counted(tmp_path: Path, memory_fraction: float) -> None:
    for i, kind in enumerate(("TIFF", "GIF", "WEBP", "PNG")):
        data = encode(PICTURE, kind, save_all=True, append_images=[PICTURE.rotate(90)])
        (tmp_path / f"{i}.{kind.lower()}").write_bytes(data)
    (tmp_path / "5.png").write_bytes(encode(PICTURE, exif=b"Exif\0\0garbage!"))
    (tmp_path / "6.png").write_bytes(encode(PICTURE))
    notes = load(str(tmp_path), image_size=16, memory_fraction=memory_fraction).notes
    some = ", of 6 files looked at" if not memory_fraction else ""
    assert notes[:2] == [
        f"{opened.FIRST_PAGE}{some}: 4 files, as 0.tiff, 1.gif, 2.webp.",
        f"{opened.AS_IT_LIES}{some}: 1 file, as 5.png.",
    ]


@pytest.mark.parametrize("memory_fraction", [0.25, 0.0])
def test_an_npy_saved_again_under_its_name_is_another(tmp_path: Path, memory_fraction: float) -> None:
    path = tmp_path / "x.npy"

    def first() -> int:
        np.save(path, np.full((9, 8, 8), value, np.uint8))
        os.utime(path, ns=(1, 1))  # a clock too coarse to tell
        return int(load(str(path), image_size=8, memory_fraction=memory_fraction).train.read([0])[0].max())

    for value in (3, 200):
        assert first() == value


def test_an_npy_cut_short_or_changed_while_it_is_read_is_said(tmp_path: Path) -> None:
    """In a process of its own, which a mapped file would end by SIGBUS."""
    script = f"""
import numpy as np, os
from semblance.data import load
from semblance.errors import UserError
path = {str(tmp_path / "x.npy")!r}
for change in (lambda: os.truncate(path, 5000), lambda: np.save(path, np.zeros((5, 8, 8), np.uint8))):
    np.save(path, np.zeros((2000, 32, 32), np.uint8))
    source = load(path, image_size=16, memory_fraction=0)
    change()
    try:
        source.train.read([1999])
    except UserError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.count("changed since it was opened") == 2


def bad_arrays(folder: Path) -> dict[str, bytes]:
    """Files that lie."""

    def header(shape: str, descr: str = "'|u1'") -> bytes:
        text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode()

    def zipped(data: bytes, name: str = "x.npy") -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)
        return file.getvalue()

    encrypted = bytearray(zipped(header("(1, 8, 8)") + bytes(64)))
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        encrypted[encrypted.find(mark) + at] |= 1
    method = bytearray(zipped(header("(1, 8, 8)") + bytes(64)))
    for mark, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        method[method.find(mark) + at] = 97
    return {
        "claims.npy": header(f"({10**15}, 8, 8)"), "negative.npy": header("(-1, 8, 8)"), "no tuple.npy": header("8"),
        "structured.npy": header("(2,)", "[('a', '|u1', (8, 8))]") + bytes(128), "object.npy": header("(2,)", "'|O'"),
        "code.npy": header("__import__('os')"), "text.npy": b"no array", "empty.npy": b"",
        "scalar.npy": header("()") + b"1",
        "claims.npz": zipped(header(f"({10**15}, 8, 8)")), "foreign.npz": zipped(b"x", "readme.txt"),
        "encrypted.npz": bytes(encrypted), "method.npz": bytes(method), "scalar.npz": zipped(header("()") + b"1"),
        "rar.npz": b"Rar!\x1a\x07\x01\0" + bytes(50), "bomb.npz": zipped(bytes(10_000_000)), "empty.npz": b"",
    }  # fmt: skip


def test_archives_that_lie_end_in_a_line(tmp_path: Path) -> None:
    for name, data in bad_arrays(tmp_path).items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError) as told:
            load(str(tmp_path / name), image_size=8)
        assert name in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 400
    sparse = tmp_path / "sparse.npy"
    with sparse.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 32, 32)})
        file.truncate(10**12 + 2 * 10**11)
    with pytest.raises(UserError, match="100,000,000 pictures"):
        load(str(sparse), image_size=8)


def test_heads_that_lie_do_not_end_the_load_of_others(tmp_path: Path) -> None:
    """AVIF without an image, DDS of an unknown kind: Pillow raises RuntimeError, NotImplementedError, ..."""
    avif = bytearray(encode(PICTURE, "AVIF"))
    dds = bytearray(encode(PICTURE, "DDS"))
    avif[avif.find(b"pitm") : avif.find(b"pitm") + 4] = b"free"
    dds[80:84] = struct.pack("<I", 128)
    for name, data in (("a.avif", avif), ("b.dds", dds)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="damaged|not an image"):
            read_size(bytes(data))
    (tmp_path / "c.png").write_bytes(encode(PICTURE))
    for fraction in (0.25, 0.0):
        source = load(str(tmp_path), image_size=16, memory_fraction=fraction)
        source.train.read(range(3))
        assert source.train.readable.tolist() == [2]


LARGE = (5000, 4000)  # pixels


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that were asked for."""
    asked: list[int] = []

    class Spy(ByteBudget):
        def _fits(self, count: int) -> bool:
            asked.append(count)
            return super()._fits(count)

    monkeypatch.setattr(byte_budget, "_own", Spy(byte_budget.AT_ONCE))
    return asked


@pytest.mark.parametrize(
    ("mode", "kind", "bytes_each"),
    [
        ("P", "PNG", 1),
        ("RGBA", "PNG", 4),
        ("1", "TIFF", 2),
        ("RGB", "WEBP", 16),
        ("I;16", "PNG", 2),
        ("L", "JPEG2000", 7),
    ],
)  # fmt: skip
def test_what_is_decoded_is_counted_before(mode: str, kind: str, bytes_each: int, spied: list[int]) -> None:
    image = Image.new("L", LARGE).convert(mode) if mode != "I;16" else Image.fromarray(np.zeros(LARGE[::-1], np.uint16))
    data = encode(image, kind)
    decode(data, 16)
    cut_file(data, lambda h, w: [Cuts(torch.tensor([[0, 0, h // 2, w // 2]]), 16, True)])
    pixels = LARGE[0] * LARGE[1]
    assert len(spied) == 2 and all(pixels * bytes_each <= n <= pixels * bytes_each * 1.1 for n in spied)


def test_what_takes_more_than_one_may_is_refused() -> None:
    head = bytearray(encode(PICTURE, "WEBP", lossless=True))
    bits = int.from_bytes(head[21:25], "little") & ~0xFFFFFFF | 9999 | 9999 << 14
    head[21:25] = bits.to_bytes(4, "little")
    with pytest.raises(ValueError, match=r"100,000,000 pixels takes 1.5 GiB"):
        decode(bytes(head), 16)
    png = bytearray(encode(PICTURE))
    png[16:24] = struct.pack(">II", 13_000, 13_000)
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(png), 22) + png
    with pytest.raises(ValueError, match="within an icon"):
        read_size(icon)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_large_pictures_come_out_as_they_would_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduced tile by tile: within a grey level in the mean, crops too."""
    image = Image.fromarray(photo(90, 130)).resize((1300, 900), Image.Resampling.BICUBIC)
    image = image.quantize() if mode == "P" else image.convert(mode)
    if mode == "RGBA":
        image.putalpha(image.getchannel(1))
    data = encode(image)
    cuts = [Cuts(torch.tensor([[100, 200, 700, 900]]), 40, True)]
    whole, crop = decode(data, 32)[0], cut_file(data, lambda h, w: cuts)[0]
    monkeypatch.setattr(pictures_decode, "LARGE", 1000)
    monkeypatch.setattr(eight_bit, "_TILE", 5000)
    for a, b in ((whole, decode(data, 32)[0]), (crop, cut_file(data, lambda h, w: cuts)[0])):
        assert 0 < (a.float() - b.float()).abs().mean() < 1


def test_pillow_says_nothing_of_its_own(tmp_path: Path) -> None:
    """It logged "More samples per pixel than can be decoded", of no file."""
    data = encode(Image.new("RGB", (8, 8)), "TIFF")
    at = data.index(struct.pack("<HHI", 277, 3, 1)) + 8  # SamplesPerPixel
    (tmp_path / "a.tif").write_bytes(data[:at] + b"\x00\x08" + data[at + 2 :])
    code = "import sys; from semblance.data.pictures.decode import decode; decode(open(sys.argv[1], 'rb').read(), 8)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.tif"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ValueError" in done.stderr and "More samples" not in done.stderr
