"""Which files of a folder or archive belong to a set, and why the others are left out."""

import errno
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from posixpath import dirname, split, splitext
from typing import BinaryIO

from semblance.data.clips.media import SOUNDS, VIDEOS
from semblance.data.pictures import formats
from semblance.data.tally import Tally

HIDDEN = "Left out as hidden, or made by a system"
BY_CONTENT = "Taken for pictures by their content, not their names"
LINKED = "Taken more than once, since they are links to one file"
MET = "Left out as links to folders that are met elsewhere or hold the set"
NO_FILES = "Left out as pipes, sockets or devices"
OTHER = "Left out as files of unknown kinds"
NOWHERE = "Left out as links that lead nowhere"

_LARGEST_PICTURE, _LARGEST_MEDIA = 1 << 30, 16 << 30  # bytes; Pillow takes pictures of 179 megapixels at most

HOLES = "Partly missing on the disk, where zeros are read, as of a download that did not end (fetch it again)"
_SOME_HOLES = 1 << 20  # bytes: copying may leave out zeros
_PLAIN = frozenset((
    ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".dds", ".im", ".sgi", ".wav",
    ".aif", ".aiff", ".avi",
))  # fmt: skip
_PACKED = (VIDEOS | SOUNDS | formats.EXTENSIONS) - _PLAIN  # of which no good file has so many zeros in a row
_ANY_HOLES = 16 << 20  # bytes of a file that may be of holes alone

_TWINS = "differ only in case or in how accents are written (rename them if one is meant)"

# What cameras, network drives, editors and operating systems leave behind, beside what is hidden.
_SYSTEM = frozenset((
    "__macosx", "__pycache__", "node_modules", "$recycle.bin", "recycler", "system volume information", "lost+found",
    "lost.dir", "@eadir", "@tmp", "@recycle", "@__thumb", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot",
    "network trash folder", "temporary items", "cvs", "venv", "$winreagent", "onedrivetemp", "@synoresource",
    "@synoeastream", "picasa.ini", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
))  # fmt: skip
_FOUND = re.compile(r"found\.\d{3}")  # by chkdsk
_COPIES = "copies, previews or unfinished downloads"
_BY_EXTENSION = {
    "videos or sounds (avid and avid-cma take them)": " ".join(sorted(VIDEOS | SOUNDS)),
    "videos or sounds of other kinds (convert them to .mp4 or .wav)": (
        ".rm .rmvb .swf .divx .f4v .insv .m1v .m2v .mxf .dv .mjpeg .mjpg .y4m .h264 .264 .hevc .265 .yuv .mka .ac3"
        " .amr .ape .au .caf .dsf .mid .midi .ra .spx .wv"
    ),
    "raw camera files (convert them to TIFF or PNG)": (
        ".3fr .arw .bay .cap .cr2 .cr3 .crw .dcr .dcs .dng .drf .eip .erf .fff .gpr .iiq .k25 .kdc .mdc .mef .mos .mrw"
        " .nef .nrw .orf .pef .ptx .pxn .r3d .raf .raw .rw2 .rwl .rwz .sr2 .srf .srw .x3f"
    ),
    "pictures or drawings of other kinds (convert them to PNG or JPEG)": (
        ".jxl .jxr .wdp .hdp .bpg .flif .exr .hdr .dcm .dicom .nii .mha .mhd .nrrd .svs .ndpi .mrxs .scn .vms .bif .czi"
        " .nd2 .lif .lsm .oib .oif .vsi .xcf .kra .psb .ai .cdr .eps .ps .svg .svgz .wmf .emf .pdf .djvu .sketch .fig"
        " .clip .procreate .ktx .ktx2 .basis .pict .pct"
    ),
    "archives (unpack them)": (
        ".zip .tar .tgz .txz .tbz .tbz2 .tzst .gz .bz2 .xz .zst .lz4 .lzma .z .7z .rar .cab .iso .dmg .jar .cbz .cbr"
    ),
    "arrays, records or models (name a .npy or .npz itself as the data)": (
        ".npy .npz .mat .pt .pth .pkl .pickle .joblib .h5 .hdf .hdf5 .nc .zarr .tfrecord .tfrecords .rec .bin .idx"
        " .lmdb .mdb .db .sqlite .sqlite3 .parquet .arrow .feather .avro .onnx .safetensors .ckpt .pb .tflite .beton"
    ),
    "texts": (
        ".txt .csv .tsv .json .jsonl .ndjson .geojson .xml .yaml .yml .toml .ini .cfg .conf .md .rst .tex .log .lst"
        " .list .names .cls .lab .label .labels .caption .captions .pts .data .meta .html .htm .xhtml .css .js .tsx .py"
        " .pyc .ipynb .m .r .c .h .cc .cpp .hpp .java .go .rs .sh .bat .ps1 .sql .pbtxt .prototxt .srt .vtt .ass .sub"
        " .xmp .aae .url .lnk .webloc .doc .docx .odt .rtf .xls .xlsx .ods .ppt .pptx .odp .bib .md5 .sha1 .sha256"
        " .license .lock .torrent .properties .dtd .xsd .xsl"
    ),
    _COPIES: ".bak .old .orig .tmp .temp .part .partial .crdownload .download .swp .thm .lrv",
}  # fmt: skip
_KINDS = {extension: kind for kind, extensions in _BY_EXTENSION.items() for extension in extensions.split()}


