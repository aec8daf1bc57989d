"""A third modality as somebody else would bring it, all in one file: waves of two pitches, and a method on them."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from semblance.data import Source
from semblance.data.samples import Attribute, Skipped
from semblance.evaluation.table import Embedded, Labelled
from semblance.losses import nt_xent
from semblance.modalities.modality import Evaluation, Figures
from semblance.report.tables import of_measures
from semblance.runs import weights
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime import random
from semblance.systems import Method, Recipe

LENGTH = 64


@dataclass
class Waves:
    """Waveforms float32 (N, LENGTH)."""

    waves: Tensor
    attributes: dict[str, Attribute]
    name: str = "waves"
    canvas: None = None
    at_hand: bool = True
    skipped: Skipped = field(default_factory=list)

    @property
    def items(self) -> range:
        return range(len(self.waves))

    @property
    def readable(self) -> Tensor:
        return torch.arange(len(self.waves))

    def __len__(self) -> int:
        return len(self.waves)

    def fingerprint(self) -> str:
        return f"{float(self.waves.sum()):.6f}"

    def read(self, index: Any, key: int | None = None) -> tuple[Tensor]:
        return (self.waves[torch.as_tensor(index)],)

    def subset(self, index: Any) -> "Waves":
        chosen = {name: Attribute(a.values[index], a.classes) for name, a in self.attributes.items()}
        return replace(self, waves=self.waves[index], attributes=chosen)


@dataclass(frozen=True)
class Shifted:
    """A wave, shifted in time and made louder or softer."""

    length: int
    louder: float = 0.5
    count: int = 2

    def scaled(self, ratio: float) -> "Shifted":
        return replace(self, length=round(self.length * ratio))

    def make(self, raw: Any, index: Tensor, key: int | Tensor) -> Tensor:
        u = random.uniform(random.key(key, "shift"), index, 2)
        rolled = torch.stack([w.roll(int(s * LENGTH)) for w, s in zip(raw[0], u[:, 0], strict=True)])
        return rolled * (1 + self.louder * (u[:, 1:] - 0.5))


class Encoder(nn.Sequential):
    """Waves (N, LENGTH) to features (N, 16): the sizes of their frequencies."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__(nn.Linear(LENGTH // 2 + 1, 32), nn.ReLU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.fft.rfft(x).abs())


weights.KINDS["wave_backbone"] = lambda about: Encoder()


class Sequences:
    samples, key = "waves", "waves"
    encoders = ("raw waves", "untrained encoder", "trained encoder")

    def load(self, config: TrainConfig) -> Source[Waves]:
        def part(n: int, seed: int) -> Waves:
            g = torch.Generator().manual_seed(seed)
            pitch = torch.randint(0, 2, (n,), generator=g)
            phase = torch.rand(n, 1, generator=g) * 6.28
            time = torch.arange(LENGTH) / LENGTH * 6.28
            return Waves(
                torch.sin(time * (3 + 4 * pitch[:, None]) + phase), {"pitch": Attribute(pitch, ["low", "high"])}
            )

        return Source(part(64, 0), part(16, 1), [f"{config.data} is drawn here."])

    def networks(self, config: TrainConfig) -> list[nn.Module]:
        return [Encoder()]

    def prepare(self, method: Method, source: Source, config: TrainConfig) -> None:
        pass

    def measurable(self, source: Source) -> bool:
        return True

    @torch.no_grad()
    def _features(self, network: nn.Module, source: Source) -> tuple[Embedded, Embedded]:
        train, test = (Embedded({"waves": network(part.waves)}) for part in (source.train, source.test))
        return train, test

    def embed(self, method: Method, source: Source, config: TrainConfig) -> tuple[Embedded, Embedded]:
        return self._features(method.backbone, source)

    def raw(self, source: Source, config: TrainConfig | None) -> tuple[Embedded, Embedded]:
        return self._features(nn.Identity(), source)

    def views_of(self, method: Any, samples: Waves, config: TrainConfig, count: int) -> dict[str, Tensor]:
        return {}

    def telling(self, samples: Waves) -> float:
        return 1.0

    def measure(self, parts: tuple[Embedded, Embedded], source: Source, config: Any) -> dict[str, Any]:
        rows = Labelled.of(parts[0].features["waves"], parts[1].features["waves"], source, "pitch")
        return {"pitch_top1": rows.knn_top1()}

    def watch(self, method: Method, source: Source, config: TrainConfig) -> dict[str, float]:
        return self.measure(self.embed(method, source, config), source, config)

    def numbers(self, method: Method, source: Source, config: Any, table: list, parts: Any) -> dict[str, Any]:
        return {"pitch_top1": table[-1]["pitch_top1"]}

    def tables(self, summary: dict[str, Any]) -> list:
        return [of_measures(summary["table"], ["pitch_top1"])]

    def save(self, folder: RunFolder, method: Method, source: Source, config: TrainConfig) -> None:
        weights.save(folder.backbone, method.backbone, {"wave_backbone": config.backbone})

    def show(self, method: Method, source: Source, config: TrainConfig, parts: Any, summary: dict) -> Figures:
        return Figures(last={"pitch_top1": summary["pitch_top1"]})

    def otherwise(self, method: Method, config: TrainConfig) -> Evaluation | None:
        return None

    def features(self, method: Method, source: Source, config: TrainConfig) -> tuple[dict[str, Tensor], list]:
        parts = self.embed(method, source, config)
        return {"features": torch.cat([part.features["waves"] for part in parts])}, [source.train, source.test]


class WaveCLR(Method):
    """SimCLR on waves."""

    family, title, paper, equation, picture = "contrastive", "WaveCLR", "nobody 2026", "NT-Xent", "wave"
    guards = {"negatives": "the other waves repel"}
    modality, streams, example = Sequences(), ("waves",), "sines"
    recipes = {
        "quick": Recipe(
            backbone="encoder", image_size=LENGTH, views=(Shifted(LENGTH),), batch_size=16, epochs=4, optimizer="sgd",
            lr=0.1, weight_decay=0.0,
        )
    }  # fmt: skip

    def __init__(self, backbone: nn.Module, without: Collection[str] = (), *, temperature: float = 0.2) -> None:
        super().__init__(backbone, without)
        self.temperature = temperature

    def embed(self, views: list[Tensor]) -> dict[str, Tensor]:
        return {"z1": self.backbone(views[0]), "z2": self.backbone(views[1])}

    def objective(self, z: dict[str, Tensor], index: Tensor, clock: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return nt_xent(z["z1"], z["z2"], self.temperature), {}
