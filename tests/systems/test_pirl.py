"""PIRL as published, and its one guard."""

from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semblance.systems import Clock, memory_bank
from semblance.systems.contrastive.npid import NPID
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
        "temperature": 0.1, "negatives": 32_000, "momentum": 0.5, "patch_weight": 0.5, "dim": 128,
        "mlp_head": True, "nce": False,
    }  # fmt: skip


def test_heads_are_the_authors(tiny):
    model = small(tiny)
    kinds = [type(m) for m in model.patch_projector.modules() if not isinstance(m, nn.Sequential)]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]
    assert [type(m) for m in model.projector] == [nn.Linear, nn.ReLU, nn.Linear]
    assert (model.patch_joiner.in_features, model.patch_joiner.out_features) == (36, 4)
    linear = small(tiny, mlp_head=False)
    assert [type(m) for m in linear.projector] == [nn.Linear]
    kinds = [type(m) for m in linear.patch_projector.modules() if not isinstance(m, nn.Sequential)]
    assert kinds == [nn.Linear, nn.Identity]


@pytest.mark.parametrize(
    ("nce", "losses"),
    [(True, (4.248324707921622, 3.7112156592569505)), (False, (3.3278947013315023, 2.7829548360912013))],
)
def test_two_steps_of_the_authors_code(tiny, wave, monkeypatch, nce, losses):
    """facebookresearch/vissl: vissl/losses/nce_loss.py, both of its loss types, without the 1.2e-7 of the first.

    The partition constant comes from the patches and stays; a step's scores are of the bank before it.
    """
    draws = ((torch.arange(24).view(4, 6) * (3 if n % 2 else 7) + 2 + n)[:, 1:] % 10 for n in range(4))
    monkeypatch.setattr(memory_bank, "draw_outside", lambda *_: next(draws))
    model = PIRL(tiny, negatives=5, dim=3, temperature=0.5, nce=nce)
    model.prepare(10)
    model = model.double()
    model.bank.rows.copy_(wave(10, 3, 1.0))
    index, places = torch.tensor([3, 0, 7, 5]), torch.arange(10)[:, None]
    rows = [
        (-15.318341258747024, 11.15154190227444, -3.010582123544229),
        (-17.20179659619357, 12.486774796221628, -3.89792341291378),
    ]
    for step in range(2):
        z = {"patches": wave(4, 3, 2.0 + step), "z": wave(4, 3, 0.5 + step)}
        assert model.objective(z, index, CLOCK)[0].item() == pytest.approx(losses[step], rel=1e-10)
        model.update(z, index, CLOCK)
        assert (model.bank.rows * places).sum(0).tolist() == pytest.approx(rows[step], rel=1e-7)
        if nce:
            assert 10 * model.log_partition.exp().item() == pytest.approx(11.836450630974305, rel=1e-10)
    assert ("log_partition" in model.state_dict()) is nce


@pytest.mark.parametrize("weight", [0.5, 0.0])
def test_with_equal_embeddings_and_draws_or_no_patches_it_is_npid(tiny, wave, monkeypatch, weight):
    """And equal negatives; with no weight on the patches whatever they are."""
    monkeypatch.setattr(memory_bank, "draw_outside", lambda *_: torch.arange(8 * 16).view(8, 16) % 50)
    hyper = {"temperature": 0.2, "negatives": 16, "dim": 4}
    ours, npid = PIRL(tiny, **hyper, nce=True, patch_weight=weight), NPID(tiny, **hyper)
    for model in (ours, npid):
        model.prepare(50)
        model.double().bank.rows.copy_(wave(50, 4, 0.1))
    z = wave(8, 4, 0.7)
    ours.log_partition.fill_(1.0), npid.log_partition.fill_(1.0)
    loss, _ = ours.objective({"z": z, "patches": z if weight else -z}, INDEX, CLOCK)
    torch.testing.assert_close(loss, npid.objective({"z": z}, INDEX, CLOCK)[0])


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


def test_running_statistics_end_on_the_picture(tiny, crops):
    """The authors' order is patches, then picture (vissl: configs/config/pretrain/pirl, MULTI_INPUT_HEAD_MAPPING)."""
    model, seen = small(tiny), []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    model.embed([*crops(8, 12), *crops(8, 18)])
    assert seen == [72, 8]


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
    estimated = small(tiny, nce=True)
    estimated.bank.rows.copy_(one.expand(50, 4))
    (level,) = estimated.constants(8).values()
    assert estimated.objective(z, INDEX, CLOCK)[0] == pytest.approx(level) == pytest.approx(log(17) + 16 * log(17 / 16))
    bare = small(tiny, ["negatives"])
    bare.bank.rows.copy_(one.expand(50, 4))
    assert bare.objective(z, INDEX, CLOCK)[0] == pytest.approx(-10) and bare.constants(8) == {}
