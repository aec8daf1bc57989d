"""Passes over the whole set: every picture's own row, views as in training, no class at a time."""

import torch
from tiny import CPU, tiny_config
from torch import Tensor

from semblance.data.pictures.images import Images
from semblance.engine.divergence import Divergence
from semblance.engine.whole_set import WholeSet
from semblance.runtime import random
from semblance.runtime.progress import Progress
from semblance.views.view import View, make_views, normalise

N, SIZE = 1200, 8  # several parts


def whole_set(pixels: Tensor, view: View) -> tuple[WholeSet, Images]:
    images = Images("sorted", SIZE, range(N), pixels, torch.full((N, 2), SIZE, dtype=torch.int32))
    config = tiny_config("simclr").model_copy(update={"views": (view,)})
    divergence = Divergence(torch.nn.Linear(1, 1), images, None, True)
    return WholeSet(images, config, CPU, Progress("simclr", 1, 1, visible=False), divergence), images


def noise() -> Tensor:
    return torch.randint(256, (N, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_plain_rows_are_of_the_undistorted_pictures_in_their_order() -> None:
    pixels = noise()
    whole, _ = whole_set(pixels, View(SIZE, scale=(0.2, 0.5)))
    torch.testing.assert_close(whole.plain(lambda x: x.flatten(1)), normalise(pixels / 255).flatten(1))


def test_crops_are_those_of_training_with_a_draw_of_their_own_at_each_step() -> None:
    view = View(SIZE, scale=(0.2, 0.5), jitter=(0.4, 0.4, 0.4, 0.1))
    whole, images = whole_set(noise(), view)
    rows = {step: whole.crops(lambda views: views[0].flatten(1), step) for step in (3, 4)}
    everything, seed = torch.arange(N), random.key(whole.config.seed, "whole set")
    for step, found in rows.items():
        (expected,) = make_views([view], images.read(everything), everything, seed=seed, step=step)
        torch.testing.assert_close(found, expected.flatten(1))
    assert (rows[3] - rows[4]).abs().mean() > 0.1


def test_crops_come_in_random_order_though_the_classes_lie_one_after_the_other() -> None:
    """Else batch norms in training mode would take away what all pictures of a class have in common."""
    classes = torch.arange(N) // (N // 4)
    seen = []

    def embed(views: list[Tensor]) -> Tensor:
        grey = views[0].mean((1, 2, 3))
        seen.append(grey)
        return grey[:, None]

    whole, _ = whole_set((classes * 60).byte().view(N, 1, 1, 1).expand(N, 3, SIZE, SIZE), View(SIZE, grey_p=0.0))
    rows = whole.crops(embed, 0)[:, 0]
    assert [int(c) for c in rows.unique(return_counts=True)[1]] == [N // 4] * 4
    assert rows.sort().values.equal(rows)  # each in its own place
    for part in seen:
        assert len(part.unique()) == 4
