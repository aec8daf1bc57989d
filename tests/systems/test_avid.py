"""AVID as published: golden values of its loss, banks, partition constant, negatives, and the first loss of a run."""

from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.losses import nce
from semblance.systems import Clock
from semblance.systems.contrastive.avid import AVID, random_level
from semblance.systems.memory_bank import MemoryBank, draw_outside, nce_level

CLOCK = Clock(0, 10, 5)
INDEX = torch.tensor([3, 0, 7, 5])
NEGATIVES = torch.tensor([[0.0, 0.5, -1.0, 2.0]], dtype=torch.float64)  # the golden case: K = 4, Z = 2, score 1


class Flat(nn.Module):
    """Anything to 8 features."""

    num_features = 8

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :8]


def small(without=(), samples: int = 50, **hyper) -> AVID:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AVID(Flat(), Flat(), without, **{"dim": 4, "negatives": 16, "hidden": 8, **hyper})
        model.prepare(samples)
    return model.double()


def embeddings(noise, n: int = 4, dim: int = 4, seed: int = 0) -> dict[str, Tensor]:
    video, audio = (F.normalize(noise(n, dim, seed=seed + s).double(), dim=1) for s in (0, 10))
    return {"video": video, "audio": audio}


def test_golden_loss_and_gradients() -> None:
    positive = torch.tensor([[1.0]], dtype=torch.float64, requires_grad=True)
    negative = NEGATIVES.clone().requires_grad_()
    loss = nce(positive, negative, log(4 * 2))
    loss.backward()
    assert loss.item() == pytest.approx(2.3762917860, abs=1e-9)
    assert nce(positive, negative[:, :0], log(8)).item() == pytest.approx(1.3719508656, abs=1e-9)
    parts = [nce(positive, negative[:, i : i + 1], log(8)).item() - 1.3719508656 for i in range(4)]
    assert parts == pytest.approx([0.1177830357, 0.1873838541, 0.0449589584, 0.6542150722], abs=1e-9)
    assert positive.grad.item() == pytest.approx(-0.7463882857, abs=1e-9)
    expected = [0.1111111111, 0.1708745879, 0.0439632817, 0.4801500528]
    assert negative.grad[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_loss_is_binary_cross_entropy_and_invariant_to_a_common_shift() -> None:
    logits = torch.cat([torch.ones(1, 1).double(), NEGATIVES], 1) - log(8)
    target = torch.tensor([[1.0, 0, 0, 0, 0]]).double()
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="sum").item()
    assert bce == pytest.approx(2.3762917860, abs=1e-9)
    shifted = nce(torch.ones(1, 1).double() + 3, NEGATIVES + 3, log(8) + 3).item()
    assert shifted == pytest.approx(2.3762917860, abs=1e-9)


def test_levels_of_the_loss() -> None:
    assert nce_level(1024) == pytest.approx(7.931960, abs=1e-6) and nce_level(64) == pytest.approx(5.166655, abs=1e-6)
    assert random_level(1024, 0.07, 128) == pytest.approx(8.73, abs=0.01)
    assert random_level(64, 0.07, 128) == pytest.approx(5.94, abs=0.01)


def test_the_first_loss_of_a_run_is_near_8_73() -> None:
    torch.manual_seed(0)
    model = AVID(Flat(), Flat())
    model.prepare(5000)
    z = {name: F.normalize(torch.randn(256, 128), dim=1) for name in ("video", "audio")}
    loss, _ = model.objective(z, torch.arange(256), CLOCK)
    assert loss.item() == pytest.approx(8.73, abs=0.2)
    assert model.log_partition.exp().item() == pytest.approx(2.2086518, abs=0.02)


def test_partition_constant_is_the_mean_of_the_first_negatives_and_stays(noise) -> None:
    assert NEGATIVES.exp().mean().item() == pytest.approx(2.6014142747, abs=1e-6)
    model, z = small(), embeddings(noise)
    rows = model.draw(INDEX[:, None], INDEX, CLOCK)
    expected = (model.audio_bank.chosen(z["video"], rows) / 0.07).exp().mean()  # of video on sounds only
    model.objective(z, INDEX, CLOCK)
    first = model.log_partition.clone()
    torch.testing.assert_close(first.exp(), expected)
    model.objective(embeddings(noise, seed=5), INDEX, Clock(5, 10, 5))
    assert model.log_partition == first == model.state_dict()["log_partition"]
    other = small()
    other.load_state_dict(model.state_dict())
    other.objective(embeddings(noise, seed=7), INDEX, CLOCK)
    assert other.log_partition == first


