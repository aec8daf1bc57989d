"""The terminal: any text can be printed on it, and nothing in a text is taken for markup or an order."""

import sys
from typing import Any, TextIO

from rich.console import Console


class _AnyText:
    """A stream that takes any text: what its encoding lacks is written as an escape."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    @property
    def encoding(self) -> str:
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        return self.stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()


def console(*, stderr: bool = False) -> Console:
    """stdout, or stderr, as it is now."""
    stream: Any = _AnyText(sys.stderr if stderr else sys.stdout)
    return Console(file=stream, markup=False, emoji=False, highlight=False)


def take_any_text() -> None:
    """Have print() write what the encoding of stdout and stderr lacks as escapes, in this process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
