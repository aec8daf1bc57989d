"""What commands print: results on stdout, all else on stderr."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.table import Table

from semblance.data.samples import Skipped
from semblance.report.tables import Cells


def say(text: str, *, result: bool = False) -> None:
    """A line that is not wrapped, so that paths in it can be copied."""
    Console(stderr=not result).print(text, markup=False, highlight=False, soft_wrap=True)


def status(what: str, shown: bool = True) -> AbstractContextManager:
    """A turning wheel while something lasts; a line where no wheel can turn."""
    console = Console(stderr=True)
    if shown and not console.is_terminal:
        say(f"{what} ...")
    return console.status(what) if shown else nullcontext()


def print_tables(tables: Iterable[Cells], title: str) -> None:
    """Tables on stdout, the first under a title."""
    for headings, rows in tables:
        shown = Table(*headings, title=title)
        for row in rows:
            shown.add_row(*row)
        Console().print(shown)
        title = ""


def print_skipped(skipped: Skipped) -> None:
    """Name the files that could not be read."""
    if skipped:
        named = [f"  {name}: {why}" for name, why in skipped]
        say("\n".join([f"{len(skipped)} unreadable files were skipped:", *named]), result=True)
