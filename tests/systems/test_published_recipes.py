"""The `imagenet` recipes are the runs that the authors published, every number of them."""

from dataclasses import fields

import pytest

from semblance import systems
from semblance.views.view import View

BYOLS = {"bicubic": True, "jitter": (0.4, 0.4, 0.2, 0.1)}
TENSORFLOWS = {"hsv": True, "blur_cut": True}  # saturation, and a blur whose kernel is a tenth of the side
SIMCLRS = {"jitter": (0.8, 0.8, 0.8, 0.2), "blur_p": 0.5}
MOCOS = {"jitter": (0.4, 0.4, 0.4, 0.1), "blur_p": 0.5}
LEJEPAS = {"jitter": (0.4, 0.4, 0.2, 0.1), "blur_p": 0.5, "blur_cut": True, "solarize_p": 0.2}
NPIDS = {"jitter": (0.4, 0.4, 0.4, 0.4), "jitter_p": 1.0}

# rate: the peak at the batch that was published; last_lr: what the cosine ends at. The rest is as Recipe has it; what
# is not named is 0, none or torchvision's default, also of the views.
PUBLISHED = {
    # google-research/simclr: README.md, run.py, data_util.py
    "simclr": {
        "backbone": "resnet50", "image_size": 224, "batch_size": 4096, "epochs": 1000, "warmup_epochs": 10,
        "optimizer": "lars-simclr", "rate": 4.8, "weight_decay": 1e-6,
        "views": [View(224, count=2, law="simclr", bicubic=True, **SIMCLRS, **TENSORFLOWS)],
    },
    # zhirongw/lemniscate.pytorch: main.py
    "npid": {
        "backbone": "torchvision/resnet50", "image_size": 224, "batch_size": 256, "epochs": 200, "warmup_epochs": 0,
        "optimizer": "sgd", "rate": 0.03, "weight_decay": 1e-4, "decay_1d": True,
        "views": [View(224, scale=(0.2, 1.0), **NPIDS)],
    },
    # facebookresearch/moco: README.md, main_moco.py
    "moco": {
        "backbone": "torchvision/resnet50", "image_size": 224, "batch_size": 256, "epochs": 200, "warmup_epochs": 0,
        "optimizer": "sgd", "rate": 0.03, "weight_decay": 1e-4, "decay_1d": True,
        "views": [View(224, count=2, scale=(0.2, 1.0), **MOCOS)],
    },
    # facebookresearch/moco-v3: CONFIG.md, main_moco.py
    "moco-v3": {
        "backbone": "resnet50", "image_size": 224, "batch_size": 4096, "epochs": 100, "warmup_epochs": 10,
        "optimizer": "lars", "rate": 9.6, "weight_decay": 1e-6,
        "views": [
            View(224, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), blur_p=1.0),
            View(224, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), blur_p=0.1, solarize_p=0.2),
        ],
    },
    # facebookresearch/vissl: configs/config/pretrain/pirl
    "pirl": {
        "backbone": "torchvision/resnet50", "image_size": 224, "batch_size": 1024, "epochs": 800, "warmup_epochs": 0,
        "optimizer": "sgd", "rate": 0.12, "last_lr": 0.00012, "weight_decay": 1e-4,
        "views": [View(224, **SIMCLRS), View(64, grid=3, cell=85, scale=(0.6, 1.0), **SIMCLRS)],
    },
    # facebookresearch/swav: scripts/swav_800ep_pretrain.sh
    "swav": {
        "backbone": "torchvision/resnet50", "image_size": 224, "batch_size": 4096, "epochs": 800, "warmup_epochs": 10,
        "optimizer": "larc", "rate": 4.8, "last_lr": 0.0048, "weight_decay": 1e-6, "decay_1d": True,
        "views": [View(224, count=2, scale=(0.14, 1.0), **SIMCLRS), View(96, count=6, scale=(0.05, 0.14), **SIMCLRS)],
    },
    # facebookresearch/swav: scripts/deepclusterv2_800ep_pretrain.sh
    "deepcluster-v2": {
        "backbone": "torchvision/resnet50", "image_size": 224, "batch_size": 4096, "epochs": 800, "warmup_epochs": 10,
        "optimizer": "larc", "rate": 4.8, "last_lr": 0.0048, "weight_decay": 1e-6, "decay_1d": True,
        "views": [View(224, count=2, scale=(0.14, 1.0), **SIMCLRS), View(96, count=6, scale=(0.05, 0.14), **SIMCLRS)],
    },
    # facebookresearch/swav: README.md, 400 epochs of SeLa-v2; scripts/deepclusterv2_400ep_pretrain.sh for its views
    "sela-v2": {
        "backbone": "torchvision/resnet50", "image_size": 160, "batch_size": 4096, "epochs": 400, "warmup_epochs": 10,
        "optimizer": "larc", "rate": 4.8, "last_lr": 0.0048, "weight_decay": 1e-6, "decay_1d": True,
        "views": [View(160, count=2, scale=(0.08, 1.0), **SIMCLRS), View(96, count=4, scale=(0.05, 0.14), **SIMCLRS)],
    },
    # facebookresearch/deepcluster: main.sh, main.py; with another backbone
    "deepcluster": {
        "backbone": "resnet50-sobel", "image_size": 224, "batch_size": 256, "epochs": 200, "warmup_epochs": 0,
        "optimizer": "sgd", "rate": 0.05, "weight_decay": 1e-5, "decay_1d": True, "views": [View(224, grey_p=0.0)],
    },
    # yukimasano/self-label: main.py, data.py
    "sela": {
        "backbone": "resnet50", "image_size": 224, "batch_size": 256, "epochs": 401, "warmup_epochs": 0,
        "optimizer": "sgd", "rate": 0.08, "weight_decay": 1e-5, "decay_1d": True, "views": [View(224, **NPIDS)],
    },
    # google-deepmind/deepmind-research: byol/configs/byol.py, utils/augmentations.py, utils/dataset.py
    "byol": {
        "backbone": "resnet50", "image_size": 224, "batch_size": 4096, "epochs": 1000, "warmup_epochs": 10,
        "optimizer": "lars", "rate": 3.2, "weight_decay": 1.5e-6,
        "views": [
            View(224, law="byol", blur_p=1.0, **BYOLS, **TENSORFLOWS),
            View(224, law="byol", blur_p=0.1, solarize_p=0.2, **BYOLS, **TENSORFLOWS),
        ],
    },
    # facebookresearch/simsiam: main_simsiam.py
    "simsiam": {
        "backbone": "resnet50", "image_size": 224, "batch_size": 512, "epochs": 100, "warmup_epochs": 0,
        "optimizer": "sgd", "rate": 0.1, "weight_decay": 1e-4, "decay_1d": True,
        "views": [View(224, count=2, scale=(0.2, 1.0), **MOCOS)],
    },
    # facebookresearch/dino: README.md, main_dino.py
    "dino": {
        "backbone": "vit_small_patch16_224", "image_size": 224, "batch_size": 1024, "epochs": 300, "warmup_epochs": 10,
        "optimizer": "adamw", "rate": 0.002, "last_lr": 1e-6, "weight_decay": 0.04, "final_weight_decay": 0.4,
        "clip_each": 3.0, "hyper": {"norm_last": False},
        "views": [
            View(224, scale=(0.4, 1.0), blur_p=1.0, **BYOLS),
            View(224, scale=(0.4, 1.0), blur_p=0.1, solarize_p=0.2, **BYOLS),
            View(96, count=8, scale=(0.05, 0.4), blur_p=0.5, **BYOLS),
        ],
    },
    # facebookresearch/barlowtwins: main.py
    "barlow-twins": {
        "backbone": "resnet50", "image_size": 224, "batch_size": 2048, "epochs": 1000, "warmup_epochs": 10,
        "optimizer": "lars", "rate": 1.6, "bias_rate": 0.0384, "last_lr": 0.0016, "weight_decay": 1e-6,
        "views": [View(224, blur_p=1.0, **BYOLS), View(224, blur_p=0.1, solarize_p=0.2, **BYOLS)],
    },
    # facebookresearch/vicreg: README.md, main_vicreg.py, augmentations.py
    "vicreg": {
        "backbone": "resnet50", "image_size": 224, "batch_size": 2048, "epochs": 1000, "warmup_epochs": 10,
        "optimizer": "lars", "rate": 1.6, "last_lr": 0.0016, "weight_decay": 1e-6,
        "views": [View(224, blur_p=1.0, **BYOLS), View(224, blur_p=0.1, solarize_p=0.2, **BYOLS)],
    },
    # rbalestr-lab/lejepa: README.md, MINIMAL.md
    "lejepa": {
        "backbone": "vit_small_patch16_224", "image_size": 224, "batch_size": 512, "epochs": 100, "warmup_epochs": 1,
        "optimizer": "adamw", "rate": 5e-4, "last_lr": 5e-7, "weight_decay": 0.05, "decay_1d": True,
        "views": [
            View(224, count=2, scale=(0.3, 1.0), **LEJEPAS),
            View(96, count=6, scale=(0.05, 0.3), **LEJEPAS),
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in systems.names() if systems.get(name).of_pictures()])
def test_the_imagenet_recipe_is_the_published_run(name: str) -> None:
    if name not in PUBLISHED:
        pytest.skip(f"PUBLISHED does not say what run of {name} is published")
    recipe, told = systems.get(name).recipes["imagenet"], dict(PUBLISHED[name])
    scale = recipe.batch_size / 256
    rates = {"rate": recipe.lr, "bias_rate": recipe.bias_lr, "last_lr": recipe.final_lr * recipe.lr}
    for rate, ours in rates.items():
        assert (ours or 0.0) * scale == pytest.approx(told.pop(rate, 0.0), rel=1e-12), rate
    assert list(recipe.views) == told.pop("views")
    plain = {"decay_1d": False, "final_weight_decay": None, "clip_each": None, "audio_backbone": None, "hyper": {}}
    seen = ("views", "lr", "bias_lr", "final_lr")
    assert {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in seen} == plain | told


def test_what_is_not_named_of_a_view_is_torchvisions_or_off() -> None:
    view = View(224)
    assert (view.count, view.scale, view.ratio, view.bicubic, view.flip_p) == (1, (0.08, 1), (3 / 4, 4 / 3), False, 0.5)
    assert (view.jitter, view.jitter_p, view.grey_p, view.blur_p, view.sigma) == ((0,) * 4, 0.8, 0.2, 0, (0.1, 2.0))
    assert (view.solarize_p, view.grid, view.law, view.hsv, view.blur_cut) == (0, 1, "torchvision", False, False)
