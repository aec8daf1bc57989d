"""The linear probe: what it reaches, what it may not look at, and what it must not depend on."""

import math
from collections.abc import Iterator

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from semblance.errors import UserError
from semblance.evaluation import linear
from semblance.evaluation.linear import Rows, fit_heads, hold_out, linear_probe

Data = tuple[Tensor, Tensor, Tensor, Tensor]


def blobs(n: int = 300, m: int = 120, d: int = 12, classes: int = 4, noise: float = 1.5) -> Data:
    """Classes around random centres: train (n, d), labels (n,), test (m, d), labels (m,)."""
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, d, generator=g)
    labels = torch.arange(n + m) % classes
    x = centres[labels] + noise * torch.randn(n + m, d, generator=g)
    return x[:n], labels[:n], x[n:], labels[n:]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Thousands of tiny products: threads would wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> Data:
    pixels, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    pixels, labels = pixels.float(), labels.long()
    return pixels[:1200], labels[:1200], pixels[1200:], labels[1200:]


def test_separable_data_is_separated() -> None:
    probe = linear_probe(*blobs(noise=0.1), classes=4)
    assert (probe.top1, probe.mean_per_class, probe.validation_top1) == (1.0, 1.0, 1.0)


def test_reaches_logistic_regression(digits: Data) -> None:
    train, train_labels, test, test_labels = digits
    scaler = StandardScaler().fit(train)
    reference = LogisticRegression(max_iter=2000).fit(scaler.transform(train), train_labels)
    expected = reference.score(scaler.transform(test), test_labels)
    assert abs(linear_probe(*digits, classes=10).top1 - expected) < 0.015


def test_labels_without_relation_are_not_learnt() -> None:
    train, labels, test, test_labels = blobs(n=400, m=2000)
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    assert abs(linear_probe(train, shuffled, test, test_labels, classes=4).top1 - 0.25) < 0.15


def test_test_labels_only_measure() -> None:
    """Neither setting nor predictions follow the test labels: each picture is predicted as exactly one class."""
    train, labels, test, test_labels = blobs()
    probe = linear_probe(train, labels, test, test_labels, classes=4)
    permuted = linear_probe(train, labels, test, test_labels.flip(0), classes=4)
    constant = [linear_probe(train, labels, test, torch.full_like(test_labels, c), classes=4) for c in range(4)]
    assert len({(p.lr, p.weight_decay, p.validation_top1) for p in [probe, permuted, *constant]}) == 1
    assert permuted.top1 < probe.top1 - 0.3
    assert sum(p.top1 for p in constant) == pytest.approx(1)


def test_the_validation_rows_choose_the_setting() -> None:
    """A learning rate too small to leave 0, and one so large that it cannot settle, lose to a good one."""
    data = blobs()
    probe = linear_probe(*data, classes=4, lrs=(1e-9, 3.0, 1e9), weight_decays=(0.0, 1.0))
    assert probe.lr == 3.0
    assert probe.validation_top1 > 0.6


def one_of_its_class() -> Data:
    """Of class 0 there is one row to train on, which validates, since it is the first."""
    train, labels, test, test_labels = blobs(noise=0.1)
    kept = labels.ne(0) | (labels.eq(0).cumsum(0) == 1)
    assert labels[kept][hold_out(labels[kept], 0)[1]].eq(0).sum() == 1
    return train[kept], labels[kept], test, test_labels


def test_validation_rows_are_not_fitted() -> None:
    data = one_of_its_class()
    held = len(hold_out(data[1], 0)[1])
    assert linear_probe(*data, classes=4).validation_top1 == pytest.approx(1 - 1 / held)


def test_the_final_fit_is_on_all_training_rows() -> None:
    train, labels, test, test_labels = one_of_its_class()
    own = test_labels == 0
    assert linear_probe(train, labels, test[own], test_labels[own], classes=4).top1 == 1.0


