"""Images per second of SimCLR end to end, next to the bare step of its backbone and to lightly, in one run.

    pip install lightly && python benchmarks/speed.py [--backbone resnet10-w32-cifar] [--steps 20] [--rounds 3]

Bare step: forward and backward of the backbone on random tensors of two views, in the layout and precision that
training chose. lightly: its SimCLR transform, head, loss and loader (a worker per core) around the same backbone, in a
plain loop. Each is the median of several rounds, taken in turns. On a GPU where there is one; there give it more steps,
so that lightly's loader is past what it had read ahead.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

import semblance
from semblance.nets.backbones import backbone

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def finished() -> float:
    """The time when all that was asked for is done."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def bare(name: str, batch: int, steps: int, precision: str, channels_last: bool) -> float:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = backbone(name).to(DEVICE, memory_format=layout)
    x = torch.randn(2 * batch, 3, 32, 32, device=DEVICE).contiguous(memory_format=layout)

    def step() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16"):
            y = model(x)
        model.zero_grad()
        y.float().square().mean().backward()

    step()
    start = finished()
    for _ in range(steps):
        step()
    return steps * batch / (finished() - start)


def ours(name: str, batch: int, steps: int, data: str) -> tuple[float, dict]:
    """Speed between the tenth and the last step, by the log, and the resolved configuration."""
    with tempfile.TemporaryDirectory() as folder:
        flags = {"recipe": "small", "backbone": name, "batch_size": batch, "max_steps": 10 + steps}
        semblance.train(data=data, out=f"{folder}/run", **flags)
        lines = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
        config = yaml.safe_load(Path(folder, "run", "config.yaml").read_text())
    seconds = {line["step"]: line["seconds"] for line in lines}
    return steps * batch / (seconds[10 + steps] - seconds[10]), config


def theirs(name: str, batch: int, steps: int, pictures: np.ndarray, bf16: bool) -> float:
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    class Pictures(torch.utils.data.Dataset):
        transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)

        def __len__(self) -> int:
            return (steps + 2) * batch

        def __getitem__(self, i: int) -> list[torch.Tensor]:
            return self.transform(Image.fromarray(pictures[i % len(pictures)]))

    model = backbone(name).to(DEVICE, memory_format=torch.channels_last if DEVICE.type == "cuda" else None)
    head = SimCLRProjectionHead(model.num_features, model.num_features, 128).to(DEVICE)
    criterion = NTXentLoss(temperature=0.5)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.06, momentum=0.9, weight_decay=5e-4)
    start = 0.0
    loader = torch.utils.data.DataLoader(
        Pictures(), batch, num_workers=os.cpu_count() or 2, pin_memory=DEVICE.type == "cuda"
    )
    for step, views in enumerate(loader):
        if step == 2:
            start = finished()
        x0, x1 = (x.to(DEVICE, non_blocking=True) for x in views)
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bf16):
            z0, z1 = head(model(x0)), head(model(x1))
        criterion(z0.float(), z1.float()).backward()
        optimizer.step()
    return steps * batch / (finished() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet10-w32-cifar")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    run = (args.backbone, args.batch, args.steps)
    pictures = np.random.default_rng(0).integers(0, 256, (10 * args.batch, 32, 32, 3), dtype=np.uint8)
    speeds: dict[str, list[float]] = {"semblance": [], "bare step": [], "lightly fp32": [], "lightly bf16": []}
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/pictures.npy", pictures)
        for _ in range(args.rounds):
            speed, config = ours(*run, f"{folder}/pictures.npy")
            speeds["semblance"].append(speed)
            speeds["bare step"].append(bare(*run, config["precision"], config["channels_last"]))
            speeds["lightly fp32"].append(theirs(*run, pictures, bf16=False))
            speeds["lightly bf16"].append(theirs(*run, pictures, bf16=True))
    middle = {k: statistics.median(v) for k, v in speeds.items()}
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{args.backbone}, batch {args.batch}, {where}, torch {torch.__version__}, ", end="")
    print(
        f"{config['precision']}, channels_last={config['channels_last']}; median of {args.rounds} rounds (min to max)"
    )
    for name, values in speeds.items():
        ratio = middle["semblance"] / middle[name]
        spread = f"({min(values):.0f} to {max(values):.0f})"
        print(f"{name:14s} {middle[name]:7.0f} images/s {spread:16s} semblance is {ratio:.2f} times")


if __name__ == "__main__":
    main()
