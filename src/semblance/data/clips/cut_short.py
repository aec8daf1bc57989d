"""Whether a media file ends too early, by its bytes: for containers of which FFmpeg takes what is there for all."""

from collections.abc import Callable

SEEMS_CUT = "The file seems to be cut short, for it ends in the middle of a frame"
_TAIL = 4 << 20  # bytes at the end of a transport stream in which the last packets of its streams are looked for
_UNKNOWN = 0x7FFF_F000  # sizes from here on are written by recorders that cannot go back


def check_end(data: bytes) -> list[str]:
    """ValueError where bytes are missing; where they seem to be, what a Tally is to say of it."""
    for applies, ends in _CONTAINERS:
        if applies(data):
            found = ends(data)
            if found == "cut":
                raise ValueError("cut short: bytes are missing at its end")
            return [SEEMS_CUT] if found == "perhaps" else []
    return []


def _riff(data: bytes) -> str:
    """AVI and WAV: the chunks at the top say how long they are. A hundredth may be missing: some writers miscount."""
    at = 0
    while data[at : at + 4] == b"RIFF" and len(data) >= at + 8:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size >= _UNKNOWN or size == 0:
            return "whole"
        at += 8 + size + size % 2
    return "cut" if len(data) < 0.99 * at else "whole"


def _aiff(data: bytes) -> str:
    """AIFF: a single chunk, which says how long it is."""
    return "cut" if len(data) < 0.99 * (8 + int.from_bytes(data[4:8], "big")) else "whole"


def _ogg(data: bytes) -> str:
    """The last page says how long it is."""
    at = data.rfind(b"OggS")
    count = data[at + 26] if len(data) > at + 26 else 0
    sizes = data[at + 27 : at + 27 + count]
    return "cut" if not count or len(sizes) < count or at + 27 + count + sum(sizes) > len(data) else "whole"


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
    (lambda data: data[:4] == b"\0\0\1\xba", _program_stream),
    (lambda data: _ts_packets(data)[0] > 0, _transport_stream),
)
