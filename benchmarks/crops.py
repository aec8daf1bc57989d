"""What crops cut from canvases lose against those cut from the originals, and what either costs.

python benchmarks/crops.py clothing10_160.tar.xz [--size 224] [--pictures 500] [--collage]

Energy is the mean squared difference of neighbouring pixels, over that of the same box resized once, antialiased, from
the decoded original by torchvision: 1 where nothing is lost. Views per second are of processor time of one thread, from
the bytes of a file to the network's input, the ways in turns, the median of the rounds. --collage: six pictures side by
side on 500 x 375 pixels, as large as ImageNet's and as detailed as these.
"""

import argparse
import io
import statistics
import tarfile
import time

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from semblance.data.pictures.canvas import choose_canvas
from semblance.data.pictures.crops import Crops
from semblance.data.pictures.decode import cut_file, decode, read_size
from semblance.data.pictures.images import Images
from semblance.runtime import random
from semblance.views.view import View, make_views

BINS = (0.08, 0.2, 0.4, 0.7, 1.0)
BATCH, ROUNDS = 50, 7


def photographs(path: str, count: int, collage: bool) -> list[bytes]:
    """JPEG files of the tar, spread over it."""
    with tarfile.open(path) as tar:
        members = sorted((m for m in tar if m.name.endswith(".jpg")), key=lambda m: m.name)
        files = [tar.extractfile(m).read() for m in members[:: len(members) // (count * (6 if collage else 1))]]
    if not collage:
        return files[:count]
    found = []
    for start in range(0, 6 * count, 6):
        sheet = Image.new("RGB", (500, 375))
        for i, file in enumerate(files[start : start + 6]):
            part = Image.open(io.BytesIO(file)).resize((167, 188), Image.Resampling.LANCZOS)
            sheet.paste(part, (i % 3 * 167, i // 3 * 188))
        sheet.save(file := io.BytesIO(), "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def energy(x: torch.Tensor) -> float:
    x = x.double()
    return float(((x[:, 1:] - x[:, :-1]) ** 2).mean() + ((x[:, :, 1:] - x[:, :, :-1]) ** 2).mean())


def energies(files: list[bytes], kept: Images, view: View) -> None:
    index, key = torch.arange(len(files)), random.key(0, "view", 0)
    keys, sizes = random.key(key, 0), torch.tensor([read_size(f) for f in files])
    boxes = view.boxes(sizes, index, keys)
    area = (boxes[:, 2] * boxes[:, 3]).double() / sizes.double().prod(1)
    ways = {
        "canvas": view(*kept.read(index), index, keys) * 255,
        "original": Crops(kept, [view]).read(index, key)[0][:, 0],
    }
    mode = InterpolationMode.BICUBIC if view.bicubic else InterpolationMode.BILINEAR
    once = []
    for file, box in zip(files, boxes.tolist(), strict=True):
        picture = torch.from_numpy(np.array(Image.open(io.BytesIO(file)).convert("RGB"))).permute(2, 0, 1).float()
        once.append(energy(tv.resized_crop(picture, *box, [view.size] * 2, interpolation=mode, antialias=True)))
    ratios = {name: torch.tensor([energy(x) for x in crops]) / torch.tensor(once) for name, crops in ways.items()}
    print(f"{'bicubic' if view.bicubic else 'bilinear'}, {view.size} px, canvas {kept.canvas}")
    print("area          n   canvas original")
    for low, high in zip(BINS, BINS[1:], strict=False):
        inside = (area >= low) & (area <= high)
        means = [f"{ratios[name][inside].mean():8.3f}" for name in ways]
        print(f"{low:4} to {high:3} {int(inside.sum()):4d} {' '.join(means)}")


def speeds(kept: Images, view: View) -> None:
    """Views per second, beside canvases that are decoded at every step and those that lie in memory."""
    index = torch.arange(BATCH)
    memory = Images("memory", kept.canvas, range(BATCH), *kept.read(index))
    readers = {"original": Crops(kept, [view]), "canvas": kept, "canvas in memory": memory}
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for step in range(ROUNDS):
        for name, reader in readers.items():
            start = time.process_time()
            raw = reader.read(index, random.key(0, "view", step))
            make_views([view], raw, index, seed=0, step=step)
            taken[name].append(view.count * BATCH / (time.process_time() - start))
    for name, values in taken.items():
        ratio = statistics.median(a / b for a, b in zip(taken["original"], values, strict=True))
        print(f"{name:17s} {statistics.median(values):7.1f} views/s; original {ratio:.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tar")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--collage", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = photographs(options.tar, options.pictures, options.collage)
    canvas = choose_canvas([read_size(file) for file in files[:100]], options.size)

    def file(i: int) -> bytes:
        return files[i]

    kept = Images("pictures", canvas, range(len(files)), decode=lambda i, c: decode(file(i), c))
    kept.cut, kept.exact = lambda i, draw: cut_file(file(i), draw), False
    for bicubic in (True, False):
        energies(files, kept, View(options.size, bicubic=bicubic, flip_p=0, grey_p=0))
    colours = {"jitter": (0.8, 0.8, 0.8, 0.2), "blur_p": 0.5}
    speeds(kept, View(options.size, count=2, bicubic=True, **colours))


if __name__ == "__main__":
    main()
