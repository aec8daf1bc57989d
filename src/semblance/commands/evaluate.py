"""`semblance evaluate`: the table of a finished run."""

from pathlib import Path
from typing import Any

from semblance import modalities
from semblance.commands.printing import print_skipped, print_tables, say, status


def evaluate(run: str, *, data: str | None, data_root: str, download: bool) -> list[dict[str, Any]]:
    """The table of a backbone on labelled pictures, beside raw pixels; of a run on clips, or on labelled sounds."""
    modality = modalities.of_run(run)
    with status("Measuring"):
        found = modality.evaluate(Path(run), data, data_root, download)
    for note in found.notes:
        say(note)
    print_tables(found.printed, found.title)
    print_skipped(found.skipped)
    return found.table
