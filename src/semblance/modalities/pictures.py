"""Pictures: one backbone, kNN and a linear probe beside raw pixels."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.data import Images, Source, load
from semblance.data.samples import Samples
from semblance.errors import UserError
from semblance.evaluation.picture_features import features, raw_pixels
from semblance.evaluation.table import Embedded, Labelled
from semblance.modalities.modality import Evaluation, Figures, Modality, Parts
from semblance.nets.backbones import backbone, check_sizes
from semblance.report.gallery import Gallery
from semblance.report.tables import Cells, of_measures
from semblance.runs import weights
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime.fsdp import check_shardable
from semblance.runtime.precision import choose_precision
from semblance.systems import Method
from semblance.views.view import MEAN, STD, make_views

SHOWN = 2000  # held-out pictures in the report, at most
SHEET = 8  # pictures on the sheet of views


class Pictures:
    """Pictures in folders, tars, arrays or named sets."""

    samples, key = "pictures", "images"
    encoders = ("raw pixels", "untrained backbone", "trained backbone")

    def load(self, config: TrainConfig) -> Source[Images]:
        return load(config.data, image_size=config.load_size, data_root=config.data_root, download=config.download)

    def networks(self, config: TrainConfig) -> list[nn.Module]:
        network = backbone(config.backbone)
        if config.shard:
            check_shardable(network, config.backbone)
        check_sizes(network, config.backbone, [config.image_size, *(view.size for view in config.pictures)])
        return [network]

    def prepare(self, method: Method, source: Source[Images], config: TrainConfig) -> None:
        """Backbones of pictures need to know nothing of the set."""

    def measurable(self, source: Source[Images]) -> bool:
        return bool(source.attributes)

    def embed(self, method: Method, source: Source[Images], config: TrainConfig) -> Parts:
        return _parts(_features(method.backbone, part, config) for part in (source.train, source.held_out))

    def raw(self, source: Source[Images], config: TrainConfig) -> Parts:
        return _parts(raw_pixels(source.train, source.held_out, workers=config.workers))

    def measure(self, parts: Parts, source: Source[Images]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in source.attributes:
            rows = Labelled.of(parts[0].features["pictures"], parts[1].features["pictures"], source, name)
            probe, of = rows.linear(), "" if name == "class" else f"{name}_"
            found |= {
                f"{of}knn_top1": rows.knn_top1(),
                f"{of}linear_top1": probe.top1,
                f"{of}linear_mean_per_class": probe.mean_per_class,
                f"{of}probe": {"lr": probe.lr, "weight_decay": probe.weight_decay},
            }
        return found

    def watch(self, method: Method, source: Source[Images], config: TrainConfig) -> dict[str, float]:
        train, test = self.embed(method, source, config)
        name = source.attributes[0]
        return {"knn_top1": Labelled.of(train.features["pictures"], test.features["pictures"], source, name).knn_top1()}

    def numbers(
        self, method: Method, source: Source[Images], table: list[dict[str, Any]], parts: Parts | None
    ) -> dict[str, Any]:
        return {name: table[-1][name] for name in ("knn_top1", "linear_top1") if table and name in table[-1]}

    def tables(self, summary: dict[str, Any]) -> list[Cells]:
        table = summary["table"]
        return [of_measures(table, [name for name in table[0] if name.endswith("_top1")])] if table else []

    def save(self, folder: RunFolder, method: Method, config: TrainConfig) -> None:
        about = {"backbone": config.backbone, "image_size": config.image_size, "mean": MEAN, "std": STD}
        weights.save(folder.backbone, method.backbone, about)

    def show(
        self, method: Method, source: Source[Images], config: TrainConfig, parts: Parts | None, summary: dict[str, Any]
    ) -> Figures:
        pictures = source.held_out
        shown = pictures.subset(pictures.readable[:: -(-len(pictures) // SHOWN)])
        vectors = _features(method.backbone, shown, config)
        gallery = Gallery.of(shown, shown.read(range(len(shown)))[0], vectors)
        last = {"knn_top1": summary["knn_top1"]} if "knn_top1" in summary else {}
        return Figures(gallery, sheet(config, source.train), last)

    def evaluate(self, run: Path, data: str | None, data_root: str, download: bool) -> Evaluation:
        model, size, precision, source = _open(run, data, data_root, download)
        if not source.attributes:
            raise UserError(
                f"{source.train.name} has no labels to measure accuracy on. {' '.join([*source.notes, 'Put'])} the "
                "pictures of each class in a folder of its own, or name a labelled set, e.g. --data cifar10."
            )
        both = (source.train, source.held_out)
        seen = (features(model, part, size=size, precision=precision) for part in both)
        rows = [_parts(raw_pixels(*both)), _parts(seen)]
        names = (self.encoders[0], self.encoders[2])
        table = [{"encoder": name} | self.measure(parts, source) for name, parts in zip(names, rows, strict=True)]
        title = f"{len(source.held_out.readable):,} held-out pictures"
        return Evaluation(table, title, self.tables({"table": table}), source.notes, source.skipped)

    def features(self, run: Path, data: str, data_root: str, download: bool) -> tuple[dict[str, Tensor], list[Samples]]:
        model, size, precision, source = _open(run, data, data_root, download)
        parts = [part for part in (source.train, source.test) if part is not None]
        rows = [features(model, part, size=size, precision=precision) for part in parts]
        kept = [part.readable for part in parts]  # known once all have been tried
        found = torch.cat([r[k] for r, k in zip(rows, kept, strict=True)])
        return {"features": found}, [part.subset(k) for part, k in zip(parts, kept, strict=True)]


def _parts(features: Iterable[Tensor]) -> Parts:
    train, test = (Embedded({"pictures": rows}) for rows in features)
    return train, test


def _features(model: nn.Module, images: Images, config: TrainConfig) -> Tensor:
    return features(model, images, size=config.image_size, precision=config.precision, workers=config.workers)


def _open(run: Path, data: str | None, data_root: str, download: bool) -> tuple[nn.Module, int, str, Source[Images]]:
    """The backbone on the best device, its image size and precision, and the pictures."""
    model, about = weights.load_with_metadata(run)
    if "backbone" not in about:
        raise UserError(f"{run} is not a backbone of pictures: name the run's folder instead.")
    if data is None:
        config = TrainConfig.load(RunFolder(run if run.is_dir() else run.parent).config)
        data, data_root = config.data, config.data_root
    size = about["image_size"]
    source = load(data, image_size=size, data_root=data_root, download=download)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(device), size, choose_precision("auto", device), source


def sheet(config: TrainConfig, images: Images) -> Tensor:
    """A few pictures and their views of the first epoch: uint8 (n, 1 + V, 3, S, S), small crops on a grey ground."""
    index = torch.arange(min(SHEET, len(images)))
    pictures, sizes = images.read(index)
    views = make_views(config.views, (pictures, sizes), index, seed=config.seed, step=0)
    side = max(view.shape[-1] for view in views)
    mean, std = (torch.tensor(c)[:, None, None] for c in (MEAN, STD))
    cells = [F.interpolate(pictures / 255, (side, side), mode="bilinear", antialias=True)]
    for view in views:
        gap = side - view.shape[-1]
        cells.append(F.pad(view * std + mean, (gap // 2, gap - gap // 2) * 2, value=0.5))
    return (torch.stack(cells, 1).clamp(0, 1) * 255).round().to(torch.uint8)


MODALITY: Modality = Pictures()