def _written_out(model: AVID, z: dict[str, Tensor], contexts: list[tuple[str, MemoryBank]]) -> Tensor:
    """The formula of the paper, term by term and row by row."""
    rows = model.draw(INDEX[:, None], INDEX, CLOCK)
    kz = model.negatives * model.log_partition.exp()
    terms = []
    for name, bank in contexts:
        for x, own, others in zip(z[name], INDEX, rows, strict=True):
            p, n = (torch.exp(bank.rows[r] @ x / model.temperature) for r in (own, others))
            terms.append(-torch.log(p / (p + kz)) - torch.log(kz / (n + kz)).sum())
    return torch.stack(terms).mean()


@pytest.mark.parametrize(("cross", "within"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (2.0, 2.0)])
def test_cross_self_and_joint(cross: float, within: float, noise) -> None:
    model, z = small(cross=cross, within=within, temperature=0.5), embeddings(noise)
    loss, _ = model.objective(z, INDEX, CLOCK)
    v, a = model.video_bank, model.audio_bank
    crossed = _written_out(model, z, [("video", a), ("audio", v)])
    alone = _written_out(model, z, [("video", v), ("audio", a)])
    torch.testing.assert_close(loss, (cross * crossed + within * alone) / (cross + within), rtol=1e-12, atol=0)


def test_swapping_modalities_with_their_banks_keeps_the_cross_loss(noise) -> None:
    model, z = small(), embeddings(noise)
    model.log_partition.fill_(0.7)
    loss, _ = model.objective(z, INDEX, CLOCK)
    model.video_bank, model.audio_bank = model.audio_bank, model.video_bank
    torch.testing.assert_close(model.objective({"video": z["audio"], "audio": z["video"]}, INDEX, CLOCK)[0], loss)


def test_order_of_the_batch_does_not_matter(noise) -> None:
    model, z, order = small(), embeddings(noise), torch.tensor([2, 0, 3, 1])
    loss, _ = model.objective(z, INDEX, CLOCK)
    torch.testing.assert_close(model.objective({n: t[order] for n, t in z.items()}, INDEX[order], CLOCK)[0], loss)


def test_gradient_is_orthogonal_to_the_embedding_and_spares_the_banks(noise) -> None:
    model = small()
    raw = {name: (3 * t).requires_grad_() for name, t in embeddings(noise).items()}
    loss, _ = model.objective({n: F.normalize(t, dim=1) for n, t in raw.items()}, INDEX, CLOCK)
    loss.backward()
    for t in raw.values():
        assert (t.grad * t).sum(1).abs().max() < 1e-12 < t.grad.abs().max()
    assert not model.video_bank.rows.requires_grad and model.video_bank.rows.grad is None


@pytest.mark.parametrize(("momentum", "cosine", "expected"), [
    (0.5, 0.0, 0.7071068), (0.9, 0.0, 0.1104315), (0.5, 0.5, 0.8660254), (0.9, 0.5, 0.5765567), (0.5, -0.5, 0.5),
    (1.0, 0.3, 0.3), (0.0, 0.3, 1.0),
])  # fmt: skip
def test_bank_moves_by_its_momentum(momentum: float, cosine: float, expected: float) -> None:
    old = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    bank = MemoryBank(old.clone())
    new = torch.tensor([[cosine, (1 - cosine**2) ** 0.5]], dtype=torch.float64)
    bank.update(new, torch.tensor([0]), momentum)
    assert (bank.rows[0] @ new[0]).item() == pytest.approx(expected, abs=1e-7)
    assert bank.rows.norm(dim=1).tolist() == pytest.approx([1, 1]) and torch.equal(bank.rows[1], old[1])


def test_bank_has_no_nan_where_a_row_meets_its_opposite() -> None:
    bank = MemoryBank(torch.tensor([[1.0, 0.0]]))
    bank.update(torch.tensor([[-1.0, 0.0]]), torch.tensor([0]), 0.5)
    assert bank.rows.isfinite().all()


