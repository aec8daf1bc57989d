"""What commands print: results on stdout, all else on stderr."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from rich.table import Table
from rich.text import Text

from semblance.data.samples import Skipped
from semblance.report.tables import Cells
from semblance.runtime.terminal import console
from semblance.shown import shown, shown_lines


def say(text: str, *, result: bool = False) -> None:
    """A line that is not wrapped, so that paths in it can be copied."""
    console(stderr=not result).print(shown_lines(text), soft_wrap=True)


def status(what: str, visible: bool = True) -> AbstractContextManager:
    """A turning wheel while something lasts; a line where no wheel can turn."""
    terminal = console(stderr=True)
    if visible and not terminal.is_terminal:
        say(f"{what} ...")
    return terminal.status(Text(shown(what))) if visible else nullcontext()


def print_tables(tables: Iterable[Cells], title: str) -> None:
    """Tables on stdout, the first under a title."""
    for headings, rows in tables:
        table = Table(*map(shown, headings), title=shown(title))
        for row in rows:
            table.add_row(*map(shown, row))
        console().print(table)
        title = ""


def print_skipped(skipped: Skipped) -> None:
    """Name the files that could not be read."""
    if skipped:
        named = [f"  {shown(name)}: {shown(why)}" for name, why in skipped]
        say("\n".join([f"{len(skipped)} unreadable files were skipped:", *named]), result=True)
