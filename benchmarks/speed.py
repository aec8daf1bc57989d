"""Images per second of SimCLR end to end, next to the bare step of its backbone and to lightly, in one run.

    pip install lightly && python benchmarks/speed.py [--backbone resnet10-w32-cifar] [--steps 20] [--rounds 3]

Bare step: forward and backward of the backbone on random tensors of two views, in the layout and precision that
training chose. lightly: its SimCLR transform, head, loss and loader (2 workers) around the same backbone, in a plain
loop. Each is the median of several rounds, taken in turns.
"""

import argparse
import json
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

BATCH = 256


def bare(name: str, steps: int, precision: str, channels_last: bool) -> float:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = backbone(name).to(memory_format=layout)
    x = torch.randn(2 * BATCH, 3, 32, 32).contiguous(memory_format=layout)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            y = model(x)
        model.zero_grad()
        y.float().square().mean().backward()

    step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * BATCH / (time.perf_counter() - start)


def ours(name: str, steps: int, data: str) -> tuple[float, dict]:
    """Speed between the tenth and the last step, by the log, and the resolved configuration."""
    with tempfile.TemporaryDirectory() as folder:
        flags = {"recipe": "small", "backbone": name, "batch_size": BATCH, "max_steps": 10 + steps}
        semblance.train(data=data, out=f"{folder}/run", **flags)
        lines = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
        config = yaml.safe_load(Path(folder, "run", "config.yaml").read_text())
    seconds = {line["step"]: line["seconds"] for line in lines}
    return steps * BATCH / (seconds[10 + steps] - seconds[10]), config


def theirs(name: str, steps: int, pictures: np.ndarray, bf16: bool) -> float:
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    class Pictures(torch.utils.data.Dataset):
        transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)

        def __len__(self) -> int:
            return (steps + 2) * BATCH

        def __getitem__(self, i: int) -> list[torch.Tensor]:
            return self.transform(Image.fromarray(pictures[i % len(pictures)]))

    model = backbone(name)
    head = SimCLRProjectionHead(model.num_features, model.num_features, 128)
    criterion = NTXentLoss(temperature=0.5)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.06, momentum=0.9, weight_decay=5e-4)
    start = 0.0
    for step, (x0, x1) in enumerate(torch.utils.data.DataLoader(Pictures(), BATCH, num_workers=2)):
        if step == 2:
            start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            z0, z1 = head(model(x0)), head(model(x1))
        criterion(z0.float(), z1.float()).backward()
        optimizer.step()
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet10-w32-cifar")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    pictures = np.random.default_rng(0).integers(0, 256, (2560, 32, 32, 3), dtype=np.uint8)
    speeds: dict[str, list[float]] = {"semblance": [], "bare step": [], "lightly fp32": [], "lightly bf16": []}
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/pictures.npy", pictures)
        for _ in range(args.rounds):
            speed, config = ours(args.backbone, args.steps, f"{folder}/pictures.npy")
            speeds["semblance"].append(speed)
            speeds["bare step"].append(bare(args.backbone, args.steps, config["precision"], config["channels_last"]))
            speeds["lightly fp32"].append(theirs(args.backbone, args.steps, pictures, bf16=False))
            speeds["lightly bf16"].append(theirs(args.backbone, args.steps, pictures, bf16=True))
    middle = {k: statistics.median(v) for k, v in speeds.items()}
    print(f"{args.backbone}, batch {BATCH}, {torch.get_num_threads()} threads, torch {torch.__version__}, ", end="")
    print(
        f"{config['precision']}, channels_last={config['channels_last']}; median of {args.rounds} rounds (min to max)"
    )
    for name, values in speeds.items():
        ratio = middle["semblance"] / middle[name]
        spread = f"({min(values):.0f} to {max(values):.0f})"
        print(f"{name:14s} {middle[name]:7.0f} images/s {spread:16s} semblance is {ratio:.2f} times")


if __name__ == "__main__":
    main()