@pytest.mark.parametrize(("n", "held"), [(2, 1), (9, 1), (10, 1), (11, 2), (1000, 100)])
def test_a_tenth_is_held_out(n: int, held: int) -> None:
    """The two parts are all rows, once each, and depend on the seed alone."""
    labels = torch.arange(n) % 5
    fitting, validation = hold_out(labels, seed=3)
    assert len(validation) == held
    assert torch.cat([fitting, validation]).sort().values.tolist() == list(range(n))
    assert torch.equal(validation, hold_out(labels, seed=3)[1])


def test_every_class_is_held_out_in_proportion() -> None:
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([500, 300, 100, 100]))
    _, validation = hold_out(labels, seed=0)
    assert labels[validation].bincount().tolist() == [50, 30, 10, 10]
    assert not torch.equal(validation, hold_out(labels, seed=1)[1])


def test_mean_per_class_weighs_classes_alike() -> None:
    """Over the classes in the test set: where all of one class are right and of another wrong, a half."""
    train, labels, test, test_labels = blobs(noise=0.1)
    test_labels = torch.where(test_labels == 1, 3, test_labels)  # right for 0, 2 and 3, wrong for what was 1
    keep = (test_labels == 0) | (test_labels == 3)
    probe = linear_probe(train, labels, test[keep], test_labels[keep], classes=5)
    assert probe.top1 == pytest.approx(2 / 3)
    assert probe.mean_per_class == pytest.approx(3 / 4)
    test_labels = torch.where(test_labels == 3, 0, test_labels)[keep]  # recall 1/3; of precision, it would be 1/2
    assert linear_probe(train, labels, test[keep], test_labels, classes=5).mean_per_class == pytest.approx(1 / 3)


@pytest.mark.parametrize("only", range(4))
def test_held_out_rows_are_standardised_by_the_training_set(only: int) -> None:
    """Rows of one class are still that class; by their own mean they would lie in the middle of all."""
    train, labels, test, test_labels = blobs(noise=0.1)
    own = test_labels == only
    assert linear_probe(train, labels, test[own], test_labels[own], classes=4).top1 == 1.0


