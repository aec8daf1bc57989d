"""Pictures: one backbone, kNN and a linear probe beside raw pixels."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.data import Images, Source, load
from semblance.data.pictures.crops import as_trained
from semblance.data.samples import Samples
from semblance.evaluation.gains import LEAVE_ONE_OUT
from semblance.evaluation.picture_features import features, raw_pixels, telling, view_features
from semblance.evaluation.table import TEMPERATURE, Embedded, Labelled, labelled, neighbours_of
from semblance.modalities.modality import Evaluation, Figures, Modality, Parts
from semblance.nets.backbones import backbone
from semblance.nets.trainable import check_sizes
from semblance.report.gallery import Gallery
from semblance.report.tables import Cells, of_measures
from semblance.runs import weights
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime import random
from semblance.runtime.fsdp import check_shardable
from semblance.shown import shown
from semblance.systems import Method
from semblance.views.view import MEAN, STD, make_views

SHOWN = 2000  # held-out pictures in the report, at most
SHEET = 8  # pictures on the sheet of views


class Pictures:
    """Pictures in folders, tars, arrays or named sets."""

    samples, key = "pictures", "images"
    encoders = ("raw pixels", "untrained backbone", "trained backbone")

    def load(self, config: TrainConfig) -> Source[Images]:
        return load(
            config.data, image_size=config.load_size, data_root=config.data_root, download=config.download,
            unlabelled=config.unlabelled, labels=config.labels, split=config.split,
            grey_levels=config.grey_levels, canvas=config.canvas,
        )  # fmt: skip

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
        return _parts(_features(method, part, config) for part in (source.train, source.held_out))

    def raw(self, source: Source[Images], config: TrainConfig) -> Parts:
        return _parts(raw_pixels(source.train, source.held_out, workers=config.workers))

    def views_of(self, method: Method | None, samples: Images, config: TrainConfig, count: int) -> dict[str, Tensor]:
        view = next((view for view in config.pictures if view.grid == 1), config.views[0])
        network = None if method is None else method.encoder
        found = view_features(network, samples, view, count, precision=config.precision, workers=config.workers)
        return {"pictures": found[samples.readable]}

    def telling(self, samples: Images) -> float:
        return telling(samples)

    def measure(self, parts: Parts, source: Source[Images], config: TrainConfig) -> dict[str, Any]:
        """Of each attribute, under its name, and of the first without it: the one that log and verdict speak of."""
        found: dict[str, Any] = {}
        for name in source.attributes:
            rows = Labelled.of(parts[0].features["pictures"], parts[1].features["pictures"], source, name)
            probe = rows.linear()
            measures = {
                "knn_top1": rows.knn_top1(config.knn_k, config.knn_temperature),
                "linear_top1": probe.top1,
                "linear_mean_per_class": probe.mean_per_class,
                "probe": {"lr": probe.lr, "weight_decay": probe.weight_decay},
            }
            found |= measures | _among_themselves(rows, config) if name == source.attributes[0] else {}
            found |= {} if name == "class" else {f"{name}_{measure}": value for measure, value in measures.items()}
        return found

    def watch(self, method: Method, source: Source[Images], config: TrainConfig) -> dict[str, float]:
        train, test = self.embed(method, source, config)
        rows = Labelled.of(train.features["pictures"], test.features["pictures"], source, source.attributes[0])
        return {"knn_top1": rows.knn_top1(config.knn_k, config.knn_temperature)} | _among_themselves(rows, config)

    def numbers(
        self, method: Method, source: Source[Images], config: TrainConfig, table: list[dict[str, Any]],
        parts: Parts | None,
    ) -> dict[str, Any]:  # fmt: skip
        if parts is None:
            return {}
        measured = source.sampled(config.eval_samples)
        of, held_out = (len(labelled(part, source.attributes[0])) for part in (measured.train, measured.held_out))
        k, temperature = min(config.knn_k or neighbours_of(of), of), config.knn_temperature or TEMPERATURE
        told = (
            f"kNN: the {k} nearest of {of:,} training pictures vote, temperature {temperature:g} (as published: 200 of "
            "all). Linear: softmax regression on standardised features of pictures (as published: of random crops)."
        )
        if source.attributes != ["class"]:
            told += f" The log, the curves and the comparison are of {shown(source.attributes[0])}."
        if held_out < len(measured.held_out.readable):
            told += f" {held_out:,} of the held-out pictures have a label."
        found = {"protocol": told, "measured": {"train": of, "test": held_out}}
        return found | {name: table[-1][name] for name in ("knn_top1", "linear_top1") if name in table[-1]}

    def tables(self, summary: dict[str, Any]) -> list[Cells]:
        table = summary["table"]
        names = [name for name in table[0] if name.endswith("_top1")] if table else []
        of_labels = [name for name in names if name not in ("knn_top1", "linear_top1")]
        return [of_measures(table, of_labels or names)] if names else []

    def save(self, folder: RunFolder, method: Method, source: Source[Images], config: TrainConfig) -> None:
        about = {name: getattr(config, name) for name in weights.SEEN} | {"mean": MEAN, "std": STD}
        about["canvas"] = source.train.canvas
        weights.save(folder.backbone, method.encoder, about | {"network": method.network})

    def show(
        self, method: Method, source: Source[Images], config: TrainConfig, parts: Parts | None, summary: dict[str, Any]
    ) -> Figures:
        pictures = source.held_out
        some = pictures.subset(pictures.readable[:: -(-len(pictures) // SHOWN)])
        vectors = _features(method, some, config)
        canvases, sizes = some.read(range(len(some)))
        gallery = Gallery.of(some, canvases, vectors, sizes, some.look if some.cut else None)
        return Figures(gallery, sheet(config, source.train), usage=usage())

    def otherwise(self, method: Method, config: TrainConfig) -> Evaluation | None:
        return None

    def features(
        self, method: Method, source: Source[Images], config: TrainConfig
    ) -> tuple[dict[str, Tensor], list[Samples]]:
        parts = [part for part in (source.train, source.test) if part is not None]
        rows = [_features(method, part, config) for part in parts]
        kept = [part.readable for part in parts]  # known once all have been tried
        found = torch.cat([r[k] for r, k in zip(rows, kept, strict=True)])
        return {"features": found}, [part.subset(k) for part, k in zip(parts, kept, strict=True)]


def _among_themselves(rows: Labelled, config: TrainConfig) -> dict[str, float]:
    """What a start that is not random is compared by: held-out samples are not to decide which network is kept."""
    if not config.began_with_weights:
        return {}
    return {LEAVE_ONE_OUT: rows.leave_one_out(config.knn_k, config.knn_temperature)}


def _parts(features: Iterable[Tensor]) -> Parts:
    train, test = (Embedded({"pictures": rows}) for rows in features)
    return train, test


def _features(method: Method, images: Images, config: TrainConfig) -> Tensor:
    return features(method.encoder, images, size=config.image_size, precision=config.precision, workers=config.workers)


def usage() -> list[str]:
    """Lines of Python that use the backbone of the folder `run` on a picture, seen as it is when it is measured."""
    return [
        "from PIL import Image",
        "",
        "backbone = sb.load_backbone(run)",
        'features = backbone(backbone.transform(Image.open("picture.jpg"))[None])',
    ]


def sheet(config: TrainConfig, images: Images) -> Tensor:
    """A few pictures and their views of the first epoch: uint8 (n, 1 + V, 3, S, S), small crops on a grey ground."""
    index = torch.arange(min(SHEET, len(images)))
    pictures, _ = images.read(index)
    raw = as_trained(images, config.views, config.crop_from).read(index, random.key(config.seed, "view", 0))
    views = make_views(config.views, raw, index, seed=config.seed, step=0)
    side = max(view.shape[-1] for view in views)
    mean, std = (torch.tensor(c)[:, None, None] for c in (MEAN, STD))
    cells = [F.interpolate(pictures / 255, (side, side), mode="bilinear", antialias=True)]
    for view in views:
        gap = side - view.shape[-1]
        cells.append(F.pad(view * std + mean, (gap // 2, gap - gap // 2) * 2, value=0.5))
    return (torch.stack(cells, 1).clamp(0, 1) * 255).round().to(torch.uint8)


MODALITY: Modality = Pictures()
