"""Files that anybody may have written: read within bounds, or refused in a line."""

from pathlib import Path

MOST_BYTES = 1 << 28


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """UTF-8 text of a file, bytes that are none replaced. Raises as read_bytes."""
    return read_bytes(path, most).decode("utf-8", "replace")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """What a file holds. Raises OSError, and ValueError in words for what is larger than `most` bytes, or no file with
    an end."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no ordinary file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 10:,} KiB, which no such file is")
    return data
