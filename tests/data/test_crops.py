"""Crops are cut from the pictures' own pixels: the boxes of the canvases, resampled once."""

import io
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from semblance.data import load
from semblance.data.loader import read_ahead
from semblance.data.pictures import decode as pictures_decode
from semblance.data.pictures.crops import Crops, as_trained
from semblance.data.pictures.decode import Cuts, Draw, cut_array, cut_file, decode
from semblance.data.pictures.images import Images
from semblance.runtime import device, random
from semblance.views.view import View, make_views

BOXES = torch.tensor([[0, 0, 60, 90], [10, 20, 30, 40], [59, 89, 1, 1], [0, 50, 60, 7]])
RECIPES = (
    View(24, count=2, bicubic=True, jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5, solarize_p=0.2),
    View(10, count=3, law="byol", scale=(0.05, 0.3)),
    View(6, grid=3, cell=8, scale=(0.6, 1.0), jitter=(0.4, 0.4, 0.4, 0.1)),
)
KEY = random.key(5, "view", 7)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Shapes, waves and grain, uint8 (H, W, 3): detail of every scale."""
    y, x = np.mgrid[:height, :width]
    r = np.random.default_rng(seed)
    planes = [np.sin(x / r.uniform(1.5, 30) + y / r.uniform(1.5, 30)) + (x // 9 + y // 7) % 2 for _ in range(3)]
    grain = r.normal(0, 0.2, (height, width, 3))
    return ((np.stack(planes, -1) + grain + 1.5) * 80).clip(0, 255).astype(np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def draw(boxes: Tensor, side: int, bicubic: bool = True) -> Draw:
    return lambda height, width: [Cuts(boxes, side, bicubic)]


def energy(x: Tensor) -> float:
    x = x.double()
    return ((x[:, 1:] - x[:, :-1]).square().mean() + (x[:, :, 1:] - x[:, :, :-1]).square().mean()).item()


@pytest.mark.parametrize("bicubic", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "grey", "transparent", "turned"])
def test_crops_are_torchvisions_of_the_decoded_picture(kind: str, bicubic: bool) -> None:
    """Bit for bit, enlarged and reduced, whatever the file: what a PyTorch method's authors see."""
    image = shown = Image.fromarray(photo(60, 90))
    if kind == "grey":
        image = image.convert("L")
        shown = image.convert("RGB")
    if kind == "transparent":
        image = image.convert("RGBA")
        image.putalpha(128)
        shown = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    options = {}
    if kind == "turned":  # stored on its side
        image, options = image.transpose(Image.Transpose.ROTATE_90), {"exif": Image.Exif()}
        options["exif"][0x0112] = 6
    data = encode(image, "JPEG" if kind == "JPEG" else "PNG", **options)
    if kind == "JPEG":
        shown = Image.open(io.BytesIO(data))
    (crops,) = cut_file(data, draw(BOXES, 16, bicubic))
    mode = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
    for box, ours in zip(BOXES.tolist(), crops, strict=True):
        theirs = tv.resized_crop(shown, *box, [16, 16], interpolation=mode)
        assert torch.equal(ours, tv.pil_to_tensor(theirs))
    if kind != "JPEG":
        assert torch.equal(cut_array(np.asarray(shown), draw(BOXES, 16, bicubic))[0], crops)


def test_boxes_are_drawn_for_the_upright_picture() -> None:
    seen = []

    def note(height: int, width: int) -> list[Cuts]:
        seen.append((height, width))
        return [Cuts(BOXES[:1], 8, True)]

    for kind in ("PNG", "JPEG"):
        exif = Image.Exif()
        exif[0x0112] = 8
        cut_file(encode(Image.fromarray(photo(90, 60)), kind, exif=exif), note)
    assert seen == [(60, 90)] * 2