def test_the_last_of_equal_indices_counts(noise) -> None:
    z, index = F.normalize(noise(5, 4), dim=1), torch.tensor([2, 0, 2, 1, 2])
    twice, once = (MemoryBank(F.normalize(noise(3, 4, seed=1), dim=1)) for _ in range(2))
    twice.update(z, index, 0.5)
    once.update(z[[1, 3, 4]], index[[1, 3, 4]], 0.5)
    assert torch.equal(twice.rows, once.rows)


def test_a_draw_maps_onto_the_complement() -> None:
    """The golden case, and every set of up to three out of six: each row outside is drawn, none inside."""
    from itertools import combinations

    holes = torch.tensor([[2, 3, 7]])
    seen = draw_outside(holes, 10, 2000, 0, torch.tensor([0]))
    assert seen.unique().tolist() == [0, 1, 4, 5, 6, 8, 9]
    for size in (1, 2, 3):
        for excluded in combinations(range(6), size):
            drawn = draw_outside(torch.tensor([excluded]), 6, 400, 1, torch.tensor([0]))
            assert drawn.unique().tolist() == sorted(set(range(6)) - set(excluded))


def test_draws_are_uniform() -> None:
    drawn = draw_outside(torch.tensor([[4]]), 11, 50_000, 3, torch.tensor([9]))
    counts = drawn[0].bincount(minlength=11)[[i for i in range(11) if i != 4]].double()
    assert ((counts - 5000).square() / 5000).sum() < 27.9  # 0.1 % of chi-square with 9 degrees of freedom


def test_negatives_change_with_the_epoch_not_with_the_batch() -> None:
    model, own = small(), INDEX[:, None]
    first = model.draw(own, INDEX, CLOCK)
    assert torch.equal(model.draw(own[2:], INDEX[2:], Clock(3, 10, 5)), first[2:])
    assert not torch.equal(model.draw(own, INDEX, Clock(5, 10, 5)), first)


def test_without_negatives_only_attraction_is_left(noise) -> None:
    model, z = small(["negatives"]), embeddings(noise)
    expected = -(model.audio_bank.own(z["video"], INDEX) + model.video_bank.own(z["audio"], INDEX)).mean() / 2 / 0.07
    torch.testing.assert_close(model.objective(z, INDEX, CLOCK)[0], expected)
    assert model.constants(4) == {}


def test_published_constants(defaults) -> None:
    assert defaults(AVID) == {
        "temperature": 0.07, "negatives": 1024, "momentum": 0.5, "cross": 1.0, "within": 0.0, "hidden": 512, "dim": 128,
        "norm": False,
    }  # fmt: skip
    heads = AVID(_Wide(), _Wide())
    assert sum(p.numel() for p in heads.projector.parameters()) == 590_976
    recipe = AVID.recipes["imagenet"]
    assert (recipe.optimizer, recipe.lr, recipe.batch_size, recipe.weight_decay) == ("adam", 2e-4, 256, 1e-5)
    clip, sound = recipe.views
    assert (clip.size, clip.frames, clip.seconds, clip.picture.jitter) == (224, 8, 0.5, (0.4, 0.4, 0.4, 0.2))
    assert (sound.samples, sound.bins) == (48_000, 257)


def test_parts_of_time_share_a_head_and_keep_their_order() -> None:
    """An embedding of two parts is those of either one side by side; what swaps them swaps its halves."""
    heads = AVID(_InParts(), _InParts(), hidden=8, dim=6)
    x = torch.randn(5, 8)
    early, late = heads.projector(x).chunk(2, 1)
    assert early.shape == (5, 3) and not torch.equal(early, late)
    swapped = heads.projector(torch.cat([x[:, 4:], x[:, :4]], 1))
    torch.testing.assert_close(swapped, torch.cat([late, early], 1))
    with pytest.raises(UserError, match="no 2 equal parts"):
        AVID(_InParts(), _InParts(), dim=7)


def test_batch_norms_end_the_projector_where_they_are_wanted() -> None:
    for network in (_Wide(), _InParts()):
        z = AVID(network, network, hidden=8, dim=6, norm=True).projector(torch.randn(64, network.num_features))
        torch.testing.assert_close(z.mean(0), torch.zeros(6), atol=1e-6, rtol=0)
        torch.testing.assert_close(z.std(0, correction=0), torch.ones(6), atol=1e-3, rtol=0)


class _Wide(Flat):
    num_features = 512


class _InParts(Flat):
    num_features, parts = 8, 2
