"""What differs between kinds of samples, behind one protocol: loading, networks, measuring, showing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from semblance.data import Source
from semblance.data.samples import Skipped
from semblance.evaluation.table import Embedded
from semblance.report.gallery import Gallery
from semblance.report.tables import Cells
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder

Parts = tuple[Embedded, Embedded]  # of the samples to train on, and of the held-out ones


@dataclass
class Figures:
    """What the report of a run shows beside curves and tables.

    views: uint8 (n, 1 + V, 3, S, S), samples as they are and as the network sees them. last: measures of the end that
    belong on the curves. clips: a report.clips.ClipPage. usage: lines of Python that use the backbones of the folder
    `run`, `sb` being semblance.
    """

    gallery: Gallery | None = None
    views: Tensor | None = None
    last: dict[str, float] = field(default_factory=dict)
    clips: Any = None
    usage: Sequence[str] = ()


@dataclass
class Evaluation:
    """Rows, what they were measured on in words, the tables to be printed, unreadable files, how it was done, and how
    the data was understood."""

    table: list[dict[str, Any]]
    title: str
    printed: list[Cells]
    skipped: Skipped = field(default_factory=list)
    protocol: str = ""
    notes: list[str] = field(default_factory=list)


class Modality(Protocol):
    """A kind of samples. `embed`, `watch`, `save` and `show` are called on all ranks, which share their work. What is
    measured is `method.encoder`. Where not said otherwise, a source is what is measured on: Source.sampled.

    samples: what they are called, as in "1,000 held-out pictures". key: the same in summary.json, as in train_images.
    encoders: what the rows of a table are called: of raw input, before training, after it.
    """

    samples: str
    key: str
    encoders: tuple[str, str, str]

    def load(self, config: TrainConfig) -> Source[Any]:
        """The samples that a configuration names."""

    def networks(self, config: TrainConfig) -> list[nn.Module]:
        """The backbones that a method is given, with random weights."""

    def prepare(self, method: Any, source: Source[Any], config: TrainConfig) -> None:
        """Before the first step: tell the networks what they need to know of the set."""

    def measurable(self, source: Source[Any]) -> bool:
        """Whether there is anything to measure."""

    def embed(self, method: Any, source: Source[Any], config: TrainConfig) -> Parts:
        """What the networks make of both parts."""

    def raw(self, source: Source[Any], config: TrainConfig) -> Parts | None:
        """The raw input in the place of features; None where nothing is measured of it."""

    def views_of(self, method: Any, samples: Any, config: TrainConfig, count: int) -> dict[str, Tensor]:
        """Features of `count` views of every readable sample, by stream: float32 (N, count, D). method: None for the
        raw input, {} where nothing is said of it. Of two views, "between" may be what two streams make of a sample."""

    def telling(self, samples: Any) -> float:
        """The share of samples in which there is something that the others have not, in [0, 1]."""

    def measure(self, parts: Parts, source: Source[Any], config: TrainConfig) -> dict[str, Any]:
        """The measures of one row of the table."""

    def watch(self, method: Any, source: Source[Any], config: TrainConfig) -> dict[str, float]:
        """Numbers to log now and then."""

    def numbers(
        self, method: Any, source: Source[Any], config: TrainConfig, table: list[dict[str, Any]], parts: Parts | None
    ) -> dict[str, Any]:
        """What summary.json holds beside the table, "protocol", how that was measured, among it. source: all samples.
        parts: of the trained networks; None where nothing is measured."""

    def tables(self, summary: dict[str, Any]) -> list[Cells]:
        """What is printed of a summary, or of the table and the `numbers` of an evaluation."""

    def save(self, folder: RunFolder, method: Any, source: Source[Any], config: TrainConfig) -> None:
        """Write the backbones. source: all samples."""

    def show(
        self, method: Any, source: Source[Any], config: TrainConfig, parts: Parts | None, summary: dict[str, Any]
    ) -> Figures:
        """What the report shows of the samples; source: all of them."""

    def otherwise(self, method: Any, config: TrainConfig) -> Evaluation | None:
        """Trained networks, measured on data of another kind than they learnt from; None where it is of their kind."""

    def features(self, method: Any, source: Source[Any], config: TrainConfig) -> tuple[dict[str, Tensor], list[Any]]:
        """Features by trained backbones, (N, D) by name, and the parts of the data that they are of, one after the
        other, without what could not be read."""
