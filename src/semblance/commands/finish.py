"""The end of a run: backbones, table, summary, report."""

import time
from typing import Any

from semblance.commands.doctor import judge, tell
from semblance.commands.handed_out import HandedOut
from semblance.commands.measure import Row, extent, logged, table
from semblance.commands.printing import print_skipped, print_tables, say, status
from semblance.data import Source
from semblance.engine.loop import Trained
from semblance.evaluation.label_free.of_the_log import at_the_end
from semblance.evaluation.verdict import Verdict
from semblance.modalities.modality import Figures, Modality, Parts
from semblance.report.page import write_report
from semblance.report.tables import without_labels
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.shown import shown
from semblance.systems import Method


def finish(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, folder: RunFolder, trained: Trained,
    first: Row | None, handed: HandedOut, started: float, *, leader: bool, known: Row | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure what was learnt, on all ranks; the leader leaves summary.json and report.html.

    first: the row of the networks before training; None where nothing is measured. handed: what the method holds.
    known: accuracies of raw input.
    """
    modality.save(folder, method, source, config)
    summary, parts = measured_summary(
        method, source, config, modality, trained, first, handed, leader=leader, known=known
    )
    found = conclude(method, config, folder, summary)
    draw(method, source, config, modality, folder, summary, parts, leader=leader)
    summary["seconds"] = time.perf_counter() - started
    if leader:
        folder.write(folder.summary, summary)
        tell(found)
        title = extent(source, source.sampled(config.eval_samples), modality)
        print_tables(modality.tables(summary) or without_labels(summary["table"]), title)
        if "protocol" in summary:
            say(summary["protocol"], result=True)
        print_skipped(summary["skipped"])
        written = sorted(path.name for path in folder.path.glob("*backbone.safetensors"))
        what = f"the backbone{'s are' if len(written) > 1 else ' is'} {' and '.join(written)} beside it"
        speed = f"{summary['samples_per_second']:,.0f} {modality.samples}/s; {summary['seconds']:.0f} s in all"
        say(f"{speed}. Look at {shown(folder.report)}; {what}.", result=True)
    return summary


def measured_summary(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, trained: Trained, first: Row | None,
    handed: HandedOut, *, leader: bool = True, known: Row | None = None,
) -> tuple[dict[str, Any], Parts | None]:  # fmt: skip
    """What summary.json holds, and what the trained networks make of both parts; None where nothing is measured."""
    rows, parts = table(method, source, config, modality, first, handed.earlier, leader=leader, known=known)
    about = _described(method, source, config, modality, trained, handed)
    return about | {"table": rows} | modality.numbers(method, source, config, rows, parts), parts


def conclude(method: Method, config: TrainConfig, folder: RunFolder, summary: dict[str, Any]) -> Verdict:
    """The verdict, which is added to a summary beside what the log says of the end."""
    lines = folder.read_metrics()
    found = judge(folder, config, lines, summary, method.constants(config.batch_size))
    summary |= {"at_the_end": at_the_end(lines), "verdict": found.as_json()}
    return found


def conclude_diverged(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, folder: RunFolder, trained: Trained,
    first: Row,
) -> None:  # fmt: skip
    """Say that a run diverged, which has kept no network, and leave it in summary.json and a report: nothing can be
    measured any more."""
    handed = HandedOut("last", trained.step)
    summary = _described(method, source, config, modality, trained, handed) | {"table": [first]}
    found = judge(folder, config, folder.read_metrics(), summary, method.constants(config.batch_size))
    summary["verdict"] = found.as_json()
    _write_page(method, config, folder, summary, Figures(), [])
    folder.write(folder.summary, summary)
    tell(found)


def _described(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, trained: Trained, handed: HandedOut
) -> dict[str, Any]:
    """What was trained on what, and how long."""
    measured = source.sampled(config.eval_samples)
    cls, key, test = type(method), modality.key, source.test
    return {
        "method": config.method, "title": cls.title, "family": cls.family, "paper": cls.paper,
        "data": shown(config.data_in_words), "network": method.network, "without": config.without,
        "backbone": " and ".join(filter(None, (config.backbone, config.audio_backbone))),
        f"train_{key}": len(source.train.readable), f"test_{key}": len(test.readable) if test else 0,
        "measured": {"train": len(measured.train.readable), "test": len(measured.held_out.readable) if test else 0},
        "handed_out": handed.network, "handed_out_step": handed.step,
        "steps": trained.step, "total_steps": trained.total, "epochs": config.epochs, "max_steps": config.max_steps,
        "samples_per_second": trained.samples_per_second(config.batch_size),
        "training_seconds": trained.seconds, "skipped": [(shown(name), shown(why)) for name, why in source.skipped],
    }  # fmt: skip


def draw(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, folder: RunFolder,
    summary: dict[str, Any], parts: Parts | None, *, leader: bool = True,
) -> None:  # fmt: skip
    """Draw the report, on all ranks; the leader writes it."""
    with status("Drawing the report", leader):
        figures = modality.show(method, source, config, parts, summary)
        if leader:
            rows, earlier = summary["table"], summary.get("handed_out", "last") != "last"
            last = {"step": summary["steps"]} | (logged(rows[-1]) if rows else {}) | figures.last
            _write_page(method, config, folder, summary, figures, [] if earlier else [last])  # an earlier is in the log


def _write_page(
    method: Method, config: TrainConfig, folder: RunFolder, summary: dict[str, Any], figures: Figures,
    last: list[dict[str, Any]],
) -> None:  # fmt: skip
    """last: lines that the log lacks, of the networks that are handed out."""
    run = ["import semblance as sb", f"run = {str(folder.path.resolve())!r}"]
    write_report(
        folder.report,
        config=config.model_dump(),
        metrics=[*folder.read_metrics(), *last],
        summary=summary,
        constants=method.constants(config.batch_size),
        groups=method.group_count,
        views=figures.views,
        gallery=figures.gallery,
        clips=figures.clips,
        usage=[*run, *figures.usage] if figures.usage else [],
    )
