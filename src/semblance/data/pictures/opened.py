"""Image files before they are decoded: what may be opened, what is raised, and the memory that decoding takes."""

import io
import logging
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from semblance.data import byte_budget
from semblance.data.pictures.deep_colour import is_deep_colour
from semblance.data.pictures.formats import FORMATS, HEAD, missing
from semblance.runtime.allocator import give_back_freed_memory
from semblance.shown import shown

# What Pillow warns of and logs names no file; what befalls one is a Remark or an error.
warnings.filterwarnings("ignore", module="PIL")
logging.getLogger("PIL").addHandler(logging.NullHandler())

FIRST_PAGE = "Only the first page or frame is used"
AS_IT_LIES = "The orientation cannot be read, so the picture is taken as it lies"
Remark = Callable[[str], object]  # is told what befell a file, in words for a Tally

LARGE = 1 << 24  # pixels; a larger picture is made smaller a tile at a time, not converted as a whole

_HEAD_PIECES, _ALL_PIECES = 1 << 16, 1 << 23  # that may be read of a head, and of all that follows
_PIECE, _WHOLE = 256, 1 << 16  # bytes of one piece; bytes from which on a file is read as a whole, whatever it holds

_SMALL = 1 << 18  # pixels; what such a picture takes, some MB, is not counted
_MOST = 1000 << 20  # bytes that one picture may take
_GIVEN_BACK = 128 << 20  # bytes; what is larger goes back to the system at once
_ICON = 1 << 22  # pixels of a picture within an icon
_PER_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # bytes; others 4
# Bytes that a decoder holds for each pixel beside the picture. Measured with Pillow 13: WebP 12, AVIF 5.3, TIFF in one
# strip, DDS and QOI as much as the picture, SGI 2; JPEG 2000 5.2 a channel. Deeper AVIF takes more; HEIF
# is taken for it.
_BESIDE = {"PNG": 0, "GIF": 0, "BMP": 0, "DIB": 0, "PPM": 0, "TGA": 0, "WEBP": 12, "AVIF": 12, "HEIF": 12}
_ORIENTATION, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH = 274, 278, 322, 323  # tags of EXIF and TIFF


def unheard(remark: str) -> None:
    """What is told to nobody."""


class _InPieces(io.BytesIO):
    """A file's bytes, of which only so many pieces are read: Pillow looks for the end of a damaged head byte by byte,
    or joins what it finds again and again, which takes hours for a gigabyte."""

    left = _HEAD_PIECES

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1 + (size // _PIECE if size and 0 < size <= _WHOLE else 0)
        if self.left < 0:
            raise ValueError("damaged: it is in too many pieces")
        return super().read(size)

    def readline(self, size: int | None = -1) -> bytes:
        self.read(0)
        return super().readline(size)


@contextmanager
def opened(data: bytes, remark: Remark = unheard) -> Iterator[Image.Image]:
    """The picture in a file's bytes, of which the header is read; within, what is raised is an OSError or a ValueError
    with a short reason."""
    try:
        if not data:
            raise ValueError("empty file")
        _refuse_nested(data)
        file = _InPieces(data)
        with Image.open(file, formats=FORMATS) as image:
            file.left = _ALL_PIECES
            if image.tile and image.tile[0].codec_name == "fits_gzip":
                raise ValueError("compressed FITS is not read")  # it may unpack to anything
            if image.format != "PSD" and getattr(image, "is_animated", False):  # layers are no pages
                remark(FIRST_PAGE)
            yield image
    except UnidentifiedImageError as error:
        raise ValueError(missing(data[:HEAD]) or "not an image, or damaged at its head") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"refused as too large: {error}") from error
    except Exception as error:  # on broken bytes Pillow's readers raise SyntaxError, struct.error, MemoryError, ...
        told = " ".join(shown(error).split())[:200]
        if told and isinstance(error, (OSError, ValueError)):
            raise
        raise ValueError(f"damaged: {told or type(error).__name__}") from error