def is_of_kind(name: str, extensions: Collection[str]) -> bool:
    """Whether a file of this relative name has one of these extensions, and is neither hidden nor made by a system."""
    return _extension(name) in extensions and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether the file of this relative name, or a folder that it lies in, is hidden or made by a system."""
    folder, own = split(name)
    return _is_hidden_part(own) or _is_hidden_folder(folder)


@lru_cache(1 << 12)
def _is_hidden_folder(folder: str) -> bool:
    return any(map(_is_hidden_part, folder.split("/")))


def _is_hidden_part(part: str) -> bool:
    return part.startswith(".") or (own := part.lower()) in _SYSTEM or bool(_FOUND.fullmatch(own))


def check_size(name: str, size: int, stored: int) -> None:
    """A ValueError where a file is of more bytes than any that can be decoded, or nearly all of it is holes, which take
    no room on the disk: sparse ones may declare terabytes. stored: bytes that are no holes."""
    most = _LARGEST_MEDIA if _extension(name) in VIDEOS | SOUNDS else _LARGEST_PICTURE
    if size > most:
        raise ValueError(f"too large: {size / (1 << 30):,.1f} GiB, and at most {most >> 30} GiB are read")
    if size > _ANY_HOLES and stored < size / 10:
        raise ValueError("nearly all of it is missing, as of a download that did not end: fetch it again")


def read_whole(file: BinaryIO, name: str) -> bytes:
    """The bytes of an open file; a ValueError where `check_size` has one."""
    size = os.fstat(file.fileno()).st_size
    check_size(name, size, bytes_stored(file.fileno(), size))
    return file.read()


def bytes_stored(file: int, size: int) -> int:
    """Bytes of a file that are no holes, as far as the disk tells."""
    return size - sum(end - begin for begin, end in _holes(file, size))


def _holes(file: int, size: int) -> Iterator[tuple[int, int]]:
    """From which byte to which a file has holes; none where the disk does not tell."""
    at = 0
    try:
        while at < size:
            begin = os.lseek(file, at, os.SEEK_DATA)
            yield at, begin
            at = os.lseek(file, begin, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # no more data
            yield at, size
    os.lseek(file, 0, os.SEEK_SET)


def holes_told(path: Path, tally: Tally, members: Iterable[tuple[str, int, int]] = ()) -> None:
    """Count an archive that the disk holds less of than its size. members: the name of each, the byte that its content
    begins at, and its size: those of zeros may lie in holes, where copying or the disk leaves zeros out."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        holes = [hole for hole in _holes(file.fileno(), size) if hole[0] < hole[1]]
    missing = sum(end - begin for begin, end in holes)
    if missing > _SOME_HOLES:
        for name, at, length in members:
            if _extension(name) not in _PACKED:
                missing -= sum(max(0, min(end, at + length) - max(begin, at)) for begin, end in holes)
    if missing > _SOME_HOLES:
        tally.add(HOLES, path.name)


def folders_of(names: Iterable[str]) -> set[str]:
    """All folders that files of these names lie in."""
    folders: set[str] = set()
    for folder in {dirname(name) for name in names}:
        while folder and folder not in folders:
            folders.add(folder)
            folder = dirname(folder)
    return folders


class Sorter:
    """Says of each file whether it belongs to a set, and counts why the others do not.

    wanted: whether a file of a relative name is taken. by_content: whether pictures are taken whatever their names.
    """

    def __init__(self, wanted: Callable[[str], bool], by_content: bool) -> None:
        self.wanted = wanted
        self.by_content = by_content
        self.tally = Tally()

    def takes(self, name: str, head: Callable[[], bytes]) -> bool:
        """head: reads the first formats.HEAD bytes, and is called where only they can tell; none if it cannot."""
        if self.wanted(name):
            return True
        kind = HIDDEN if is_hidden(name) else _kind(name) or OTHER
        if self.leaves_open(name):
            first = head()
            if formats.is_picture(first):
                self.tally.add(BY_CONTENT, name)
                return True
            kind = _left_out(formats.missing(first)) or kind
        self.tally.add(kind, name)
        return False

    def leaves_open(self, name: str) -> bool:
        """Whether only its content can tell if a file is taken: of no known extension, or HEIC, which often is JPEG."""
        if not self.by_content or self.wanted(name) or is_hidden(name):
            return False
        return _kind(name) is None or _extension(name) in formats.MISSING

    def tell_twins(self, names: Sequence[str]) -> None:
        """Count the names, of files that are taken and of their folders, that some disks would hold for one."""
        self.tally.add(
            f"Kept apart as folders, though their names {_TWINS}",
            *(f"{folder}/" for folder in twins(sorted(folders_of(names)))),
        )
        self.tally.add(f"Kept apart as files, though their names {_TWINS}", *twins(names))


def twins(paths: Sequence[str]) -> list[str]:
    """Those whose last part differs from another's of the same folder only in case or in how accents are written."""
    count = Counter(map(_folded, paths))
    return [path for path in paths if count[_folded(path)] > 1] if len(count) < len(paths) else []


def _folded(path: str) -> tuple[str, str]:
    folder, own = split(path)
    return folder, own.lower() if own.isascii() else unicodedata.normalize("NFC", own).lower()


def _extension(name: str) -> str:
    return splitext(name)[1].lower()


def _left_out(kind: str | None) -> str | None:
    return kind and f"Left out as {kind}"


def _kind(name: str) -> str | None:
    """Why a file of this relative name is left out, if it is not wanted; None where its extension is not known."""
    extension = _extension(name)
    if extension.endswith(("~", "_original")):
        return _left_out(_COPIES)
    return _left_out(formats.MISSING.get(extension) or _KINDS.get(extension))
