"""Counted randomness: the numbers are uniform, independent, and depend on what they are for and on nothing else."""

import pytest
import torch
from scipy import stats

from semblance.runtime import random

N = 40_000
INDEX = torch.arange(N)
SURE = 1e-3  # the seeds are fixed, so a p-value below this is a fault and not bad luck


def splitmix64(state: int, n: int) -> list[int]:
    """The generator of Steele et al. 2014 in unbounded integers."""
    mask, out = (1 << 64) - 1, []
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        out.append(z ^ (z >> 31))
    return out


def test_the_reference_gives_the_published_sequence():
    assert splitmix64(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("key", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_slots_are_a_splitmix64_sequence_started_by_key_and_index(key):
    index = [0, 1, 12345, 2**40]
    golden = 0x9E3779B97F4A7C15
    for i, row in zip(index, random.bits(key, torch.tensor(index), 5).tolist(), strict=True):
        (start,) = splitmix64(i * golden + key - golden, 1)
        assert row == [x & (1 << 63) - 1 for x in splitmix64(start, 5)]


@pytest.mark.parametrize(
    "u",
    [
        pytest.param(lambda: random.uniform(7, INDEX)[:, 0], id="over indices"),
        pytest.param(lambda: random.uniform(7, torch.tensor([3]), N)[0], id="over slots"),
        pytest.param(
            lambda: torch.cat([random.uniform(random.key(s, "crop", 2), INDEX[:4])[:, 0] for s in range(N // 16)]),
            id="over seeds",
        ),
    ],
)
def test_numbers_are_uniform(u):
    u = u()
    assert u.dtype == torch.float32 and u.min() >= 0 and u.max() < 1
    assert stats.kstest(u.numpy(), "uniform").pvalue > SURE
    assert stats.chisquare(torch.histc(u, 100, 0, 1).numpy()).pvalue > SURE


def test_every_bit_is_fair():
    """Of the 63, the lowest too, on consecutive indices."""
    bits = random.bits(11, INDEX)
    ones = (bits >> torch.arange(63) & 1).sum(0)
    assert ((ones - N / 2).abs() < 4.5 * (N / 4) ** 0.5).all()


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(lambda: random.uniform(5, INDEX, 2).T, id="slots"),
        pytest.param(lambda: (random.uniform(5, INDEX)[:, 0], random.uniform(5, INDEX + 1)[:, 0]), id="indices"),
        pytest.param(lambda: (random.uniform(5, INDEX, 2)[:, 1], random.uniform(5, INDEX + 1)[:, 0]), id="both"),
        pytest.param(lambda: [random.uniform(random.key(0, e), INDEX)[:, 0] for e in (0, 1)], id="epochs"),
        pytest.param(lambda: [random.uniform(random.key(s, "v"), INDEX)[:, 0] for s in (0, 1)], id="seeds"),
        pytest.param(lambda: [random.uniform(random.key(0, p), INDEX)[:, 0] for p in ("a", "b")], id="purposes"),
        pytest.param(lambda: [random.uniform(k, INDEX)[:, 0] for k in (0, 1)], id="neighbouring keys"),
    ],
)
def test_numbers_for_different_things_are_independent(pair):
    a, b = pair()
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 4.5 / N**0.5
    cells = torch.bincount((a * 16).long() * 16 + (b * 16).long(), minlength=256)
    assert stats.chisquare(cells.numpy()).pvalue > SURE


def test_keys_differ_for_every_seed_and_purpose():
    """Names and numbers count, and so does their order; a seed may have any size and sign."""
    keys = {random.key(s, "view", e, v) for s in (-1, 0, 1, 2**40, 2**63) for e in range(30) for v in range(8)}
    assert len(keys) == 5 * 30 * 8
    assert random.key(0, "a", 1, 2) != random.key(0, "a", 2, 1)
    assert len({random.key(0), random.key(0, 0), random.key(0, 0, 0)}) == 3


def test_rows_may_have_keys_of_their_own():
    """Of the same value as a key for all of them, through every purpose it is used for."""
    keys = [random.key(s, "view", 3) for s in (-5, 0, 2**63)]
    rows = torch.tensor(keys).repeat_interleave(100)
    derived = torch.tensor([random.key(k, "crop", 7) for k in keys]).repeat_interleave(100)
    assert torch.equal(random.key(rows, "crop", 7), derived)
    each = torch.cat([random.uniform(k, INDEX[:100], 5) for k in keys])
    assert torch.equal(random.uniform(rows, INDEX[:100].repeat(3), 5), each)


def test_keys_are_those_of_the_first_release():
    """Runs are repeated by them."""
    assert (random.key(0, "a", 1), random.key(-1, "view", 2, 3)) == (-3565303495748817909, 2556826117102428218)


def test_numbers_of_an_index_do_not_depend_on_the_batch():
    """Any subset, in any order, with any number of slots."""
    whole = random.uniform(3, INDEX[:1000], 12)
    chosen = torch.tensor([999, 0, 500, 500, 7])
    assert torch.equal(random.uniform(3, chosen, 12), whole[chosen])
    assert torch.equal(random.uniform(3, chosen, 4), whole[chosen, :4])
    assert torch.equal(random.uniform(3, chosen.int(), 12), whole[chosen])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_numbers_do_not_depend_on_the_device():
    assert torch.equal(random.uniform(3, INDEX.cuda(), 3).cpu(), random.uniform(3, INDEX, 3))


def test_the_global_generator_is_neither_read_nor_moved():
    before = torch.get_rng_state()
    first = random.uniform(random.key(1, "x"), INDEX[:9])
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert torch.equal(random.uniform(random.key(1, "x"), INDEX[:9]), first)


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_a_permutation_visits_everything_once(n):
    assert random.permutation(5, n).sort().values.tolist() == list(range(n))


def test_permutations_of_epochs_differ_and_every_place_is_equally_likely():
    orders = torch.stack([random.permutation(random.key(0, "order", e), 8) for e in range(4000)])
    assert (orders[0] != orders[1]).any()
    counts = torch.stack([torch.bincount(place, minlength=8) for place in orders.T])  # place x item
    assert stats.chisquare(counts.flatten().numpy()).pvalue > SURE
    fixed = (orders == torch.arange(8)).sum(1).double()  # of a random permutation: 1 on average, with variance 1
    assert abs(fixed.mean() - 1) < 4.5 / 4000**0.5 and abs(fixed.var() - 1) < 0.15
