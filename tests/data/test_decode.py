"""One picture: every kind Pillow writes comes out as the right uint8 canvas, and what is broken says so."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.decode import decode, read_size
from semblance.data.pictures.formats import EXTENSIONS


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(height: int = 40, width: int = 40) -> np.ndarray:
    """Smooth coloured picture without symmetry, uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(3 * x + y), np.cos(2 * y + 1.3 * x * x), np.sin(x - 4 * y * y)]
    return ((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8)


def planes(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def mean_difference(a: Tensor, b: Tensor) -> float:
    return (a.float() - b.float()).abs().mean().item()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_picture_of_canvas_size_is_kept_bit_for_bit(kind: str) -> None:
    picture, size = decode(encode(Image.fromarray(photo()), kind), 40)
    assert picture.dtype == torch.uint8 and size == (40, 40)
    assert torch.equal(picture, planes(photo()))


def test_resizing_is_antialiased_and_keeps_the_original_size() -> None:
    fine = np.zeros((64, 96, 3), np.uint8)
    fine[:, ::2] = 255  # columns of one pixel, which a resize without antialiasing would turn into stripes
    picture, size = decode(encode(Image.fromarray(fine)), 16)
    assert size == (64, 96) and picture.shape == (3, 16, 16)
    assert ((picture.int() - 128).abs() < 16).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_fills_all_three_channels(kind: str) -> None:
    grey = photo()[..., 0]
    picture, _ = decode(encode(Image.fromarray(grey), kind), 40)
    assert torch.equal(picture, torch.from_numpy(grey.copy()).expand(3, 40, 40))


def test_one_bit_becomes_black_and_white() -> None:
    mask = photo()[..., 0] > 127
    picture, _ = decode(encode(Image.fromarray(mask)), 40)
    assert torch.equal(picture[0], torch.from_numpy(mask * np.uint8(255)))


def test_palette_colours_are_looked_up() -> None:
    image = Image.fromarray(photo()).quantize(64)
    picture, _ = decode(encode(image), 40)
    assert torch.equal(picture, planes(np.asarray(image.convert("RGB"))))


def test_transparent_palette_entry_turns_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 30, 60] + [0] * 762)
    image.paste(0, (0, 0, 8, 4))
    for options in ({"transparency": 0}, {"transparency": bytes([0, 255])}):
        picture, _ = decode(encode(image, **options), 8)
        assert (picture[:, :4] == 255).all()
        assert picture[:, 6, 6].tolist() == [200, 30, 60]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_alpha_is_composited_on_white(mode: str, kind: str) -> None:
    image = Image.new(mode, (9, 9), (0,) * (len(mode) - 1) + (51,))  # black, one fifth opaque
    picture, _ = decode(encode(image, kind), 9)
    assert (picture == 204).all()


def test_transparent_colour_of_an_rgb_png_turns_white() -> None:
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    image.putpixel((0, 0), (1, 2, 3))
    picture, _ = decode(encode(image, transparency=(10, 20, 30)), 4)
    assert picture[:, 0, 0].tolist() == [1, 2, 3] and (picture[:, 1:] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    picture, _ = decode(encode(Image.fromarray(ramp), kind), 16)
    assert torch.equal(picture[0].flatten(), torch.arange(256, dtype=torch.uint8))


def test_wide_integers_are_read_as_sixteen_bits_or_refused() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.int32).reshape(16, 16)
    picture, _ = decode(encode(Image.fromarray(ramp), "TIFF"), 16)
    assert torch.equal(picture[0].flatten(), torch.arange(256, dtype=torch.uint8))
    with pytest.raises(ValueError, match="scale is unknown"):
        decode(encode(Image.fromarray(ramp * 1000), "TIFF"), 16)


def test_floats_from_zero_to_one_are_read_and_others_refused() -> None:
    ramp = (np.arange(256, dtype=np.float32) / 255).reshape(16, 16)
    picture, _ = decode(encode(Image.fromarray(ramp), "TIFF"), 16)
    assert torch.equal(picture[0].flatten(), torch.arange(256, dtype=torch.uint8))
    for values in (ramp - 0.5, ramp * 1e6, ramp * np.nan):
        with pytest.raises(ValueError, match="scale is unknown|not finite numbers"):
            decode(encode(Image.fromarray(values), "TIFF"), 16)


