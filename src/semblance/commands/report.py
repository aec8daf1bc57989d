"""`semblance report`: the page of a run, drawn from its last checkpoint, finished or stopped."""

from pathlib import Path
from typing import Any

from semblance.commands import begin
from semblance.commands.doctor import tell
from semblance.commands.evaluate import first_row_of, note_where_it_stands
from semblance.commands.finish import conclude, draw, measured_summary
from semblance.commands.handed_out import HandedOut
from semblance.commands.measure import measurable
from semblance.commands.opened import Opened
from semblance.commands.printing import print_skipped, say
from semblance.engine.loop import Trained, run_length
from semblance.errors import UserError
from semblance.runs import checkpoint
from semblance.runtime.memory import told_when_short
from semblance.shown import shown


@told_when_short()
def report(run: str, data: str | None = None) -> Path:
    """Draw report.html of a run anew, or for the first time; what is measured for it is kept in summary.json, and
    returned by `evaluate` too."""
    opened = Opened.of(run, data=data, moved=True)
    modality, folder = opened.modality, opened.folder
    if folder is None or not opened.state:
        raise UserError(f"{shown(run)} has no checkpoint to draw a report from.")
    source = begin.load(modality, opened.config)
    if not opened.is_own(source.train):
        raise UserError(
            f"The samples of {shown(source.train.name)} are not those that {shown(run)} was trained on: name those "
            "with --data."
        )
    method = opened.method(source.train)
    config = opened.config
    note_where_it_stands(opened, source)
    _, total = run_length(config, len(source.train))
    _, seconds = checkpoint.progress(opened.state, folder.checkpoint)
    trained = Trained(opened.step, total, seconds)
    measured = source.sampled(config.eval_samples)
    summary: dict[str, Any] = folder.read_summary()
    seen = any(row.get("label_free") for row in summary.get("table", []))
    if summary.get("steps") == opened.step and seen:
        summary["total_steps"] = total  # it may have been prolonged since
        parts = modality.embed(method, measured, config) if measurable(source, modality) else None
    else:
        first = first_row_of(opened, source)
        earlier = opened.earlier
        handed = HandedOut("last", opened.step) if earlier is None else HandedOut.kept(earlier)
        summary, parts = measured_summary(method, source, config, modality, trained, first, handed)
    found = conclude(method, config, folder, summary)
    folder.write(folder.summary, summary)
    draw(method, source, config, modality, folder, summary, parts)
    tell(found)
    for note in [*source.notes, *opened.notes]:
        say(note)
    print_skipped(source.skipped)
    say(f"Look at {shown(folder.report)}.", result=True)
    return folder.report
