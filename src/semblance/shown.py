"""Names of files, folders and classes as text: they may hold anything."""

from unicodedata import category

_UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control codes, invisible marks, lone surrogates, line ends


def shown(name: object) -> str:
    r"""str(name) as one line that terminals, files and pages take: \x1b for an escape code, \xff for a byte that is no
    UTF-8."""
    return "".join(_escaped(c) if category(c) in _UNSHOWN else c for c in str(name))


def _escaped(c: str) -> str:
    byte = "\udc80" <= c <= "\udcff"  # as os.fsdecode keeps it
    return f"\\x{ord(c) - 0xDC00:02x}" if byte else c.encode("unicode_escape", "backslashreplace").decode()
