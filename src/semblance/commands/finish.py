"""The end of a run: backbones, table, summary, report."""

import time
from typing import Any

from semblance.commands.printing import print_skipped, print_tables, say, status
from semblance.data import Source
from semblance.engine.loop import Trained
from semblance.modalities.modality import Modality
from semblance.report.page import write_report
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.systems import Method


def finish(
    method: Method, source: Source[Any], config: TrainConfig, modality: Modality, folder: RunFolder, trained: Trained,
    untrained: dict[str, Any] | None, started: float, *, leader: bool,
) -> dict[str, Any]:  # fmt: skip
    """Measure what was learnt, on all ranks; the leader leaves summary.json and report.html.

    untrained: the row of the networks before training; None where nothing is measured.
    """
    modality.save(folder, method, config)
    table, parts = [], None
    if untrained is not None:
        with status(f"Measuring the {modality.encoders[2]}", leader):
            if (raw := modality.raw(source, config)) is not None:
                table.append({"encoder": modality.encoders[0]} | modality.measure(raw, source))
            parts = modality.embed(method, source, config)
            table += [untrained, {"encoder": modality.encoders[2]} | modality.measure(parts, source)]
    cls, key = type(method), modality.key
    summary: dict[str, Any] = {
        "method": config.method, "title": cls.title, "family": cls.family, "paper": cls.paper, "data": config.data,
        "backbone": " and ".join(filter(None, (config.backbone, config.audio_backbone))),
        f"train_{key}": len(source.train.readable), f"test_{key}": len(source.test.readable) if source.test else 0,
        "steps": trained.step, "epochs": config.epochs, "max_steps": config.max_steps, "table": table,
        "samples_per_second": trained.step * config.batch_size / max(trained.seconds, 1e-9),
        "training_seconds": trained.seconds, "skipped": source.skipped,
    } | modality.numbers(method, source, table, parts)  # fmt: skip
    with status("Drawing the report", leader):
        figures = modality.show(method, source, config, parts, summary)
        if leader:
            write_report(
                folder.report,
                config=config.model_dump(),
                metrics=[*folder.read_metrics(), {"step": trained.step} | figures.last],
                summary=summary,
                constants=method.constants(config.batch_size),
                views=figures.views,
                gallery=figures.gallery,
                clips=figures.clips,
            )
    summary["seconds"] = time.perf_counter() - started
    if leader:
        folder.write(folder.summary, summary)
        print_tables(modality.tables(summary), f"{summary[f'test_{key}']:,} held-out {modality.samples}")
        print_skipped(summary["skipped"])
        written = sorted(path.name for path in folder.path.glob("*backbone.safetensors"))
        what = f"the backbone{'s are' if len(written) > 1 else ' is'} {' and '.join(written)} beside it"
        speed = f"{summary['samples_per_second']:,.0f} {modality.samples}/s; {summary['seconds']:.0f} s in all"
        say(f"{speed}. Look at {folder.report}; {what}.", result=True)
    return summary
