"""semblance.step: a step in a loop of one's own, without a run."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from ranks import Ranks
from tiny import BATCH, PICTURES, assert_close, tiny_config, tiny_method, tiny_samples
from torch import Tensor

import semblance as sb
from semblance.engine.loop import optimizer_of, set_schedule, step
from semblance.errors import UserError
from semblance.runtime.ranks import own_rows
from semblance.systems import Clock
from semblance.views.view import make_views

INDEX = torch.arange(3, 3 + BATCH)


def made(name: str, **flags: Any) -> tuple[Any, Any, Any, list[Tensor]]:
    """Configuration, method, optimiser with a rate, views of INDEX."""
    config = tiny_config(name, precision="64", **flags)
    method = tiny_method(config, norms=False)
    optimizer = optimizer_of(config, method)
    set_schedule(optimizer, config, Clock(2, 10, 3))
    views = make_views(config.views, tiny_samples(name).read(INDEX), INDEX, seed=config.seed, step=2)
    return config, method, optimizer, views


@pytest.mark.parametrize("name", ["simclr", "npid", "swav", "byol", "avid"])
def test_it_is_the_step_of_a_run(name: str) -> None:
    config, method, optimizer, views = made(name, clip_grad=1e-3)
    theirs = deepcopy(method)
    loss, _ = sb.step(method, optimizer, views, INDEX, Clock(2, 10, 3), clip_grad=1e-3)
    batch = (*tiny_samples(name).read(INDEX), INDEX)
    expected, _ = step(theirs, optimizer_of(config, theirs), batch, config, Clock(2, 10, 3), torch.device("cpu"))
    assert loss == expected
    assert_close(method.state_dict(), theirs.state_dict(), 0.0)


def test_any_optimizer_of_torch_will_do_and_keeps_its_rate() -> None:
    _, method, _, views = made("byol")
    before = deepcopy(method.state_dict())
    optimizer = torch.optim.RMSprop(method.parameters(), lr=0.01)
    loss, numbers = sb.step(method, optimizer, views, INDEX, Clock(0, 10, 3))
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert loss.shape == () and not loss.requires_grad
    assert all(not value.requires_grad for value in numbers.values())
    for part in ("backbone", "target"):  # by the optimiser, and by the method after it
        moved = [n for n, v in method.state_dict().items() if n.startswith(part) and not torch.equal(v, before[n])]
        assert moved, part


@pytest.mark.parametrize("limit", [0.25, 1.0, 4.0])
def test_a_gradient_is_clipped_to_a_norm_and_never_made_longer(limit: float) -> None:
    """The limit in norms of the gradient: by how much the weights move at a rate of 1."""
    moved = {}
    for clip_grad in (None, limit):
        _, method, _, views = made("simclr")
        before = deepcopy(method)
        clip = None if clip_grad is None else clip_grad * moved[None]
        sb.step(method, torch.optim.SGD(method.parameters(), lr=1.0), views, INDEX, Clock(2, 10, 3), clip_grad=clip)
        pairs = zip(method.parameters(), before.parameters(), strict=True)
        moved[clip_grad] = float(torch.cat([(new - old).detach().flatten() for new, old in pairs]).norm())
    assert moved[limit] == pytest.approx(min(limit, 1.0) * moved[None], rel=1e-5)


def test_micro_batches_ask_for_their_own_views() -> None:
    _, method, optimizer, views = made("simclr")
    whole, asked = deepcopy(method), []

    def of(rows: slice) -> list[Tensor]:
        asked.append((rows.start, rows.stop))
        return [v[rows] for v in views]

    sb.step(method, optimizer, of, INDEX, Clock(2, 10, 3), micro_batch=4)
    assert asked == [(i, i + 4) for i in range(0, BATCH, 4)] * 2  # without a graph, then with one
    config = tiny_config("simclr", precision="64")
    optimizer = optimizer_of(config, whole)
    set_schedule(optimizer, config, Clock(2, 10, 3))
    sb.step(whole, optimizer, views, INDEX, Clock(2, 10, 3))
    assert_close(method.state_dict(), whole.state_dict(), 1e-9)


@pytest.mark.parametrize("name", ["simclr", "moco", "dino"])
def test_batch_norms_remember_every_micro_batch_once(name: str) -> None:
    """Though each is embedded twice."""
    config = tiny_config(name, precision="64")
    views = make_views(config.views, tiny_samples(name).read(INDEX), INDEX, seed=config.seed, step=2)
    seen: dict[int, dict[str, Tensor]] = {}
    for micro_batch in (BATCH, BATCH // 4):
        method = tiny_method(config)
        sb.step(method, optimizer_of(config, method), views, INDEX, Clock(2, 10, 3), micro_batch=micro_batch)
        buffers = method.named_buffers()
        seen[micro_batch] = {n: b for n, b in buffers if n.endswith("num_batches_tracked") and b > 0}
    whole, parts = seen.values()
    assert whole and parts == {n: 4 * times for n, times in whole.items()}


def test_ranks_hand_in_their_own_views(two_ranks: Ranks) -> None:
    one = _stepped("npid", False)
    for rank in two_ranks(_stepped, "npid", True):
        assert_close(rank, one, 1e-9)


def _stepped(name: str, apart: bool) -> dict[str, Tensor]:
    _, method, optimizer, views = made(name)
    own = own_rows(BATCH) if apart else slice(None)
    sb.step(method, optimizer, [v[own] for v in views], INDEX, Clock(2, 10, 3))
    return method.state_dict()


@pytest.mark.parametrize(
    ("index", "views", "said"),
    [
        (INDEX.float(), slice(None), r"int64 \(B,\), not float32 \(16,\)"),
        (INDEX[:, None], slice(None), r"not int64 \(16, 1\)"),
        (INDEX, slice(0, 9), "each of this rank's 16 of the 16 samples"),
        (torch.arange(PICTURES), slice(None), "this rank's 50 of the 50 samples"),
    ],
)
def test_what_does_not_fit_is_told(index: Tensor, views: slice, said: str) -> None:
    _, method, optimizer, made_views = made("simclr")
    before = deepcopy(method.state_dict())
    with pytest.raises(UserError, match=said):
        sb.step(method, optimizer, [v[views] for v in made_views], index, Clock(0, 10, 3))
    assert_close(method.state_dict(), before, 0.0)


def test_what_is_no_list_of_views_or_no_index_is_told_and_changes_nothing() -> None:
    _, method, optimizer, views = made("npid")
    before, clock = deepcopy(method.state_dict()), Clock(0, 10, 3)
    for of, given, at, settings, said in (
        (method, torch.stack(views), INDEX, {}, "is a list of tensors, .*not one tensor"),
        (method, [v.numpy() for v in views], INDEX, {}, "is a list of tensors, .*not one of ndarray"),
        (method, [], INDEX, {}, "is a list of tensors, .*not an empty one"),
        (method, None, INDEX, {}, "is a list of tensors, .*not one of NoneType"),
        (method, [v.to(torch.uint8) for v in views], INDEX, {}, "floating point, as .*make_views gives them"),
        (method, lambda rows: [v[:3] for v in views], INDEX, {}, "each of the 16 rows asked for; .* .3, 3, "),
        (method, views, INDEX.tolist(), {}, "a tensor int64 .B,., not list"),
        (method, views, INDEX[:0], {}, "a tensor int64 .B,., not int64 .0,."),
        (method, views, INDEX - 4, {}, "index: numbers of samples count from 0, and here is -1"),
        (type(method), views, INDEX, {}, "method is an object of a class derived from"),
        (method, views, INDEX, {"micro_batch": 0}, "micro_batch: a whole number"),
        (method, views, INDEX, {"clip_grad": 0.0}, "clip_grad: a number above 0"),
        (method, views, INDEX, {"clip_each": -1.0}, "clip_each: a number above 0"),
    ):
        with pytest.raises(UserError, match=said):
            sb.step(of, optimizer, given, at, clock, **settings)
    assert_close(method.state_dict(), before, 0.0)
    loss, _ = sb.step(method, optimizer, (v for v in views), INDEX, clock)
    assert loss.isfinite()


def test_numbers_to_log_may_be_of_python() -> None:
    _, method, optimizer, views = made("simclr")
    inner = method.objective
    method.objective = lambda z, index, clock: (inner(z, index, clock)[0], {"mine": 2, "half": 0.5})
    assert {name: float(x) for name, x in sb.step(method, optimizer, views, INDEX, Clock(0, 10, 3))[1].items()} == {
        "mine": 2.0, "half": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("embed", "returned", "said"),
    [
        (lambda views: (views[0], views[1]), None, "SimCLR.embed returns a dict of tensors by name, not tuple"),
        (lambda views: {"z": [1.0]}, None, "SimCLR.embed returns a dict of tensors by name, not dict"),
        (lambda views: {"z": torch.cat(views)}, None, r"z is a tensor \(32, .*each of the 16 .*torch.chunk\(z, 2\)"),
        (lambda views: {"z": views[0].mean()}, None, r"z is a tensor \(\), and each embedding has one row"),
        (None, lambda loss: (loss.detach(), {}), "SimCLR.objective: the loss does not require grad, .* leave out"),
        (None, lambda loss: (loss, {1: loss}), "numbers to log have names, and 1 is no text"),
        (None, lambda loss: loss, r"returns the loss, .*as in `return loss, {}`; not a tensor \(\)"),
        (None, lambda loss: (loss.expand(3), {}), r"not a pair of a tensor \(3,\) and dict"),
        (None, lambda loss: (loss, [loss]), r"not a pair of a tensor \(\) and list"),
        (None, lambda loss: (loss, {"loss": loss}), "loss is a run's own number: log yours by another name"),
        (None, lambda loss: (loss, {"step": 1}), "step is a run's own number"),
        (None, lambda loss: (loss, {"mine": loss.expand(3)}), "numbers to log are single ones"),
        (None, lambda loss: (loss, {"mine": "much"}), "numbers to log are single ones"),
    ],
)
def test_what_a_method_may_not_return_is_told(embed: Any, returned: Any, said: str) -> None:
    _, method, optimizer, views = made("simclr")
    inner = method.objective
    if embed:
        method.embed = embed
    else:
        method.objective = lambda z, index, clock: returned(inner(z, index, clock)[0])
    with pytest.raises(UserError, match=said):
        sb.step(method, optimizer, views, INDEX, Clock(0, 10, 3))
