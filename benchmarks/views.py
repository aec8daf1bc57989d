"""Images per second of two full SimCLR views on one core, next to lightly's SimCLRTransform.

pip install lightly && python benchmarks/views.py
"""

import statistics
import time

import numpy as np
import torch
from lightly.transforms import SimCLRTransform
from PIL import Image

from semblance.views.view import View, make_views

SIZE, BATCH, ROUNDS = 32, 128, 7


def main() -> None:
    torch.set_num_threads(1)
    pictures = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    images = [Image.fromarray(p) for p in pictures]
    canvases = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    sizes, index = torch.full((BATCH, 2), SIZE, dtype=torch.int32), torch.arange(BATCH)
    view = View(SIZE, count=2, jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5)
    transform = SimCLRTransform(input_size=SIZE)
    ours, theirs = [], []
    for epoch in range(ROUNDS):
        start = time.perf_counter()
        for repeat in range(10):
            make_views([view], (canvases, sizes), index, seed=repeat, step=epoch)
        ours.append(10 * BATCH / (time.perf_counter() - start))
        start = time.perf_counter()
        for image in images:
            transform(image)
        theirs.append(BATCH / (time.perf_counter() - start))
    ratio = [a / b for a, b in zip(ours, theirs, strict=True)]
    for name, values in (("semblance", ours), ("lightly", theirs), ("ratio", ratio)):
        print(f"{name:10s} median {statistics.median(values):8.1f}   {min(values):.1f} to {max(values):.1f}")


if __name__ == "__main__":
    main()