@pytest.mark.parametrize("bicubic", [False, True])
def test_large_jpegs_are_decoded_small_where_that_loses_nothing(bicubic: bool) -> None:
    """Where all boxes have six times the pixels that are wanted; not where one has fewer."""
    data = encode(Image.fromarray(photo(150, 200)).resize((800, 600)), "JPEG", quality=92)
    boxes = torch.tensor([[0, 0, 600, 800], [33, 101, 240, 300], [300, 411, 260, 244]])
    scales = []

    def noted(image: Image.Image, *args: object) -> list[Tensor]:
        scales.append(800 / image.width)
        return cut(image, *args)

    cut = pictures_decode._cut
    with mock.patch.object(pictures_decode, "_cut", noted):
        (small,) = cut_file(data, draw(boxes, 40, bicubic))
        (whole,) = cut_file(data, draw(torch.cat([boxes, BOXES[1:2]]), 40, bicubic))
    assert scales == [2, 1]
    for a, b in zip(small, whole[:3], strict=True):
        assert (a.int() - b.int()).abs().float().mean() < 3 and energy(a) / energy(b) > 0.97


def images(count: int = 9, height: int = 60, width: int = 90, canvas: int = 60) -> Images:
    """Pictures in files, which are read on demand."""
    files = [encode(Image.fromarray(photo(height, width, i))) for i in range(count)]
    decode_, cut = partial(_decode, files), partial(_cut, files)
    return Images("photos", canvas, range(count), decode=decode_, cut=cut, exact=False)


def _decode(files: list[bytes], i: int, canvas: int) -> tuple[Tensor, tuple[int, int]]:
    return decode(files[i], canvas)


def _cut(files: list[bytes], i: int, draw: Draw) -> list[Tensor]:
    return cut_file(files[i], draw)


@pytest.mark.parametrize(("low", "high"), [(0.08, 0.2), (0.2, 0.4), (0.4, 0.7), (0.7, 1.0)])
@pytest.mark.parametrize("bicubic", [False, True])
def test_crops_keep_their_detail(low: float, high: float, bicubic: bool) -> None:
    """Energy beside the box resized once from the original: nothing is lost; a canvas loses what it does."""
    kept, view = images(canvas=48), View(24, scale=(low, high), bicubic=bicubic, flip_p=0, grey_p=0)
    index = torch.arange(9)
    boxes = view.boxes(torch.tensor([[60, 90]]).expand(9, 2), index, random.key(KEY, 0))
    mode = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
    once = sum(
        energy(tv.resized_crop(torch.from_numpy(photo(60, 90, i)).permute(2, 0, 1).float(), *box, [24, 24], mode))
        for i, box in enumerate(boxes.tolist())
    )
    (cut,) = Crops(kept, [view]).read(index, KEY)
    canvas = view(*kept.read(index), index, random.key(KEY, 0)) * 255
    assert 0.97 < sum(map(energy, cut[:, 0])) / once < 1.03
    assert sum(map(energy, canvas)) / once < (0.97 if low > 0.3 else 0.9)


def test_views_of_originals_are_those_of_canvases() -> None:
    """The same boxes, flips, colours, blur and patches: where a canvas is the picture itself, the same to rounding."""
    kept, index = images(height=60, width=60), torch.tensor([3, 0, 7])
    canvases = make_views(RECIPES, kept.read(index), index, seed=5, step=7)
    crops = Crops(kept, RECIPES).read(index, KEY)
    assert [tuple(c.shape) for c in crops] == [(3, 2, 3, 24, 24), (3, 3, 3, 10, 10), (3, 1, 3, 24, 24)]
    originals = make_views(RECIPES, crops, index, seed=5, step=7)
    assert len(canvases) == len(originals) == 6
    for a, b in zip(canvases, originals, strict=True):
        assert a.shape == b.shape and ((a - b).abs() < 0.05).float().mean() > 0.97  # a level is 0.017; solarize flips
    other = make_views(RECIPES, Crops(kept, RECIPES).read(index, KEY + 1), index, seed=5, step=7)
    assert (originals[0] - other[0]).abs().mean() > 0.1


