"""What tests of the report share: a run's numbers, the page that is written of them, and a reader of pages."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from semblance.report.gallery import Gallery
from semblance.report.page import write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}
NAMES = ["<script>alert(1)</script>", "one", "two & more", *"3456789"]


class Page(HTMLParser):
    """Reads a page, insists that every element is closed in order, and keeps tags and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str, **attributes: str) -> int:
        return sum(tag == t and attributes.items() <= found.items() for t, found in self.tags)


def digits(count: int = 120) -> Gallery:
    data = load_digits()
    pictures = torch.from_numpy(data.images[:count] * 15.9).to(torch.uint8)
    pictures = pictures.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].repeat(1, 3, 1, 1)
    features = torch.from_numpy(PCA(20, random_state=0).fit_transform(data.data)[:count]).float()
    return Gallery(pictures, features, torch.from_numpy(data.target[:count]), NAMES)


def lines(count: int) -> list[dict[str, Any]]:
    logged: list[dict[str, Any]] = [
        {"step": s, "epoch": s / 50, "loss": 6.2 - s / count, "lr": 0.1, "samples_per_second": 900.0, "grad_norm": 2.0}
        for s in range(1, count + 1)
    ]
    return logged + [{"step": s, "epoch": s / 50, "knn_top1": 0.3 + 0.4 * s / count} for s in (1, count)]


SUMMARY = {
    "method": "simclr",
    "family": "contrastive",
    "paper": "Chen et al. 2020",
    "data": "digits",
    "backbone": "resnet18",
    "test_images": 10000,
    "table": [
        {"encoder": "raw pixels", "knn_top1": 0.2, "linear_top1": 0.3, "linear_mean_per_class": 0.29},
        {"encoder": "untrained backbone", "knn_top1": 0.25, "linear_top1": 0.411, "linear_mean_per_class": None},
        {"encoder": "trained backbone", "knn_top1": 0.6, "linear_top1": 0.712, "linear_mean_per_class": 0.7},
    ],
    "samples_per_second": 1234.5,
    "training_seconds": 8043.0,
    "skipped": [[f"picture_{number}.jpg", "cut short"] for number in range(25)],
    "peak_memory_gb": 7.25,
}
CONSTANTS = {"ln(2N-1): all embeddings equal": 6.236, "0: perfect": 0.0, "a $name$ <of> note": 6.236}


def report(folder: Path, **changes: Any) -> str:
    inputs: dict[str, Any] = {
        "config": {"method": {"name": "simclr", "temperature": 0.5}, "seed": 3},
        "metrics": lines(300),
        "summary": SUMMARY,
        "constants": CONSTANTS,
        "views": torch.randint(256, (4, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
        "gallery": digits(),
    }
    write_report(folder / "report.html", **(inputs | changes))
    return (folder / "report.html").read_text(encoding="utf-8")
