"""The results of a run on clips: retrieval, probes, mined positives, both backbones, the summary, the report."""

import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from .. import data as sources
from ..config import TrainConfig
from ..data.clips import ClipSource
from ..errors import UserError
from ..evaluation.clips import Embedded, embed_clips, raw_input, sound_statistics
from ..evaluation.linear import linear_probe
from ..evaluation.retrieval import chance, retrieval
from ..evaluation.table import print_skipped
from ..nets.export import save_audio_backbone, save_video_backbone
from ..report.clips import clip_report
from ..systems.agreement import AGREEMENTS, mine, purity
from ..systems.contrastive.avid import AVID
from .folder import RunFolder
from .loop import Trained
from .results import status

LRS = (1.0, 10.0, 100.0)  # of the linear probes: there are many, and their features are wide
WATCHED = 500  # held-out clips that are looked at during training, at most


def load(config: TrainConfig) -> ClipSource:
    return sources.load_clips(config.data, config.video, config.sound)


def check(source: ClipSource, config: TrainConfig) -> None:
    if len(source.train) < config.batch_size:
        raise UserError(
            f"{source.train.name} has {len(source.train)} clips to train on, fewer than a batch of "
            f"{config.batch_size}. Give more clips, or --batch-size {max(2, len(source.train) // 4)}."
        )


def prepare(method: AVID, source: ClipSource, config: TrainConfig) -> None:
    """Tell the audio backbone what sounds of this set are like on average."""
    mean, std = sound_statistics(source.train, config)
    standardise = method.audio_backbone.get_submodule("standardise")
    standardise.get_buffer("mean").copy_(mean)
    standardise.get_buffer("std").copy_(std)


def watch(method: AVID, source: ClipSource, config: TrainConfig) -> dict[str, float]:
    """Numbers to log now and then: retrieval among held-out clips."""
    clips = source.test.subset(torch.arange(min(WATCHED, len(source.test))))
    seen = embed_clips(method, clips, config, places=(0.5,)).embeddings
    return {f"{way}_r1": found["r1"] for way, found in retrieval(seen["video"], seen["audio"]).items()}


def baseline(method: AVID, source: ClipSource, config: TrainConfig) -> dict[str, Any]:
    """The row of the networks before training."""
    return row(
        "untrained networks" if config.from_run is None else "networks it began with",
        *embed_parts(method, source, config),
        source,
    )


def finish(
    method: AVID, source: ClipSource, config: TrainConfig, folder: RunFolder, trained: Trained,
    untrained: dict[str, Any] | None, started: float, *, leader: bool,
) -> dict[str, Any]:  # fmt: skip
    """Measure what was learnt, on all ranks; the leader leaves both backbones, summary.json and report.html."""
    save_video_backbone(folder.path / "video_backbone.safetensors", method.backbone, config)
    save_audio_backbone(folder.path / "audio_backbone.safetensors", method.audio_backbone, config)
    with status("Measuring retrieval and probes", leader):
        train, test = embed_parts(method, source, config)
        table = []
        if source.train.attributes:
            raw_train, raw_test = (Embedded({}, raw_input(clips, config)) for clips in (source.train, source.test))
            table.append(row("raw input", raw_train, raw_test, source))
        if untrained is not None:
            table.append(untrained)
        table.append(row("trained networks", train, test, source))
    cls = type(method)
    found = retrieval(test.embeddings["video"], test.embeddings["audio"])
    summary: dict[str, Any] = {
        "method": config.method, "title": cls.title, "family": cls.family, "paper": cls.paper, "data": config.data,
        "backbone": f"{config.backbone} and {config.audio_backbone}", "train_clips": len(source.train),
        "test_clips": len(source.test), "steps": trained.step,
        "retrieval": found | {"chance": chance(len(source.test))}, "table": table,
        "positives": _purity(method, source),
        "samples_per_second": trained.step * config.batch_size / max(trained.seconds, 1e-9),
        "training_seconds": trained.seconds, "skipped": source.skipped,
    } | {f"{way}_r1": numbers["r1"] for way, numbers in found.items()}  # fmt: skip
    if leader:
        with status("Drawing the report", leader):
            clip_report(folder, config, summary, method, source, test)
    summary["seconds"] = time.perf_counter() - started
    if leader:
        folder.write(folder.summary, summary)
        _print(summary, folder)
    return summary