def test_features_too_large_to_copy_give_the_same(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = linear_probe(*digits, classes=10, epochs=2)
    monkeypatch.setattr(linear, "COPIED", 0)
    assert linear_probe(*digits, classes=10, epochs=2) == copied


def test_same_seed_same_result(digits: Data) -> None:
    """The global generator plays no part."""
    torch.manual_seed(1)
    first = linear_probe(*digits, classes=10, seed=5, epochs=2)
    torch.manual_seed(2)
    assert linear_probe(*digits, classes=10, seed=5, epochs=2) == first


def test_scale_and_shift_of_features_do_not_matter() -> None:
    train, labels, test, test_labels = blobs()
    g = torch.Generator().manual_seed(2)
    scale = 2.0 ** torch.randint(-20, 20, (12,), generator=g)
    shift = 8 * torch.randn(12, generator=g) * scale
    first = linear_probe(train, labels, test, test_labels, classes=4)
    second = linear_probe(train * scale + shift, labels, test * scale + shift, test_labels, classes=4)
    assert (second.lr, second.weight_decay) == (first.lr, first.weight_decay)
    assert second.top1 == pytest.approx(first.top1, abs=0.01)


def test_rows_are_standardised() -> None:
    """Mean 0 and variance 1 / (D + 1) by the training set; features constant there are nothing, bias aside."""
    train, _, test, _ = blobs()
    train[:, 3], test[:, 3] = 0.1, 5.0
    rows, test_rows = Rows.standardised(train, test)
    x = rows[torch.arange(len(train))]
    varying = [i for i in range(12) if i != 3]
    torch.testing.assert_close(x[:, varying].mean(0), torch.zeros(11), atol=1e-6, rtol=0)
    torch.testing.assert_close(x[:, varying].var(0, correction=0), torch.full((11,), 1 / 13))
    assert (test_rows[torch.arange(9)][:, 3] == 0).all()
    torch.testing.assert_close(x[:, 12], torch.full((len(train),), 13**-0.5))


def test_heads_trained_together_are_as_if_alone() -> None:
    train, labels, _, _ = blobs()
    (rows,) = Rows.standardised(train)
    settings = [(0.3, 0.0), (3.0, 1e-2), (30.0, 1e-4)]

    def fit(settings: list[tuple[float, float]]) -> Tensor:
        return fit_heads(rows, labels, torch.arange(200), settings, 4, 0, 3, 32)

    together = fit(settings).view(13, 3, 4)
    for head, setting in enumerate(settings):
        torch.testing.assert_close(together[:, head], fit([setting]), rtol=1e-4, atol=1e-5)


def test_follows_torch_sgd() -> None:
    """One head is what autograd, torch.optim.SGD and cosine annealing give."""
    train, labels, _, _ = blobs(n=64)
    (rows,) = Rows.standardised(train)
    ours = fit_heads(rows, labels, torch.arange(64), [(2.0, 1e-2)], 4, 0, 20, 64)
    weight = torch.zeros(13, 4, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=2.0, momentum=0.9, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / 20)))
    x = rows[torch.arange(64)]
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(x @ weight, labels).backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(ours, weight.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_few_rows_are_enough(n: int) -> None:
    train, labels, test, test_labels = blobs(n=n)
    probe = linear_probe(train, labels, test, test_labels, classes=4, batch_size=16)
    assert 0 <= probe.top1 <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "2 classes"),
        ({"classes": 3}, "between 0 and 2"),
        ({"test_labels": torch.full((120,), 4)}, "between 0 and 3"),
        ({"train_labels": torch.zeros(9, dtype=torch.int64)}, "300 rows"),
        ({"test_labels": torch.zeros(9, dtype=torch.int64)}, "120 rows"),
        ({"test": torch.zeros(120, 11)}, "(N, 12)"),
        ({"test": torch.full((120, 12), math.nan)}, "NaN"),
        ({"train": torch.zeros(1, 12), "train_labels": torch.zeros(1, dtype=torch.int64)}, "2 training rows"),
    ],
)
def test_bad_input_is_explained(change: dict, message: str) -> None:
    arguments = dict(zip(("train", "train_labels", "test", "test_labels"), blobs(), strict=True))
    with pytest.raises(UserError) as error:
        linear_probe(**{**arguments, "classes": 4, **change})
    assert message in str(error.value)


@pytest.mark.parametrize("seed", [7, 15])
def test_the_choice_does_not_hang_on_rounding(seed: int) -> None:
    """Of these features, noise of 3e-4 turned the best accuracy on the tenth from one rate to another, 30 apart."""
    g = torch.Generator().manual_seed(seed)
    n, m, d, classes = 500, 400, 48, 8
    spectrum = 1 / torch.arange(1, d + 1)
    centres, labels = torch.randn(classes, d, generator=g) * spectrum, torch.arange(n + m) % classes
    x = centres[labels] + 2 * torch.randn(n + m, d, generator=g) * spectrum
    x = torch.relu(x @ torch.randn(d, d, generator=g))
    probes = []
    for noise in range(4):
        near = x * (1 + 3e-4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(noise)))
        probes.append(linear_probe(near[:n], labels[:n], near[n:], labels[n:], classes=classes))
    assert len({(probe.lr, probe.weight_decay) for probe in probes}) == 1
    assert max(probe.top1 for probe in probes) - min(probe.top1 for probe in probes) <= 0.005


@pytest.mark.parametrize("seed", [24, 34])
def test_rates_that_end_where_rounding_leads_are_not_chosen(seed: int) -> None:
    """One direction holds most of these features, and a rate of 100 makes 1e-7 of them a point of accuracy or more."""
    g = torch.Generator().manual_seed(seed)
    n, classes = 400, 10
    labels = torch.arange(2 * n) % classes
    x = torch.randn(classes, 32, generator=g)[labels] + 2 * torch.randn(2 * n, 32, generator=g)
    x = x + 4 * torch.randn(2 * n, 1, generator=g)
    probes = []
    for noise in range(3):
        near = x * (1 + noise * 1e-7 * torch.randn(x.shape, generator=torch.Generator().manual_seed(noise)))
        probes.append(linear_probe(near[:n], labels[:n], near[n:], labels[n:], classes=classes))
    assert len({(probe.lr, probe.weight_decay, probe.top1) for probe in probes}) == 1


