"""Which formats of pictures are read, and how they are known: by extension, or by the first bytes of a file."""

from PIL import Image

Image.preinit()  # registers the common formats first, to be tried first
Image.init()
try:  # an extra
    from pillow_heif import register_heif_opener
except ImportError:
    pass
else:  # decoding is spread over threads here, and a thumbnail is not the picture
    register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)

# Pillow hands EPS to Ghostscript, which runs code in the file; it registers the others but cannot decode them. IPTC
# holds a file of any other kind.
_REFUSED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "IPTC"}
FORMATS = [name for name in Image.ID if name not in _REFUSED]
_READABLE = {*FORMATS, "MPO"}  # MPO is opened by the JPEG reader
EXTENSIONS = frozenset(ext for ext, name in Image.registered_extensions().items() if name in _READABLE)

HEAD = 32  # bytes that tell a format
_TOLD_BY_HEAD = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "JPEG2000", "PSD", "QOI", "AVIF", "HEIF")
_HEIC = "HEIC (pip install 'semblance[heic]' to read them)"
_AVIF = "AVIF (pip install 'pillow>=11.3' to read them)"
_BY_EXTENSION = dict.fromkeys((".heic", ".heics", ".heif", ".heifs", ".hif"), _HEIC) | {".avif": _AVIF, ".avifs": _AVIF}
_BY_BRAND = {b"hei": (".heic", _HEIC), b"hev": (".heic", _HEIC), b"avi": (".avif", _AVIF)}  # its first three letters

# Extensions that a library would read which is not here, each with its format and the remedy.
MISSING = {extension: told for extension, told in _BY_EXTENSION.items() if extension not in EXTENSIONS}


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these HEAD bytes is a picture that can be read, of a format that they prove."""
    if head[:2] == b"BM" and head[6:10] == bytes(4):  # two letters alone prove nothing
        return True
    # Pillow takes HEIC for AVIF by some heads, and answers with a string where a library is missing.
    return not missing(head) and any(
        accept(head) is True for name in _TOLD_BY_HEAD if (accept := Image.OPEN.get(name, (None, None))[1])
    )


def missing(head: bytes) -> str | None:
    """As MISSING has it for files that begin with these HEAD bytes; None where no library is missing for them."""
    if head[4:8] != b"ftyp":
        return None
    brands = (head[at : at + 3] for at in (8, *range(16, len(head), 4)))
    extension, told = next((_BY_BRAND[brand] for brand in brands if brand in _BY_BRAND), ("", ""))
    return told if extension in MISSING else None