def embed_parts(method: AVID, source: ClipSource, config: TrainConfig) -> tuple[Embedded, Embedded]:
    """Of training and held-out clips; the former serve the probes, and are left alone where nothing is labelled."""
    train = embed_clips(method, source.train, config) if source.train.attributes else Embedded({}, {})
    return train, embed_clips(method, source.test, config)


def row(encoder: str, train: Embedded, test: Embedded, source: ClipSource) -> dict[str, Any]:
    """One line of the table: a linear probe of each modality's features for each attribute, and retrieval at rank 1."""
    line: dict[str, Any] = {"encoder": encoder}
    if test.embeddings:
        found = retrieval(test.embeddings["video"], test.embeddings["audio"])
        line |= {f"{way}_r1": numbers["r1"] for way, numbers in found.items()}
    for name, known in source.train.attributes.items():
        for modality in ("video", "audio"):
            truth = source.test.attributes[name].values
            probe = linear_probe(
                train.features[modality], known.values, test.features[modality], truth, classes=len(known.classes),
                lrs=LRS, weight_decays=(0.0,),
            )  # fmt: skip
            line[f"{name}_from_{modality}"] = probe.top1
    return line


def _purity(method: AVID, source: ClipSource) -> dict[str, dict[str, float]]:
    """Of each attribute, the share of positives with the same label, by agreement, and that of clips at random."""
    if not source.train.attributes:
        return {}
    rows = method.video_bank.rows, method.audio_bank.rows
    count = min(int(getattr(method, "positives", 8)), len(source.train) - 2)
    sets = {agreement: mine(*rows, count, agreement).cpu() for agreement in AGREEMENTS}
    shares: dict[str, dict[str, float]] = {}
    for name, known in source.train.attributes.items():
        found = {agreement: purity(positives, known.values) for agreement, positives in sets.items()}
        shares[name] = {agreement: share for agreement, (share, _) in found.items()} | {
            "chance": found["consensus"][1], "count": count
        }  # fmt: skip
    return shares


def print_clips(found: dict[str, Any], table: list[dict[str, Any]], positives: dict[str, Any], test_clips: int) -> None:
    """Retrieval, probes and mined positives as a person wants to see them."""
    out = Console()
    shown = Table("retrieval", "R@1 %", "R@5 %", "R@10 %", "median rank", title=f"{test_clips:,} held-out clips")
    for way, numbers in found.items():
        recalls = [f"{100 * numbers[f'r{k}']:.1f}" for k in (1, 5, 10)]
        shown.add_row(way.replace("_", " "), *recalls, f"{numbers['median_rank']:g}")
    out.print(shown)
    names = list(dict.fromkeys(key for line in table for key in line if "_from_" in key))
    if names:
        probes = Table("linear probe, %", *(line["encoder"] for line in table))
        for name in names:
            probes.add_row(name.replace("_", " "), *(f"{100 * line[name]:.1f}" for line in table))
        out.print(probes)
    if positives:
        kinds = [*AGREEMENTS, "chance"]
        pure = Table("same label among positives, %", *kinds)
        for name, shares in positives.items():
            pure.add_row(name, *(f"{100 * shares[kind]:.1f}" for kind in kinds))
        out.print(pure)


def _print(summary: dict[str, Any], folder: RunFolder) -> None:
    print_clips(summary["retrieval"], summary["table"], summary["positives"], summary["test_clips"])
    print_skipped(summary["skipped"])
    Console().print(
        f"{summary['samples_per_second']:,.0f} clips/s; {summary['seconds']:.0f} s in all. Look at {folder.report}; "
        f"the backbones are video_backbone.safetensors and audio_backbone.safetensors beside it.",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