@contextmanager
def room(image: Image.Image, data: bytes, size: tuple[int, int]) -> Iterator[None]:
    """Within, the memory for decoding an opened picture is this thread's, which may have to wait for it; at the end
    the picture is closed. size: its (width, height) before it was drafted. A ValueError where it would take too much.
    """
    if size[0] * size[1] <= _SMALL:
        yield
        return
    if (need := _need(image, data, size)) > _MOST:
        pixels = size[0] * size[1]
        raise ValueError(f"refused as too large: decoding its {pixels:,} pixels takes {need / 2**30:.1f} GiB")
    with byte_budget.decoding().taken(need):
        try:
            yield
        finally:
            image.close()
            if need > _GIVEN_BACK:
                give_back_freed_memory()


def orientation(image: Image.Image, remark: Remark = unheard) -> int:
    """How a picture is to be turned, 1 to 8 as in EXIF; 1 where that cannot be read, which is remarked."""
    try:
        written = image.info.get("exif") or b""
        known = image.getexif()
        if not known and len(written.removeprefix(b"Exif\0\0")) > 0 and not _loads(written):
            raise ValueError
        turn = known.get(_ORIENTATION, 1)
        if turn not in range(9):
            raise ValueError
        return turn or 1
    except Exception:  # as on broken pixels
        remark(AS_IT_LIES)
        return 1


def _loads(written: bytes) -> bool:
    exif = Image.Exif()
    exif.load(written)
    return len(exif) > 0


def _need(image: Image.Image, data: bytes, size: tuple[int, int]) -> int:
    """Bytes that an opened picture takes while it is decoded and made one of 8 bits."""
    pixels, kind = image.width * image.height, image.format or ""
    own = _PER_PIXEL.get(image.mode, 4)
    need = pixels * own
    if image.mode not in ("L", "RGB") and pixels <= LARGE:
        need += pixels * 4
    if is_deep_colour(image, data):  # decoded again for the other half
        need += pixels * (8 + _BESIDE.get(kind, 4))
    if kind in ("JPEG", "MPO"):
        return need + (2 * size[0] * size[1] * len(image.getbands()) if _in_several_scans(data) else 0)
    if kind == "JPEG2000":
        return need + 6 * pixels * len(image.getbands())
    if kind == "TIFF":
        tags = getattr(image, "tag_v2", {})
        turned = tags.get(_ORIENTATION, 1) != 1  # by its loader
        strip = image.width * min(tags.get(_ROWS_PER_STRIP, image.height), image.height)
        tile = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_LENGTH, 0)
        return need + pixels * own * turned + (tile or strip) * own
    return need + pixels * _BESIDE.get(kind, 4)


def _in_several_scans(data: bytes) -> bool:
    """Whether a JPEG is progressive or has a scan for each channel: then all coefficients are held, 2 bytes each."""
    at, channels = 2, 0
    while at + 5 < len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at] != 0xFF or marker == 0xDA:
            return data[at] != 0xFF or data[at + 4] < channels
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker in (0xC2, 0xC6, 0xCA, 0xCE):
                return True
            channels = data[at + 9] if at + 9 < len(data) else 0
        at += 2 + length
    return True


def _refuse_nested(data: bytes) -> None:
    """Icons and textures hold files of their own, which are decoded as soon as they are opened: only small ones are."""
    if data.startswith(b"BLP1\0\0\0\0"):
        raise ValueError("JPEG within BLP is not read")
    if not data.startswith((b"\0\0\1\0", b"\0\0\2\0", b"icns")):
        return
    for mark, form, at in ((b"\x89PNG\r\n\x1a\n", ">II", 16), (b"\xff\x4f\xff\x51", ">II", 8)):  # JPEG 2000: SIZ
        place = data.find(mark)
        while place >= 0:
            width, height = struct.unpack_from(form, data.ljust(place + at + 8, b"\0"), place + at)
            if width * height > _ICON:
                raise ValueError(f"refused as too large: a picture of {width:,} x {height:,} within an icon")
            place = data.find(mark, place + 1)
