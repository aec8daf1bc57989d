"""Values of more than 8 bits: one scale for a set, or the file's own; told, kept, and what is beyond is named."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from test_decode import encode

import semblance as sb
from semblance.data import load
from semblance.data.pictures.decode import decode
from semblance.errors import UserError

RAMP = np.linspace(0, 1, 256).reshape(16, 16)


def deep(top: float, dtype: type = np.uint16) -> Image.Image:
    return Image.fromarray((RAMP * top).round().astype(dtype) if dtype != np.float32 else (RAMP * top).astype(dtype))


def levels(data: bytes, top: float | None = None) -> int:
    return int(decode(data, 16, top)[0].max())


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with another chunk after its head."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png[:33] + chunk + png[33:]


def test_the_scale_that_a_file_says_is_its_own() -> None:
    """And wins over that of the set."""
    twelve = encode(deep(4095))
    assert levels(twelve, 65535) == 16 and levels(with_chunk(twelve, b"sBIT", b"\x0c"), 65535) == 255
    ten = encode(deep(1023), "TIFF", tiffinfo={281: 1023})  # MaxSampleValue
    assert levels(ten, 65535) == 255
    half = encode(Image.fromarray((RAMP * 2047).astype(np.uint16) // 16 * 16))  # as PNG wants
    assert levels(with_chunk(half, b"sBIT", b"\x0c"), 4095) == 8
    for top in (1023, 4095):  # 16 bits hold any less
        for kind in ("JPEG2000", "PPM"):
            assert levels(encode(deep(top), kind), top) == 255
    assert levels(b"P5 # \n 8 8\n# \n1000\n" + np.full(64, 1000, ">u2").tobytes(), 65535) == 255


@pytest.mark.parametrize("top", [255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("memory_fraction", [0.25, 0.0])
def test_the_set_decides_and_tells(tmp_path: Path, top: int, memory_fraction: float) -> None:
    for i in range(6):
        deep(top * (i + 1) / 6).save(tmp_path / f"{i}.png")
    source = load(str(tmp_path), image_size=16, memory_fraction=memory_fraction)
    assert source.train.grey_levels == top
    brightest = source.train.read(range(6))[0].amax((1, 2, 3)).tolist()
    assert all(abs(b - 255 * (i + 1) / 6) < 2 for i, b in enumerate(brightest))
    assert any(f"scaled from 0 to {top:,}" in note and "6 files" in note for note in source.notes)


def test_floats_and_wide_integers_have_scales_too(tmp_path: Path) -> None:
    for top, dtype in ((1, np.float32), (255, np.float32), (65535, np.float32), (255, np.int32), (4095, np.int32)):
        deep(top, dtype).save(tmp_path / "a.tif")
        assert load(str(tmp_path), image_size=16).train.grey_levels == top
    (tmp_path / "a.tif").unlink()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    source = load(str(tmp_path), image_size=16)
    assert source.train.grey_levels is None and len(source.notes) == 1


def test_files_beyond_the_scale_are_named(tmp_path: Path) -> None:
    for i in range(401):
        Image.fromarray(np.full((4, 4), 4000 if i != 1 else 5000, np.uint16)).save(tmp_path / f"{i:03d}.png")
    source = load(str(tmp_path), image_size=8)
    assert source.train.grey_levels == 4095
    assert source.skipped == [("001.png", "values from 5000 to 5000, outside 0 to 4095: their scale is unknown")]
    assert not load(str(tmp_path), image_size=8, grey_levels=65535).skipped


def test_a_run_keeps_its_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In config.yaml, for resuming and for other pictures."""
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(4):
            deep(4095).rotate(90 * i).save(tmp_path / "p" / name / f"{i}.png")
    run = tmp_path / "run"
    sb.train(
        "simclr", data=tmp_path / "p", out=run, image_size=16, batch_size=4, max_steps=1, backbone="resnet10-w8-cifar",
        precision="32", compile=False, channels_last=False,
    )  # fmt: skip
    assert "scaled from 0 to 4,095" in capsys.readouterr().err
    assert yaml.safe_load((run / "config.yaml").read_text())["grey_levels"] == 4095
    for path in (tmp_path / "p").rglob("*.png"):  # darker ones, which alone would have another scale
        deep(255).save(path)
    capsys.readouterr()
    sb.embed(str(run), data=str(tmp_path / "p"), out=tmp_path / "a.npz")
    sb.embed(str(run / "backbone.safetensors"), data=str(tmp_path / "p"), out=tmp_path / "b.npz")
    a, b = (np.load(tmp_path / name)["features"] for name in ("a.npz", "b.npz"))
    assert np.allclose(a, b, atol=1e-5)
    assert load(str(tmp_path / "p"), image_size=16, grey_levels=4095).train.read([0])[0].max() == 16


def png_of(values: np.ndarray, significant: bytes = b"") -> bytes:
    """A PNG of uint16 (H, W, 2 | 3 | 4)."""
    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = zlib.compress(
        b"".join(b"\1" + sub(row) for row in values.astype(">u2").view(np.uint8).reshape(height, -1, 2 * channels))
    )
    png = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"sBIT", significant), (b"IDAT", rows), (b"IEND", b"")):
        if body or kind == b"IEND":
            png += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png


def sub(row: np.ndarray) -> bytes:
    """A row by PNG's filter Sub, which tells how many bytes a pixel has."""
    return np.diff(row, axis=0, prepend=np.zeros((1, row.shape[1]), np.uint8)).tobytes()


