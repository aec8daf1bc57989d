"""ID3 tags in MP3 files (id3.org/id3v2.4.0-structure, 3.1)."""

import re

_BEGIN = re.compile(rb"ID3[\2-\4]\0[\0-\xff][\0-\x7f]{4}")


def is_mp3(data: bytes) -> bool:
    """Whether a file begins as MP3 does, with a tag or a frame; others with tags and AAC do, too."""
    return _BEGIN.match(data) is not None or (data[:1] == b"\xff" and data[1:2] >= b"\xe0")


def tag_end(data: bytes, at: int = 0) -> int:
    """Where a tag that begins at a byte ends; there, where none begins."""
    if _BEGIN.match(data, at) is None:
        return at
    size = sum(byte << shift for byte, shift in zip(data[at + 6 : at + 10], (21, 14, 7, 0), strict=True))
    return at + 10 + size + (10 if data[at + 5] & 16 else 0)  # 16: it has a footer


def without_inner_tags(data: bytes) -> bytes:
    """A file without the tags in its midst, as those of joined files, which FFmpeg takes for damage."""
    if not is_mp3(data):
        return data
    parts, at, begin = [], tag_end(data), 0
    while (found := _BEGIN.search(data, at)) is not None:
        at = tag_end(data, found.start())
        if data[at : at + 1] in (b"", b"\xff", b"I"):  # else they are bytes of sound
            parts.append(data[begin : found.start()])
            begin = at
    return b"".join([*parts, data[begin:]]) if parts else data