def test_the_largest_stable_rate_is_where_descent_begins_to_fail(digits: Data) -> None:
    """From weights of nearly 0, along the steepest direction: just below it they shrink, just above they grow."""
    rows, even = Rows.standardised(digits[0])[0][:], torch.arange(1200) % 10
    eigenvalues, directions = torch.linalg.eigh(rows.T.double() @ rows.double() / len(rows))
    limit = linear.largest_stable_rate(rows, even, torch.arange(1200).split(100), 10)
    assert limit == pytest.approx(2 * 1.9 * 10 / eigenvalues[-1].item(), rel=0.02)

    def left(rate: float) -> float:
        push = torch.zeros(10).double()
        push[0], push[1] = 1e-9, -1e-9
        weight, velocity = torch.outer(directions[:, -1], push), torch.zeros(len(directions), 10).double()
        for _ in range(1000):
            x = rows.double()
            velocity = 0.9 * velocity + x.T @ ((x @ weight).softmax(1) - 0.1) / len(x)
            weight = weight - rate * velocity
        return weight.norm().item()

    assert left(0.97 * limit) < 1e-9 < 1e-3 < left(1.03 * limit)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.97, 0.03], [0.1] * 10, [0.4, 0.3, *[0.01] * 30]], ids=len)
def test_the_largest_stable_rate_knows_the_shares_of_the_classes(digits: Data, shares: list[float]) -> None:
    """Of a hundred classes, few of which have rows: by the eigenvalues of the whole second derivative."""
    rows, p = Rows.standardised(digits[0])[0][:], torch.tensor(shares).double()
    labels = torch.repeat_interleave(torch.arange(len(p)), (1200 * p).round().long())
    limit = linear.largest_stable_rate(rows, labels, torch.arange(1200).split(100), 100)
    moments = rows.T.double() @ rows.double() / len(rows)
    curvature = torch.linalg.eigvalsh(torch.kron(p.diag() - torch.outer(p, p), moments)[: 65 * 4, : 65 * 4])[-1]
    assert limit == pytest.approx(2 * 1.9 / curvature.item(), rel=0.03)


def test_heads_that_do_not_fit_at_once_are_trained_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    lrs = (1.0, 3.0, 10.0)
    together = linear_probe(*blobs(), classes=4, lrs=lrs)
    most = []
    fit = linear.fit_heads

    def watched(rows, labels, index, settings, classes, *more):  # type: ignore[no-untyped-def]
        most.append(len(settings) * classes * rows.shape[1])
        return fit(rows, labels, index, settings, classes, *more)

    monkeypatch.setattr(linear, "fit_heads", watched)
    monkeypatch.setattr(linear, "HELD", 4 * 4 * 13)
    assert linear_probe(*blobs(), classes=4, lrs=lrs) == together
    assert max(most) <= 4 * 4 * 13 and len(most) == 4  # of 9 settings, and the chosen one


def test_the_choice_takes_bounded_work(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand classes of raw pixels would take half an hour to choose a rate for; the fit is on all rows as ever."""

    def probed() -> tuple[linear.LinearProbe, int]:
        with FlopCounterMode(display=False) as counter:
            probe = linear_probe(*digits, classes=10)
        return probe, counter.get_total_flops() // 2

    whole, work = probed()
    monkeypatch.setattr(linear, "WORK", work // 20)
    bounded, less = probed()
    assert less < work / 20 + work / 15 + work / 50  # the choice; the fit of one head in 15; validation and test
    assert bounded.top1 > whole.top1 - 0.05
