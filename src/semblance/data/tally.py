"""Counts of what befell files on their way to samples, by kind."""

from collections.abc import Iterator

from semblance.shown import shortened

_NAMED = 3


class Tally:
    """Names of files by what befell them, such as "left out, .heic": each kind is told in one line."""

    def __init__(self) -> None:
        self.kinds: dict[str, list[str]] = {}

    def add(self, kind: str, *names: str) -> None:
        """kind: what befell these files, or folders if a name ends in "/", in words that a count can follow: "Only the
        first page is used"."""
        if names:
            self.kinds.setdefault(kind, []).extend(names)

    def lines(self) -> Iterator[str]:
        """One sentence a kind: "Only the first page is used: 20 files, as a.tif, b.tif, c.tif."."""
        for kind, names in self.kinds.items():
            noun = "folder" if all(name.endswith("/") for name in names) else "file"
            count = f"{len(names):,} {noun}{'s' * (len(names) != 1)}"
            yield f"{kind}: {count}, as {', '.join(shortened(name, 120) for name in names[:_NAMED])}."