def test_a_view_does_not_depend_on_what_is_read_with_it() -> None:
    """Shares of ranks, micro-batches, none at all."""
    kept = Crops(images(), RECIPES)
    whole = make_views(RECIPES, kept.read(torch.arange(9), KEY), torch.arange(9), seed=5, step=7)
    for rows in (torch.tensor([4]), torch.tensor([8, 1, 2])):
        part = make_views(RECIPES, kept.read(rows, KEY), rows, seed=5, step=7)
        for a, b in zip(part, whole, strict=True):
            torch.testing.assert_close(a, b[rows], rtol=0, atol=1e-5)
    none = kept.read(torch.arange(0), KEY)
    assert [len(c) for c in none] == [0, 0, 0] and [c.shape[1:] for c in none] == [
        c.shape[1:] for c in kept.read([0], KEY)
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_cut_the_same(workers: int) -> None:
    kept = Crops(images(), RECIPES[:2])
    requests = [(torch.tensor([1, 5, 3]), KEY), (torch.tensor([8, 0]), random.key(5, "view", 8))]
    here, there = (list(read_ahead(kept, requests, n)) for n in (0, workers))
    for a, b in zip(here, there, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_next_readable_picture_stands_in() -> None:
    """With a box drawn for its own shape; the file is named once."""
    kept = images()
    cut = kept.cut

    def damaged(i: int, draw: Draw) -> list[Tensor]:
        if i == 4:
            raise ValueError("damaged")
        return cut(i, draw)

    kept.cut = damaged
    crops = Crops(kept, RECIPES)
    (one, _, _), (other, _, _) = crops.read([4], KEY), crops.read([5], KEY)
    assert crops.skipped == kept.skipped == [("4", "damaged")]
    assert one.shape == other.shape and not torch.equal(one, other)


def save_folder(root: Path, sides: tuple[int, ...]) -> Path:
    for i in range(12):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(sides[i % len(sides)], sides[(i + 1) % len(sides)], i)).save(path)
    return root


def test_every_source_hands_out_its_own_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, an array in memory and one on disk; canvases say whether they are the pictures as they are."""
    pixels = np.stack([photo(60, 90, i) for i in range(12)])
    np.save(tmp_path / "oblong.npy", pixels)
    np.save(tmp_path / "square.npy", pixels[:, :, :60])
    folder, alike = save_folder(tmp_path / "folder", (60, 90)), save_folder(tmp_path / "alike", (60,))
    view = (View(24, flip_p=0, grey_p=0),)
    for free in (2**34, 0):
        monkeypatch.setattr("semblance.runtime.memory._available", lambda free=free: free)
        for name in ("oblong.npy", "square.npy", folder.name, alike.name):
            train = load(str(tmp_path / name), image_size=24).train
            assert train.exact is (name in ("square.npy", "alike")), name
            (crops,) = as_trained(train, view, "original").read(range(len(train)), KEY)
            for i, crop in enumerate(crops):
                item = train.items[i]
                original = pixels[item] if name.endswith("npy") else np.asarray(Image.open(tmp_path / name / str(item)))
                original = original[:, :60] if name == "square.npy" else original
                height, width = original.shape[:2]
                sizes, key = torch.tensor([[height, width]]), random.key(KEY, 0)
                boxes = view[0].boxes(sizes, torch.tensor([i]), key)
                assert torch.equal(crop, cut_array(original, draw(boxes, 24, False))[0])


def test_crops_go_to_the_device_and_sizes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU boxes are drawn from sizes on the CPU; crops of a second recipe lie where sizes do."""
    sent = []
    monkeypatch.setattr(device, "send", lambda t, where: sent.append(t) or t)
    kept = images()
    for raw, expected in ((kept.read([0, 1]), 1), (Crops(kept, RECIPES).read([0, 1], KEY), 3)):
        sent.clear()
        device.send_raw(raw, torch.device("cuda"))
        assert len(sent) == expected and all(t.dtype == torch.uint8 for t in sent)


def test_what_is_kept_is_read_where_that_is_asked_for() -> None:
    kept = images()
    assert as_trained(kept, RECIPES, "canvas") is kept and isinstance(as_trained(kept, RECIPES, "original"), Crops)
