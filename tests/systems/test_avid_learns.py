"""AVID learns what picture and sound share: colour and pitch of pairs it has not seen, in a few hundred steps."""

import colorsys

import torch
from tiny import CPU, tiny_config

from semblance import modalities
from semblance.data import Source
from semblance.data.clips.clips import Clips
from semblance.engine import loop
from semblance.engine.optimizers import make_optimizer
from semblance.evaluation.clip_features import embed_clips
from semblance.evaluation.retrieval import retrieval
from semblance.modalities.build import build
from semblance.runtime import random
from semblance.systems import Clock
from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import View

TRAIN, TEST, BATCH, EPOCHS = 256, 64, 32, 20
VIDEO = ClipView(View(8, scale=(0.5, 1.0), grey_p=0.0), frames=1, fps=8.0)
SOUND = SoundView(seconds=0.1, rate=4000, fft=128, hop=40)


def pairs() -> Clips:
    """A patch of a hue, with noise and a brightness of its own, and a tone of a pitch that goes with the hue."""
    u = random.uniform(1, torch.arange(TRAIN + TEST), 4)
    grain = random.uniform(2, torch.arange(TRAIN + TEST), 192).view(-1, 3, 8, 8) - 0.5
    time = torch.arange(SOUND.samples) / SOUND.rate
    frames, sounds = [], []
    for (hue, light, loud, phase), noise in zip(u.tolist(), grain, strict=True):
        colour = torch.tensor(colorsys.hsv_to_rgb(0.8 * hue, 0.8, 0.4 + 0.5 * light))
        frames.append(((colour[:, None, None] + 0.3 * noise).clamp(0, 1) * 255).byte()[None])
        wave = (0.2 + 0.7 * loud) * torch.sin(2 * torch.pi * (200 * 2 ** (3 * hue) * time + phase))
        sounds.append((wave * 32767).short())
    sizes = torch.full((len(u), 2), 8, dtype=torch.int32)
    return Clips("pairs", 8, range(len(u)), frames, sounds, sizes, VIDEO, SOUND)


def test_held_out_pairs_find_each_other() -> None:
    whole = pairs()
    source = Source(whole.subset(torch.arange(TRAIN)), whole.subset(torch.arange(TRAIN, TRAIN + TEST)))
    config = tiny_config(
        "avid", batch_size=BATCH, optimizer="muon", lr=0.02, backbone="r2plus1d-10-small-w8",
        audio_backbone="conv2d-10-small-w8",
        hyper={"dim": 32, "negatives": 64, "hidden": 64, "norm": True},
    )  # fmt: skip
    config = config.model_copy(update={"views": (VIDEO, SOUND)})
    torch.manual_seed(0)
    method = build(config, modalities.named("clips"))
    method.prepare(TRAIN)
    modalities.named("clips").prepare(method, source, config)
    optimizer = make_optimizer("muon", method, weight_decay=0.01)
    method.train()
    per_epoch = TRAIN // BATCH
    for step in range(EPOCHS * per_epoch):
        clock = Clock(step, EPOCHS * per_epoch, per_epoch)
        index = method.order(TRAIN, clock).split(BATCH)[step % per_epoch]
        loop.step(method, optimizer, (*source.train.read(index, step), index), config, clock, CPU)
    seen = embed_clips(method, source.test, config, places=(0.5,)).embeddings
    for found in retrieval(seen["video"], seen["audio"]).values():
        assert found["r5"] > 0.4 and found["median_rank"] < 10  # chance: 0.08 and 32.5
