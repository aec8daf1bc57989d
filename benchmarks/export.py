"""Export differences: runs of a few steps on a folder of pictures and on clips, to every target that takes them.

python benchmarks/export.py PICTURES OUT [CLIPS]
Prints the rows of the table in docs/export.md.
"""

import shutil
import sys
from pathlib import Path

import semblance as sb

PICTURES = [  # backbone, side, flags
    ("resnet10-w16-cifar", 32, {}), ("resnet18", 64, {"precision": "32"}), ("resnet50", 96, {}),
    ("torchvision/resnet18", 64, {"precision": "64"}),
    ("vit_tiny_patch16_224", 96, {"method": "dino", "hyper": {"outputs": 256}}),
    ("convnext_atto", 96, {}), ("efficientnet_b0", 96, {}), ("mobilenetv3_small_050", 96, {}), ("regnetx_002", 96, {}),
    ("densenet121", 64, {}), ("resnet10-w16", 64, {"method": "byol"}), ("resnet10-w16-sobel", 64, {}),
]  # fmt: skip
CLIPS = [("r2plus1d-10-small-w8", "conv2d-10-w8"), ("resnet18", "resnet18")]
FILES = {"timm": "timm.safetensors", "torchvision": "torchvision.pth", "onnx": "network.onnx", "hub": "hub"}
SHORT = {"max_steps": 2, "batch_size": 8, "recipe": "small", "workers": 0, "channels_last": False, "compile": False}


def differences(run: Path, targets: list[str]) -> list[str]:
    cells = []
    for to in targets:
        shutil.rmtree(run / FILES[to], ignore_errors=True)
        try:
            found = sb.export(run, to=to, out=run / FILES[to])
            cells.append(" and ".join(f"{difference:.1e}" for difference in found["differences"]))
        except sb.UserError as error:
            cells.append("refused")
            print(error, file=sys.stderr)
    return cells


def main() -> None:
    pictures, out = sys.argv[1], Path(sys.argv[2])
    for backbone, side, flags in PICTURES:
        run = out / backbone.replace("/", "-")
        options = SHORT | {"method": "simclr", "precision": "32"} | flags
        if not run.exists():
            sb.train(data=pictures, backbone=backbone, image_size=side, out=run, **options)
        told = f"{backbone}, {options['method']}, {side} px, {options['precision']}"
        print(f"| {told} | {' | '.join(differences(run, list(FILES)))} |", flush=True)
    for video, audio in CLIPS if len(sys.argv) > 3 else ():
        run = out / f"clips-{video}"
        if not run.exists():
            sb.train(
                "avid", data=sys.argv[3], backbone=video, audio_backbone=audio, out=run, max_steps=2, recipe="quick"
            )
        print(f"| {video} and {audio}, avid | | | {differences(run, ['onnx'])[0]} | |", flush=True)


if __name__ == "__main__":
    main()
