"""CMA as published: mined positives for any blocks and ranks, its four terms, its warm start."""

import pytest
import torch
import torch.nn.functional as F
from ranks import Ranks
from test_avid import CLOCK, INDEX, Flat, embeddings, small
from torch import Tensor

from semblance.errors import UserError
from semblance.runtime.ranks import own_rows
from semblance.systems import Clock
from semblance.systems.agreement import AGREEMENTS, mine, purity
from semblance.systems.contrastive.avid_cma import CMA

N, K = 61, 5


def rows(seed: int, n: int = N, dim: int = 16) -> Tensor:
    return F.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def cma(samples: int = 50, **hyper) -> CMA:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CMA(Flat(), Flat(), **{"dim": 4, "negatives": 16, "hidden": 8, "positives": 3, **hyper})
        model.prepare(samples)
    return model.double()


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_mining_is_brute_force_without_the_diagonal(agreement: str) -> None:
    video, audio = rows(0), rows(1)
    c = AGREEMENTS[agreement](video.double() @ video.double().T, audio.double() @ audio.double().T)
    expected = c.fill_diagonal_(-2).topk(K).indices.sort(1).values
    assert torch.equal(mine(video, audio, K, agreement), expected)


@pytest.mark.parametrize("block", [1, N, 7 * N, 10**9])
def test_mining_does_not_depend_on_the_block(block: int) -> None:
    """Duplicates included, where ties decide."""
    video, audio = rows(0), rows(1)
    video[10:20], audio[10:20] = video[0], audio[0]
    assert torch.equal(mine(video, audio, K, "consensus", block=block), mine(video, audio, K, "consensus"))


def test_mining_does_not_depend_on_the_ranks(two_ranks: Ranks) -> None:
    one = mine(rows(0), rows(1), K, "consensus")
    assert all(torch.equal(found, one) for found in two_ranks(_mine_on_a_rank))


def _mine_on_a_rank() -> Tensor:
    assert own_rows(N).stop - own_rows(N).start < N
    return mine(rows(0), rows(1), K, "consensus")


def test_no_clip_is_its_own_positive_even_in_a_collapsed_bank() -> None:
    same = torch.ones(N, 4) / 2
    found = mine(same, same, K, "consensus")
    assert not (found == torch.arange(N)[:, None]).any()
    assert found[0].tolist() == [1, 2, 3, 4, 5] and found[3].tolist() == [0, 1, 2, 4, 5]  # the first of equal ones


def test_equal_banks_agree_by_every_type() -> None:
    first, *others = (mine(rows(0), rows(0), K, agreement) for agreement in AGREEMENTS)
    assert all(torch.equal(first, found) for found in others)


def test_mining_is_invariant_to_rotation_and_follows_a_permutation() -> None:
    video, audio = rows(0), rows(1)
    turn, _ = torch.linalg.qr(rows(2, 16).double())
    found = mine(video, audio, K, "consensus")
    assert torch.equal(mine(video.double() @ turn, audio, K, "consensus"), found)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    place = order.argsort()
    assert torch.equal(mine(video[order], audio[order], K, "consensus"), place[found[order]].sort(1).values)


def test_consensus_finds_the_intersection_of_independent_clusters() -> None:
    """6 x 6 factors, 8 clips of each pair: one factor seen, the other heard."""
    seen, heard = (t.reshape(-1).repeat_interleave(8) for t in torch.meshgrid(*[torch.arange(6)] * 2, indexing="ij"))
    noise = 0.05 * rows(3, len(seen), 32)
    centres = rows(4, 12, 32)
    video, audio = F.normalize(centres[seen] + noise, dim=1), F.normalize(centres[6 + heard] + noise, dim=1)
    both = seen * 6 + heard
    assert purity(mine(video, audio, 7, "consensus"), both) == (1.0, pytest.approx(7 / 287))
    assert purity(mine(video, audio, 7, "video"), seen)[0] == 1 > purity(mine(video, audio, 7, "video"), both)[0]


def test_too_few_clips_name_the_remedy() -> None:
    with pytest.raises(UserError, match="--hyper.positives"):
        mine(rows(0), rows(1), N - 1, "consensus")
    with pytest.raises(UserError, match="Did you mean 'consensus'"):
        mine(rows(0), rows(1), K, "consensos")


