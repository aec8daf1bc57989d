"""Whether a media file ends too early, or goes on behind its end: where FFmpeg takes what it finds for all."""

import re
from collections.abc import Callable, Iterator

from semblance.data.clips.edit_lists import FIRST_BOXES
from semblance.data.clips.mp3 import is_mp3, tag_end

SEEMS_CUT = "The file seems to be cut short, for its end is missing"
MORE = "More follows where the file ends, as in joined recordings, and only what comes first is used"
_TAIL = 4 << 20  # bytes at the end of a transport stream in which the last packets of its streams are looked for
_UNKNOWN = 0x7FFF_F000  # sizes from here on are written by recorders that cannot go back
_WHOLE = 0.9  # of the bytes that a file declares: one that has fewer is refused
_FIRST_FRAME = 2048  # bytes behind the tag of an MP3 in which its first frame lies, which says how long all is
_SAYING = re.compile(rb"\xff[\xe0-\xff]..(?:..)?\0{9,32}(Xing|Info|VBRI)", re.DOTALL)  # the beginning of that frame
_PAGE = b"OggS\0"
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def check_end(data: bytes) -> list[str]:
    """ValueError where bytes are missing; where they seem to be, or are too many, what a Tally is to say of it."""
    for applies, ends in _CONTAINERS:
        if applies(data):
            found = ends(data)
            if found == "cut":
                raise ValueError("cut short: bytes are missing at its end")
            return {"perhaps": [SEEMS_CUT], "more": [MORE]}.get(found, [])
    return []


def _riff(data: bytes) -> str:
    """AVI and WAV: the chunks at the top say how long they are. A hundredth may be missing: some writers miscount."""
    at = 0
    while data[at : at + 4] == b"RIFF" and len(data) >= at + 8:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size >= _UNKNOWN or size == 0:
            return "whole"
        if at and data[at + 8 : at + 12] == b"WAVE":
            return "more"
        at += 8 + size + size % 2
    return "cut" if len(data) < 0.99 * at else "whole"


def _aiff(data: bytes) -> str:
    """AIFF: a single chunk, which says how long it is."""
    end = 8 + int.from_bytes(data[4:8], "big")
    return "cut" if len(data) < 0.99 * end else "more" if data[end : end + 4] == b"FORM" else "whole"


