"""Names of files, folders and classes as text and as bytes: they may hold anything."""

import os
import shlex
import sys
from unicodedata import category

_UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control codes, invisible marks, lone surrogates, line ends


def shown(name: object) -> str:
    r"""str(name) as one line that terminals, files and pages take: \x1b for an escape code, \xff for a byte that is no
    UTF-8."""
    text = str(name)
    return text if text.isprintable() else "".join(_escaped(c) if category(c) in _UNSHOWN else c for c in text)


def shortened(name: object, most: int = 300) -> str:
    """The same in a message that is about something else: of a longer one both ends."""
    text = shown(name)
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


def shown_lines(text: str) -> str:
    """The same of a text of several lines, which stay lines."""
    return "\n".join(map(shown, text.split("\n")))


def quoted(path: object) -> str:
    r"""A path as a word to be pasted into a shell: 'two words', or $'caf\xe9' where it cannot be shown as it is."""
    text = str(path)
    if text.isprintable() and _writable(text):
        return shlex.quote(text)
    plain = {code for code in range(32, 127)} - set(b"'\\")
    return "$'" + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in as_bytes(text)) + "'"


def as_bytes(name: str) -> bytes:
    """The bytes of a file's name; of one that the locale does not know, such as a name from a file, its UTF-8."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return name.encode(errors="surrogatepass")


def of_this_locale(name: str) -> str:
    """A name that another process wrote down, as this one has to write it to open the same file."""
    return os.fsdecode(as_bytes(name))


def _writable(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _escaped(c: str) -> str:
    byte = "\udc80" <= c <= "\udcff"  # as os.fsdecode keeps it
    return f"\\x{ord(c) - 0xDC00:02x}" if byte else c.encode("unicode_escape", "backslashreplace").decode()
