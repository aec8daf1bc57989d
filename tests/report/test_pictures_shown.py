"""Pictures on the page: of which file they are, how large they are, and what the page may weigh."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import Page, digits, report
from PIL import Image

from semblance.data import load
from semblance.report.gallery import Gallery


def noise(count: int, side: int, **more: Any) -> Gallery:
    """Pictures that compress as badly as any."""
    rng = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=rng)
    return Gallery(pictures, torch.randn(count, 8, generator=rng), **more)


def images(html: str, kind: str) -> list[Image.Image]:
    """The pictures of a card."""
    card = html[html.index(kind) :]
    found = re.findall(r'src="data:image/\w+;base64,([^"]*)"', card[: card.index("</section>")])
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


MAP, NEIGHBOURS = 'class="card map"', 'class="card neighbours'


def test_each_picture_says_its_file_and_opens_large(tmp_path: Path) -> None:
    gallery = digits(60)
    gallery.names = [f"some/folder/{number}.png" for number in range(60)]
    html = report(tmp_path, gallery=gallery)
    page = Page(html)
    opened = page.count("details", name="zoom")
    assert opened == page.count("summary", title=None) + len(
        re.findall(r'<summary title="[^"]*some/folder/\d+\.png', html)
    )
    assert opened == len(images(html, MAP)) + 12 * 9
    dots = re.findall(r"<circle[^>]*><title>([^<]*)</title>", html)
    assert len(dots) + len(images(html, MAP)) == 60 and all("some/folder/" in dot for dot in dots)
    assert set(re.findall(r"some/folder/(\d+)\.png", html[html.index(MAP) : html.index(NEIGHBOURS)])) == {
        str(number) for number in range(60)
    }


def test_rows_without_files_are_told_by_their_number_also_where_some_are_left_out(tmp_path: Path) -> None:
    gallery = digits(30)
    gallery.names = range(100, 130)
    gallery.features[0] = float("nan")
    text = " ".join(Page(report(tmp_path, gallery=gallery)).text.split())
    assert "no. 101" in text and "no. 129" in text and "no. 100" not in text and "no. 1 " not in text


def test_tiny_pictures_stay_as_they_are_and_are_not_blurred(tmp_path: Path) -> None:
    gallery = digits(60)
    html = report(tmp_path, gallery=gallery)
    for kind in (MAP, NEIGHBOURS):
        found = images(html, kind)
        assert {(image.format, image.size) for image in found} == {("PNG", (32, 32))}
    query = np.array(images(html, NEIGHBOURS)[0]).transpose(2, 0, 1)
    assert (gallery.pictures.numpy() == query).all(axis=(1, 2, 3)).any()
    assert 'class="card neighbours blocky"' in html and 'class="field blocky"' in html


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    for number in range(40):
        ramp = np.linspace(0, 255 - number, 400 * 300).reshape(300, 400)
        Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], 2).astype(np.uint8)).save(root / f"{number}.jpg")
    return root


def test_photographs_are_shown_from_their_files_in_their_shape(photographs: Path, tmp_path: Path) -> None:
    """Though the network sees them at 32 pixels, as squares."""
    samples = load(str(photographs), image_size=32).train
    canvases, sizes = samples.read(range(len(samples)))
    assert canvases.shape[-1] < 100
    gallery = Gallery.of(samples, canvases, torch.randn(len(samples), 8), sizes, samples.look)
    html = report(tmp_path, gallery=gallery)
    for kind in (MAP, NEIGHBOURS):
        assert {image.size for image in images(html, kind)} == {(256, 192)}
    assert "blocky" not in html[html.index(MAP) : html.index("How much it learned")]
    shown = np.array(images(html, NEIGHBOURS)[0].convert("RGB"), dtype=float)
    name = re.findall(r"<figcaption>(\d+)\.jpg", html)[0]
    true = Image.open(photographs / f"{name}.jpg").resize((256, 192), Image.Resampling.LANCZOS)
    assert np.abs(shown - np.array(true, dtype=float)).mean() < 4

    for file in photographs.iterdir():
        file.rename(file.with_suffix(".gone"))
    try:
        assert {image.size for image in images(report(tmp_path, gallery=gallery), MAP)} != {(256, 192)}
    finally:
        for file in photographs.iterdir():
            file.rename(file.with_suffix(".jpg"))


@pytest.mark.parametrize("side", [32, 96, 256])
def test_the_page_stays_small(side: int, tmp_path: Path) -> None:
    views = torch.randint(256, (8, 11, 3, side, side), dtype=torch.uint8)
    html = report(tmp_path, gallery=noise(400, side), views=views)
    assert len(html) < 4_500_000
    pictured = sum(len(content) for content in re.findall(r'src="data:image/[^"]*"', html))
    assert pictured < 4_000_000