def test_cmyk_jpeg_has_the_colours_of_the_rgb_one() -> None:
    flat = Image.new("RGB", (16, 16), (200, 100, 50))
    picture, _ = decode(encode(flat.convert("CMYK"), "JPEG", quality=95), 16)
    assert mean_difference(picture, planes(np.asarray(flat))) < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    """A picture stored turned, with the tag that says so, equals the upright one, sizes too."""
    stored_as = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # the inverse turn, as Image.Transpose
    upright = Image.fromarray(photo(48, 80))
    stored = upright if stored_as is None else upright.transpose(Image.Transpose(stored_as))
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    turned, size = decode(encode(stored, kind, exif=exif, **lossless), 32)
    plain, _ = decode(encode(upright, kind, **lossless), 32)
    assert size == (48, 80)
    assert mean_difference(turned, plain) < 1


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize("canvas", [16, 24, 32, 48, 64])
def test_reduced_jpeg_decode_is_within_one_grey_level(name: str, canvas: int) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    data = encode(Image.fromarray(datasets.load_sample_image(name)), "JPEG", quality=90)
    full = Image.open(io.BytesIO(data)).resize((canvas, canvas), Image.Resampling.BICUBIC)
    picture, size = decode(data, canvas)
    assert size == (427, 640)
    assert 0 < mean_difference(picture, planes(np.asarray(full))) < 1  # 0 would mean that nothing was reduced


def test_header_tells_the_size() -> None:
    assert read_size(encode(Image.fromarray(photo(30, 50)), "JPEG")) == (30, 50)


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "empty"), (b"hello, not a picture at all", "not an image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image")],
)
def test_what_is_no_picture_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode(data, 8)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about broken tags
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"])
def test_damage_raises_nothing_but_oserror_and_valueerror(kind: str) -> None:
    """Cut at any length, or with bytes changed, a file is read or refused; no other error escapes."""
    noise = np.random.default_rng(0)
    data = encode(Image.fromarray(noise.integers(0, 256, (40, 40, 3), dtype=np.uint8)), kind)
    with pytest.raises((OSError, ValueError)):
        decode(data[: len(data) // 2], 16)
    for _ in range(60):
        broken = bytearray(data)
        for place in noise.integers(0, min(len(data), 400), 4):
            broken[place] = noise.integers(256)
        try:
            decode(bytes(broken), 16)
        except (OSError, ValueError) as error:
            assert str(error)


def test_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="too large.*1600 pixels"):
        decode(encode(Image.fromarray(photo())), 8)


def test_extensions_are_those_of_formats_that_decode() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".bmp", ".gif", ".ppm"} <= EXTENSIONS
    assert not {".eps", ".ps", ".pdf", ".mpg", ".h5", ".txt", ".json", ""} & EXTENSIONS


@pytest.mark.parametrize(
    ("sizes", "image_size", "side"),
    [
        ([(32, 32)] * 5, 32, 32),
        ([(96, 96)] * 5, 32, 96),  # alike and square: exact
        ([(1024, 1024)] * 5, 32, 48),  # but not at any price
        ([(300, 400)] * 5, 64, 96),
        ([(300, 400)] * 5, 100, 160),
        ([(50, 50), (60, 60), (70, 70)], 64, 60),  # never enlarged beyond the median
    ],
)
def test_canvas_side(sizes: list[tuple[int, int]], image_size: int, side: int) -> None:
    assert choose_canvas(sizes, image_size) == side


def jpeg(segment: bytes, count: int) -> bytes:
    return b"\xff\xd8" + (segment[:2] + struct.pack(">H", len(segment)) + segment[2:]) * count


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + bytes(1 << 25), b"\xff\xd8" + b"\xff" * (1 << 25), b"P6 " + b"#\n" * (1 << 24),
        jpeg(b"\xff\xe1Exif\0\0" + bytes(24), 1 << 20), jpeg(b"\xff\xe1Exif\0\0" + bytes(65000), 1 << 10),
        b"/* XPM */" + b"\n" * (1 << 25), b"icns" + struct.pack(">I", 1 << 25) + b"abcd\0\0\0\x08" * (1 << 22),
    ],
    ids=["zeros", "fill", "comments", "exif", "long exif", "lines", "icons"],
)  # fmt: skip
def test_a_head_without_end_is_not_read_to_its_end(data: bytes) -> None:
    """Pillow would go on for seconds a megabyte; quadratically, where it joins pieces."""
    with pytest.raises(ValueError, match="in too many pieces"):
        read_size(data)