def tiff_of(values: np.ndarray, order: str = "<", *, compressed: bool = False) -> bytes:
    """A TIFF of uint16 (H, W, 3 | 4), in one strip."""
    height, width, channels = values.shape
    body = values.astype(order + "u2").tobytes()
    body = zlib.compress(body) if compressed else body
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, 400), (259, 3, 1, 8 if compressed else 1)]
    tags += [(262, 3, 1, 2), (273, 4, 1, 500), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(body))]
    tags += [(338, 3, 1, 2)] if channels == 4 else []
    file = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIH", 42, 8, len(tags))
    for tag, kind, count, value in tags:
        packed = struct.pack(order + "I", value) if kind == 4 or count > 1 else struct.pack(order + "HH", value, 0)
        if count > 1:
            packed = struct.pack(order + "I", 400)
        file += struct.pack(order + "HHI", tag, kind, count) + packed
    file = (file + bytes(4)).ljust(400, b"\0") + struct.pack(f"{order}{channels}H", *[16] * channels)
    return file.ljust(500, b"\0") + body


COLOURS = np.random.default_rng(0).integers(0, 1024, (16, 16, 3)).astype(np.uint16)


def with_alpha(values: np.ndarray, opaque: int) -> np.ndarray:
    return np.concatenate([values, np.full_like(values[..., :1], opaque)], -1)


@pytest.mark.parametrize(
    "file",
    [
        png_of(COLOURS), png_of(with_alpha(COLOURS, 65535)), png_of(with_alpha(COLOURS, 1023)), tiff_of(COLOURS),
        tiff_of(COLOURS, ">"), tiff_of(COLOURS, compressed=True), tiff_of(COLOURS, ">", compressed=True),
        tiff_of(with_alpha(COLOURS, 1023)), tiff_of(with_alpha(COLOURS, 65535), compressed=True),
    ],
    ids=["png", "png alpha", "png deep alpha", "tiff", "tiff >", "tiff z", "tiff > z", "tiff alpha", "tiff alpha z"],
)  # fmt: skip
def test_colour_of_ten_bits_keeps_all_of_them(tmp_path: Path, file: bytes) -> None:
    """Pillow alone keeps the first 8 of 16 bits: of ten, two."""
    wanted = (COLOURS * (255 / 1023)).round()
    assert np.array_equal(decode(file, 16, 1023)[0].permute(1, 2, 0).numpy(), wanted)
    (tmp_path / ("a.png" if file[:1] == b"\x89" else "a.tif")).write_bytes(file)
    source = load(str(tmp_path), image_size=16)
    assert source.train.grey_levels == 1023 and "from 0 to 1,023, by the largest of 1 file" in source.notes[0]
    assert np.array_equal(source.train.read([0])[0][0].permute(1, 2, 0).numpy(), wanted)


def test_deep_colour_beside_grey_alpha_what_a_file_says_and_full_scale() -> None:
    grey = with_alpha(COLOURS[..., :1], 1023)
    assert np.array_equal(decode(png_of(grey), 16, 1023)[0][0].numpy(), (COLOURS[..., 0] * (255 / 1023)).round())
    assert decode(png_of(COLOURS, b"\x0a\x0a\x0a"), 16, 65535)[0].max() > 250
    full = COLOURS * 64
    assert np.array_equal(decode(png_of(full), 16, 65535)[0].permute(1, 2, 0).numpy(), full >> 8)
    with pytest.raises(ValueError, match="values from 0 to 65535, outside 0 to 1023"):
        decode(png_of(full), 16, 1023)


@pytest.mark.parametrize(
    ("array", "top"),
    [
        (np.arange(0, 256, 32, dtype=np.uint16), 255), (np.array([0.0, 64, 255]), 255),
        (np.array([0, 4000], np.int64), 4095),
        (np.array([0, 60_000], np.uint16), 65535), (np.array([0.0, 0.5, 1], np.float32), 1),
        (np.array([False, True]), 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("memory_fraction", [0.25, 0.0])
def test_arrays_of_other_numbers_are_scaled(
    tmp_path: Path, array: np.ndarray, top: int, memory_fraction: float
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.broadcast_to(array[:, None, None], (len(array), 8, 8)))
    source = load(str(path), image_size=8, memory_fraction=memory_fraction)
    expected = torch.from_numpy((array * (255 / top)).round().astype(np.uint8))
    assert torch.equal(source.train.read(range(len(array)))[0][:, 0, 0, 0], expected)
    assert any(f"scaled from 0 to {top:,}" in note for note in source.notes)


@pytest.mark.parametrize(
    ("array", "advice"),
    [(np.array([-1.0, 1]), r"\(x \+ 1\) \* 127.5"), (np.array([-1000.0, 3000]), r"- -1000\) \* 0.06375"),
     (np.array([0, np.nan]), "not finite"), (np.array([0, 100_000]), "beyond 65,535")],
)  # fmt: skip
def test_the_advice_for_other_arrays_fits_them(tmp_path: Path, array: np.ndarray, advice: str) -> None:
    np.save(tmp_path / "x.npy", np.broadcast_to(array[:, None, None], (2, 8, 8)))
    with pytest.raises(UserError, match=advice):
        load(str(tmp_path / "x.npy"), image_size=8)


@pytest.mark.parametrize(
    "array", [np.array([-128, 127], np.int8), np.array([-32768, 32767], np.int16), np.array([0, 1e6])]
)
def test_the_advice_does_no_harm(tmp_path: Path, array: np.ndarray) -> None:
    """Differences that narrow numbers cannot hold wrapped around."""
    x = np.linspace(array[0], array[1], 256).astype(array.dtype).reshape(4, 8, 8)
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(UserError) as error:
        load(str(tmp_path / "x.npy"), image_size=8)
    made = eval(str(error.value).split("e.g. ")[1].rstrip("."), {"x": x})
    assert made.dtype == np.uint8 and np.abs(made.ravel().astype(int) - np.arange(256)).max() <= 1