def mined(**hyper) -> CMA:
    model = cma(**hyper)
    model.log_partition.fill_(0.7)
    model.start_step(_Whole(), CLOCK)
    return model


class _Whole:
    def track(self, items, what: str):
        return iter(items)


def test_cross_instance_alone_is_avid(noise) -> None:
    model = mined(within_positives=0.0)
    avid, z = small(), embeddings(noise)
    avid.load_state_dict({n: t for n, t in model.state_dict().items() if n != "positive_set"})
    own = INDEX[:, None]
    negative = model.draw(torch.cat([own, model.positive_set[INDEX].long()], 1).sort(1).values, INDEX, CLOCK)
    avid.draw = lambda *args: negative
    torch.testing.assert_close(model.objective(z, INDEX, CLOCK)[0], avid.objective(z, INDEX, CLOCK)[0])


def test_terms_against_the_formula(noise) -> None:
    """Each of the four alone, and the published mean of two, with fewer negatives within a modality."""
    z, weights = embeddings(noise), ("cross", "within", "cross_positives", "within_positives")
    losses = {}
    for name in weights:
        model = mined(**{w: float(w == name) for w in weights}, within_negatives=5, temperature=0.5)
        losses[name] = model.objective(z, INDEX, CLOCK)[0]
        agreeing = model.positive_set[INDEX].long()
        negative = model.draw(torch.cat([INDEX[:, None], agreeing], 1).sort(1).values, INDEX, CLOCK)
        positive = agreeing if "positives" in name else INDEX[:, None]
        negative = negative[:, :5] if name == "within_positives" else negative
        kz = negative.shape[1] * model.log_partition.exp()
        banks = {"video": model.video_bank, "audio": model.audio_bank}
        expected = []
        for modality, other in (("video", "audio"), ("audio", "video")):
            bank = banks[other if "cross" in name else modality].rows
            p, n = (torch.einsum("bd,bkd->bk", z[modality], bank[r]).div(0.5).exp() for r in (positive, negative))
            expected.append(-(p / (p + kz)).log().mean(1) - (kz / (n + kz)).log().sum(1))
        torch.testing.assert_close(losses[name], torch.stack(expected).mean())
    published = mined(within_negatives=5, temperature=0.5)
    torch.testing.assert_close(
        published.objective(z, INDEX, CLOCK)[0], (losses["cross"] + losses["within_positives"]) / 2
    )


def test_negatives_are_neither_the_clip_nor_its_positives(noise) -> None:
    model, seen = mined(negatives=400), []
    model._term = lambda z, cross, positive, negative: seen.append(negative) or z["video"].sum() * 0
    model.objective(embeddings(noise), INDEX, CLOCK)
    own = torch.cat([INDEX[:, None], model.positive_set[INDEX].long()], 1)
    for others, excluded in zip(seen[0], own, strict=True):
        assert set(others.tolist()) == set(range(50)) - set(excluded.tolist())
    assert seen[1].shape == (4, 64) and torch.equal(seen[1], seen[0][:, :64])


def test_a_cold_start_is_avid_up_to_its_share_of_the_run_and_then_refreshes() -> None:
    model = cma(start=0.15, refresh_epochs=5)
    at = []
    for step in range(0, 20 * 5):
        before = model.positive_set.clone()
        model.video_bank.update(F.normalize(torch.randn(5, 4).double(), dim=1), torch.arange(5), 0.0)
        model.start_step(_Whole(), Clock(step, 100, 5))
        if not torch.equal(before, model.positive_set):
            at.append(step)
    assert at == [15, 25, 50, 75]


def test_a_warm_start_mines_at_once(noise) -> None:
    model = cma()
    model.log_partition.fill_(0.7)
    model.start_step(_Whole(), CLOCK)
    assert model.mined and model.positive_set.dtype == torch.int32


def test_published_constants(defaults) -> None:
    found = defaults(CMA)
    assert {n: found[n] for n in ("cross", "within", "cross_positives", "within_positives")} == {
        "cross": 1.0,
        "within": 0.0,
        "cross_positives": 0.0,
        "within_positives": 1.0,
    }
    assert (found["positives"], found["within_negatives"], found["agreement"]) == (32, 64, "consensus")
    model = cma(negatives=1024)
    level = model.constants(4)["all scores equal"]
    assert level == pytest.approx((7.931960 + 5.166655) / 2, abs=1e-6)
