"""Clips: a backbone that sees and one that hears; retrieval between the two, and a linear probe of each per label."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semblance.data import Clips, Source, find_files, load_clips, named_data
from semblance.data.sources.clip_files import is_media
from semblance.errors import UserError
from semblance.evaluation.clip_features import (
    backbone_features,
    embed_clips,
    raw_input,
    sound_statistics,
    view_features,
)
from semblance.evaluation.labelled_sounds import is_sound
from semblance.evaluation.retrieval import chance, retrieval
from semblance.evaluation.table import Embedded, Labelled
from semblance.modalities.build import build
from semblance.modalities.clip_page import clip_page, gallery, sheet, usage
from semblance.modalities.labelled_sounds import evaluate_on_sounds
from semblance.modalities.modality import Evaluation, Figures, Modality, Parts
from semblance.nets.audio import audio_backbone
from semblance.nets.video import check_windows, video_backbone
from semblance.report.tables import Cells, of_measures
from semblance.runs import weights
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.systems.agreement import AGREEMENTS, mine, purity
from semblance.systems.clip_method import ClipMethod
from semblance.views.view import MEAN, STD

LRS = (1.0, 10.0, 100.0)  # of the linear probes: there are many, and their features are wide
WATCHED = 500  # held-out clips that are looked at during training, at most


class ClipModality:
    """Videos with sound, or pictures with a sound each."""

    samples, key = "clips", "clips"
    encoders = ("raw input", "untrained networks", "trained networks")

    def load(self, config: TrainConfig) -> Source[Clips]:
        return load_clips(
            config.data, config.video, config.sound,
            unlabelled=config.unlabelled, labels=config.labels, split=config.split,
        )  # fmt: skip

    def networks(self, config: TrainConfig) -> list[nn.Module]:
        if config.audio_backbone is None:
            raise UserError(f"{config.method} hears as well: give it an --audio-backbone, e.g. conv2d-10.")
        clip, size, sound = config.video, config.image_size, config.sound
        video, audio = video_backbone(config.backbone), audio_backbone(config.audio_backbone, sound.bins)
        check_windows(video, config.backbone, 3, clip.frames, size, size)
        check_windows(audio, config.audio_backbone, 1, sound.samples // sound.hop, sound.bins)
        return [video, audio]

    def prepare(self, method: ClipMethod, source: Source[Clips], config: TrainConfig) -> None:
        """Tell the audio backbone what sounds of this set are like on average."""
        mean, std = sound_statistics(source.train, config)
        standardise = method.audio_backbone.get_submodule("standardise")
        standardise.get_buffer("mean").copy_(mean)
        standardise.get_buffer("std").copy_(std)

    def measurable(self, source: Source[Clips]) -> bool:
        return True  # that a clip finds its own sound needs no labels

    def embed(self, method: ClipMethod, source: Source[Clips], config: TrainConfig) -> Parts:
        """Training clips serve the probes, and are left alone where nothing is labelled."""
        train = embed_clips(method, source.train, config) if source.attributes else Embedded()
        return train, embed_clips(method, source.held_out, config)

    def raw(self, source: Source[Clips], config: TrainConfig) -> Parts | None:
        if not source.attributes:
            return None
        return Embedded(raw_input(source.train, config)), Embedded(raw_input(source.held_out, config))

    def views_of(self, method: ClipMethod | None, samples: Clips, config: TrainConfig, count: int) -> dict[str, Tensor]:
        return {} if method is None else view_features(method, samples, config, count)

    def telling(self, samples: Clips) -> float:
        return 1.0

    def measure(self, parts: Parts, source: Source[Clips], config: TrainConfig) -> dict[str, Any]:
        """Retrieval at rank 1 both ways, and a linear probe of each stream's features for each attribute."""
        train, test = parts
        found = _retrieval(test) if test.embeddings else {}
        measures: dict[str, Any] = {f"{way}_r1": numbers["r1"] for way, numbers in found.items()}
        for name in source.attributes:
            for stream in train.features:
                rows = Labelled.of(train.features[stream], test.features[stream], source, name)
                measures[f"{name}_from_{stream}"] = rows.linear(lrs=LRS, weight_decays=(0.0,)).top1
        return measures

    def watch(self, method: ClipMethod, source: Source[Clips], config: TrainConfig) -> dict[str, float]:
        clips = source.held_out.subset(torch.arange(min(WATCHED, len(source.held_out))))
        found = _retrieval(embed_clips(method, clips, config, places=(0.5,)))
        return {f"{way}_r1": numbers["r1"] for way, numbers in found.items()}

    def numbers(
        self, method: ClipMethod, source: Source[Clips], config: TrainConfig, table: list[dict[str, Any]],
        parts: Parts | None,
    ) -> dict[str, Any]:  # fmt: skip
        if parts is None:
            return {}
        found = _retrieval(parts[1])
        return {
            "retrieval": found | {"chance": chance(len(parts[1].embeddings["video"]))},
            "positives": _purity(method, source),
        } | {f"{way}_r1": numbers["r1"] for way, numbers in found.items()}

    def tables(self, summary: dict[str, Any]) -> list[Cells]:
        return _tables(summary["retrieval"], summary["table"], summary["positives"]) if "retrieval" in summary else []

    def save(self, folder: RunFolder, method: ClipMethod, source: Source[Clips], config: TrainConfig) -> None:
        about = {"video_backbone": config.backbone, "image_size": config.image_size, "mean": MEAN, "std": STD}
        about |= {"frames": config.video.frames, "fps": config.video.fps, "canvas": source.train.canvas}
        weights.save(folder.path / "video_backbone.safetensors", method.backbone, about)
        sound = {"audio_backbone": config.audio_backbone, "sound": vars(config.sound)}
        weights.save(folder.path / "audio_backbone.safetensors", method.audio_backbone, sound)

    def show(
        self, method: ClipMethod, source: Source[Clips], config: TrainConfig, parts: Parts | None,
        summary: dict[str, Any],
    ) -> Figures:  # fmt: skip
        views = sheet(config, source.train)
        if parts is None:
            return Figures(views=views, usage=usage(config))
        held_out = source.sampled(config.eval_samples).held_out
        shown = gallery(held_out, parts[1])
        page = clip_page(summary, method, source.train, held_out, parts[1])  # on all ranks: mining gathers from them
        return Figures(shown, views, clips=page, usage=usage(config))

    def otherwise(self, method: ClipMethod, config: TrainConfig) -> Evaluation | None:
        """Of a folder of sounds, the untrained and the trained audio backbone."""
        given = named_data(config.data)
        files = find_files(Path(os.path.expanduser(given)), is_media) if isinstance(given, str | os.PathLike) else None
        if files is None or not files.items or not all(is_sound(str(item)) for item in files.items):
            return None
        return evaluate_on_sounds(method, files, config, lambda: build(config, self))

    def features(
        self, method: ClipMethod, source: Source[Clips], config: TrainConfig
    ) -> tuple[dict[str, Tensor], list[Clips]]:
        parts = [part for part in (source.train, source.test) if part is not None]
        found = [backbone_features(method.backbone, method.audio_backbone, part, config) for part in parts]
        return {kind: torch.cat([f[kind] for f in found]) for kind in ("video", "audio")}, parts


