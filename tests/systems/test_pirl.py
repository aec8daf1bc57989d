"""PIRL as published, and its one guard."""

from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semblance.systems import Clock
from semblance.systems.contrastive.pirl import PIRL
from semblance.views.jigsaw import pieces

CLOCK, INDEX = Clock(0, 10, 5), torch.arange(8)


def small(backbone: nn.Module, without=(), **hyper) -> PIRL:
    model = PIRL(backbone, without, **{"dim": 4, "negatives": 16, **hyper})
    model.prepare(50)
    return model


def test_published_constants(defaults):
    """The MLP heads, InfoNCE and blur of the authors' best results."""
    assert defaults(PIRL) == {
        "temperature": 0.1, "negatives": 32_000, "momentum": 0.5, "patch_weight": 0.5, "dim": 128
    }  # fmt: skip
    recipe = PIRL.recipes["imagenet"]
    assert recipe.lr * recipe.batch_size / 256 == pytest.approx(0.12)
    assert (recipe.optimizer, recipe.weight_decay, recipe.decay_1d, recipe.final_lr) == ("sgd", 1e-4, False, 0.001)
    picture, patches = recipe.views
    assert (patches.grid, patches.cell, patches.size, patches.scale) == (3, 85, 64, (0.6, 1.0))
    assert picture.jitter == patches.jitter == (0.8, 0.8, 0.8, 0.2) and picture.blur_p == patches.blur_p == 0.5


def test_heads_are_the_authors(tiny):
    model = small(tiny)
    kinds = [type(m) for m in model.patch_projector.modules() if not isinstance(m, nn.Sequential)]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]
    assert [type(m) for m in model.projector] == [nn.Linear, nn.ReLU, nn.Linear]
    assert (model.patch_joiner.in_features, model.patch_joiner.out_features) == (36, 4)


def test_patches_are_embedded_one_by_one_and_joined_in_order(tiny, crops):
    """In a forward of their own; another order of the patches is another embedding."""
    model = small(tiny).eval()
    (picture,), (mosaic,) = crops(8, 12), crops(8, 18)
    z = model.embed([picture, mosaic])
    patches = model.patch_projector(model.backbone(pieces(mosaic, 3))).view(8, 9, 4)
    for order, equal in ((range(9), True), (range(8, -1, -1), False)):
        joined = F.normalize(model.patch_joiner(patches[:, list(order)].flatten(1)), dim=1)
        assert torch.allclose(joined, z["patches"], atol=1e-6) is equal
    torch.testing.assert_close(z["z"], F.normalize(model.projector(model.backbone(picture)), dim=1))


def test_the_bank_follows_whole_pictures_only(tiny, noise):
    models = [small(tiny), small(tiny)]
    models[1].bank.rows.copy_(models[0].bank.rows)
    z = F.normalize(noise(8, 4), dim=1)
    for seed, model in enumerate(models):
        before = model.bank.rows.clone()
        model.update({"z": z, "patches": noise(8, 4, seed=seed + 1)}, INDEX, CLOCK)
        torch.testing.assert_close(model.bank.rows[:8], F.normalize(before[:8] + z, dim=1))
    assert torch.equal(models[0].bank.rows, models[1].bank.rows)


def test_the_two_terms_draw_their_own_negatives(tiny, noise):
    model = small(tiny)
    same = F.normalize(noise(8, 4), dim=1)
    _, numbers = model.objective({"z": same, "patches": same}, INDEX, CLOCK)
    assert numbers["patch_loss"] != numbers["picture_loss"]


def test_the_terms_are_weighed(tiny, noise):
    z = {"z": F.normalize(noise(8, 4), dim=1), "patches": F.normalize(noise(8, 4, seed=1), dim=1)}
    loss, numbers = small(tiny, patch_weight=0.25).objective(z, INDEX, CLOCK)
    assert loss == pytest.approx((0.25 * numbers["patch_loss"] + 0.75 * numbers["picture_loss"]).item())


def test_equal_scores_cost_the_constant(tiny):
    model, one = small(tiny), torch.eye(4)[:1]
    model.bank.rows.copy_(one.expand(50, 4))
    z = dict.fromkeys(("z", "patches"), one.expand(8, 4))
    (level,) = model.constants(8).values()
    assert model.objective(z, INDEX, CLOCK)[0] == pytest.approx(level) == pytest.approx(log(17))
    bare = small(tiny, ["negatives"])
    bare.bank.rows.copy_(one.expand(50, 4))
    assert bare.objective(z, INDEX, CLOCK)[0] == pytest.approx(-10) and bare.constants(8) == {}
