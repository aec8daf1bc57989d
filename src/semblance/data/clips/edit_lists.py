"""Edit lists of MP4 and QuickTime, as far as FFmpeg passes over what they say: it plays all at the usual speed."""

from collections.abc import Iterator, Sequence

SPEED = "An edit list asks for another speed, and what it names is played at the usual one"
_USUAL = (0x10000, 0)  # 1, and 0, which no player heeds in sound
FIRST_BOXES = (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide")  # of a file, in bytes 4 to 8
_AROUND = (b"moov", b"trak", b"edts")  # the boxes that an edit list lies in, each in the one before it


def speed_told(data: bytes) -> list[str]:
    """What a Tally is to say of a file."""
    if data[4:8] not in FIRST_BOXES:
        return []
    return [SPEED] if any(rate not in _USUAL for rate in _rates(data, 0, len(data), _AROUND)) else []


def _rates(data: bytes, at: int, end: int, around: Sequence[bytes]) -> Iterator[int]:
    """16.16 numbers, of each edit that shows something (ISO/IEC 14496-12, 8.6.6)."""
    while at + 8 <= end:
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        last = min(end, at + size) if size else end
        if last < at + head:
            return
        if around and kind == around[0]:
            yield from _rates(data, at + head, last, around[1:])
        elif not around and kind == b"elst":
            wide = 8 if data[at + head : at + head + 1] == b"\1" else 4
            for edit in range(at + head + 8, last - 2 * wide - 3, 2 * wide + 4):
                if int.from_bytes(data[edit + wide : edit + 2 * wide], "big", signed=True) >= 0:  # else it is empty
                    yield int.from_bytes(data[edit + 2 * wide : edit + 2 * wide + 4], "big")
        at = last