def _mp4(data: bytes) -> str:
    """MP4 and QuickTime: every box says how long it is (ISO/IEC 14496-12, 4.2)."""
    indices = 0
    for kind, end in _boxes(data):
        if end > len(data) and kind in (b"moov", b"mdat", b"moof"):  # others hold nothing that is seen or heard
            return "cut" if kind == b"moov" or len(data) < _WHOLE * end else "perhaps"
        indices += kind == b"moov"
    return "more" if indices > 1 else "whole"


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Kind and end of the boxes at the top."""
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: up to the end
            return
        at += size
        yield kind, at


def _matroska(data: bytes) -> str:
    """Matroska and WebM: the segment says how long it is, unless it was recorded live (RFC 8794, 6)."""
    size, at = _ebml_size(data, 4) if len(data) > 4 else (0, 4)
    at += size
    if data[at : at + 4] != _SEGMENT or len(data) < at + 12:
        return "whole"
    size, at = _ebml_size(data, at + 4)
    if at + size <= len(data) or size == (1 << 7 * (size.bit_length() // 7)) - 1:
        return "whole"
    return "cut" if len(data) < _WHOLE * (at + size) else "perhaps"


def _ebml_size(data: bytes, at: int) -> tuple[int, int]:
    """A size, and the place after it."""
    count = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + count], "big") & (1 << 7 * count) - 1, at + count


def _flv(data: bytes) -> str:
    """FLV: every tag says how long it is. Where they are cut short is seen as they are decoded."""
    at = 4 + int.from_bytes(data[5:9], "big")
    while at + 11 <= len(data) and data[at] & 31 in (8, 9, 18):
        at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
    return "more" if data[at : at + 3] == b"FLV" else "whole"


def _asf(data: bytes) -> str:
    """ASF: its properties say how long it is, unless it was sent live."""
    at = data.find(_ASF_PROPERTIES, 0, 1 << 16)
    end = int.from_bytes(data[at + 40 : at + 48], "little")
    if at < 0 or not end or len(data) < at + 89 or data[at + 88] & 1:  # 1: sent live
        return "whole"
    if len(data) < 0.99 * end:
        return "cut" if len(data) < _WHOLE * end else "perhaps"
    return "more" if data[end : end + 16] == _ASF else "whole"


def _ogg(data: bytes) -> str:
    """The last page says how long it is, and that of each stream that it is the last (RFC 3533, 6)."""
    ended, at, found = dict[bytes, int](), 0, data.find(_PAGE)
    while found >= 0 and len(data) >= found + 27:
        at, found = found, data.find(_PAGE, found + 27)
        ended[data[at + 14 : at + 18]] = data[at + 5] & 4
    sizes = data[at + 27 : at + 27 + data[at + 26]] if ended else b""
    if found >= 0 or len(sizes) < data[at + 26] or at + 27 + len(sizes) + sum(sizes) > len(data):
        return "cut"
    return "whole" if all(ended.values()) else "perhaps"


def _program_stream(data: bytes) -> str:
    """MPEG-PS: every packet says how long it is (ISO/IEC 13818-1, 2.5.3)."""
    at = 0
    while at + 6 <= len(data) and data[at : at + 3] == b"\0\0\1" and data[at + 3] >= 0xB9:
        if data[at + 3] == 0xB9:  # the end
            return "whole"
        if data[at + 3] != 0xBA:
            at += 6 + int.from_bytes(data[at + 4 : at + 6], "big")
        elif data[at + 4] >> 6 == 1:  # a pack of MPEG-2
            at += 14 + (data[at + 13] & 7 if at + 13 < len(data) else 0)
        else:
            at += 12
    return "cut" if at > len(data) or len(data) - at in range(1, 6) else "whole"


def _transport_stream(data: bytes) -> str:
    """MPEG-TS: the last packet of each stream is as long as it says, or, if it does not say, filled up at its end."""
    unit, lead = _ts_packets(data)
    if len(data) % unit > lead and data[len(data) - len(data) % unit + lead] == 0x47:
        return "cut"
    found, held, filled, ended = "whole", dict[int, int](), dict[int, bool](), set[int]()
    last = len(data) // unit * unit - unit
    for at in range(last, max(-1, last - _TAIL), -unit):
        packet = data[at + lead : at + lead + 188]
        stream, begins, adaptation = (packet[1] & 31) << 8 | packet[2], packet[1] & 64, packet[3] >> 4 & 3
        if packet[0] != 0x47 or not adaptation & 1 or stream in ended:
            continue
        payload = packet[4 + (1 + packet[4] if adaptation == 3 else 0) :]
        filled.setdefault(stream, adaptation == 3 and _stuffed(packet))  # of its last packet
        held[stream] = held.get(stream, 0) + len(payload)
        if not begins:
            continue
        ended.add(stream)
        if payload[:3] == b"\0\0\1" and payload[3] >= 0xBD:
            length = int.from_bytes(payload[4:6], "big")
            if length and held[stream] < length + 6:
                return "cut"
            if not length and not filled[stream]:
                found = "perhaps"
    return found


def _stuffed(packet: bytes) -> bool:
    """Whether the adaptation field of a packet is longer than what it holds needs (ISO/IEC 13818-1, 2.4.3.4)."""
    length, flags = packet[4], packet[5]
    clocks = 6 * (flags >> 4 & 1) + 6 * (flags >> 3 & 1) + (flags >> 2 & 1)
    return length == 0 or (length > 1 + clocks and not flags & 3)


def _mp3(data: bytes) -> str:
    """MP3: a first frame without sound may say of how many bytes all are, as LAME and FFmpeg write it."""
    at = tag_end(data)
    first = _SAYING.search(data, at, at + _FIRST_FRAME)
    if first is None:
        return "whole"
    said, flags = first.end(), data[first.end() + 3 : first.end() + 4] or b"\0"
    if first[1] != b"VBRI" and not flags[0] & 2:
        return "whole"
    size = said + (6 if first[1] == b"VBRI" else 8 if flags[0] & 1 else 4)
    declared, held = int.from_bytes(data[size : size + 4], "big"), len(data) - first.start()
    return "cut" if held < _WHOLE * declared else "perhaps" if held < 0.99 * declared else "whole"


def _ts_packets(data: bytes) -> tuple[int, int]:
    """Bytes of a packet of a transport stream, and of what precedes each; zeros where it is none."""
    for unit, lead in ((188, 0), (192, 4), (204, 0)):
        if len(data) > 3 * unit and all(data[lead + i * unit] == 0x47 for i in range(3)):
            return unit, lead
    return 0, 0


_CONTAINERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], str]], ...] = (
    (lambda data: data[:4] == b"RIFF", _riff),
    (lambda data: data[:4] == b"FORM", _aiff),
    (lambda data: data[:4] == b"OggS", _ogg),
    (lambda data: data[4:8] in FIRST_BOXES, _mp4),
    (lambda data: data[:4] == _EBML, _matroska),
    (lambda data: data[:3] == b"FLV", _flv),
    (lambda data: data[:16] == _ASF, _asf),
    (lambda data: data[:4] == b"\0\0\1\xba", _program_stream),
    (lambda data: _ts_packets(data)[0] > 0, _transport_stream),
    (is_mp3, _mp3),
)