def _retrieval(embedded: Embedded) -> dict[str, dict[str, float]]:
    return retrieval(embedded.embeddings["video"], embedded.embeddings["audio"])


def _purity(method: ClipMethod, source: Source[Clips]) -> dict[str, dict[str, float]]:
    """Of each attribute, the share of positives with the same label, by agreement, and that of clips at random."""
    if not source.attributes or method.banks is None:
        return {}
    count = min(method.positives, len(source.train) - 2)
    sets = {agreement: mine(*method.banks, count, agreement).cpu() for agreement in AGREEMENTS}
    shares: dict[str, dict[str, float]] = {}
    for name in source.attributes:
        labels = source.train.attributes[name].values
        found = {agreement: purity(positives, labels) for agreement, positives in sets.items()}
        shares[name] = {agreement: share for agreement, (share, _) in found.items()} | {
            "chance": found["consensus"][1],
            "count": count,
        }
    return shares


def _tables(found: dict[str, Any], table: list[dict[str, Any]], positives: dict[str, Any]) -> list[Cells]:
    """Retrieval, probes and mined positives as a person wants to see them."""
    ways = [
        [way.replace("_", " "), *(f"{100 * numbers[f'r{k}']:.1f}" for k in (1, 5, 10)), f"{numbers['median_rank']:g}"]
        for way, numbers in found.items()
    ]
    shown: list[Cells] = [(["retrieval", "R@1 %", "R@5 %", "R@10 %", "median rank"], ways)]
    if names := [name for name in table[0] if "_from_" in name]:
        shown.append(of_measures(table, names, "linear probe"))
    if positives:
        kinds = [*AGREEMENTS, "chance"]
        rows = [[name, *(f"{100 * shares[kind]:.1f}" for kind in kinds)] for name, shares in positives.items()]
        shown.append((["same label among positives, %", *kinds], rows))
    return shown


MODALITY: Modality = ClipModality()
