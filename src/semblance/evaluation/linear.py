"""A linear classifier on frozen features: how much of the classes can be read off them."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semblance.errors import UserError
from semblance.evaluation.knn import check_features, check_labels

LRS = (1.0, 3.0, 10.0, 30.0, 100.0)
WEIGHT_DECAYS = (0.0, 1e-5, 1e-4)
MOMENTUM = 0.9
MIN_STEPS = 300  # small data sets are passed over more often
COPIED = 2**26  # feature values up to which a set is standardised at once, not batch by batch
SHARPNESS = tuple(2.0**i for i in range(-3, 4))  # of logits, so that a confident head is not taken for a wrong one
HELD = 2**26  # weights of heads that are trained at once
WORK = 2**43  # products to choose a setting by, minutes of two cores; fewer rows where it would be more
POWER_STEPS = 20  # of the power iteration, which may come out a little low
HELD_OUT = 10  # one training row in this many chooses the setting


@dataclass
class LinearProbe:
    """Accuracies in [0, 1] on the test set, and the setting chosen within the training set, with its `validation_top1`
    there."""

    top1: float
    mean_per_class: float
    lr: float
    weight_decay: float
    validation_top1: float


def linear_probe(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    classes: int,
    seed: int = 0,
    epochs: int = 10,
    batch_size: int = 256,
    lrs: Sequence[float] = LRS,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
) -> LinearProbe:
    """Softmax regression on standardised features: float (N, D), int (N,), (M, D), (M,) -> accuracies in [0, 1].

    Every learning rate with every weight decay is trained at once on nine tenths of the training set, the rest chooses
    among them, and the chosen one is trained again on the whole training set. The test set only measures. The choice is
    by cross-entropy, each at the temperature that suits it: accuracies are often level, and rounding would decide. For
    the same reason rates too large to descend with are left out, but the smallest (`largest_stable_rate`).
    `mean_per_class` is over the classes that the test set holds.

    SGD with momentum 0.9 and cosine decay, batch norm without parameters before the layer as in the probe of MAE
    (facebookresearch/mae: main_linprobe.py); features are also divided by sqrt(D), so that a learning rate means the
    same for every backbone. Data sets too small for 300 steps get more epochs. Weights, gradients and momenta of the
    heads trained at once take 768 MiB, or those of one head; float32 features above 256 MiB are not copied. Where the
    choice would take too long, with a thousand classes, it is made on a share of each class. Raises UserError for
    unusable input.
    """
    check_features(train)
    check_labels(train_labels, train, classes)
    check_features(test, train.shape[1])
    check_labels(test_labels, test, classes)
    if len(train) < 2:
        raise UserError("A linear probe needs at least 2 training rows, one of them to choose its setting.")
    labels, truth = (y.to(train.device, torch.int64) for y in (train_labels, test_labels))
    rows, test_rows = Rows.standardised(train, test)
    epochs = max(epochs, math.ceil(MIN_STEPS / math.ceil(len(train) / batch_size)))

    def fit(index: Tensor, settings: Sequence[tuple[float, float]]) -> Tensor:
        return fit_heads(rows, labels, index, settings, classes, seed, epochs, batch_size)

    fitting, validation = hold_out(labels, seed)
    work = 2 * epochs * len(fitting) * (train.shape[1] + 1) * classes * len(lrs) * len(weight_decays)
    fitting = fitting[:: math.ceil(work / WORK)]  # they lie class by class
    limit = largest_stable_rate(rows, labels, fitting.split(batch_size), classes)
    settings = list(itertools.product([lr for lr in lrs if lr <= limit] or [min(lrs)], weight_decays))
    accuracy: list[float] = []
    loss: list[float] = []
    at_once = max(1, HELD // (classes * (train.shape[1] + 1)))
    for some in (settings[i : i + at_once] for i in range(0, len(settings), at_once)):
        found = _validate(rows, labels, validation.split(batch_size), fit(fitting, some), classes)
        accuracy += found[0]
        loss += found[1]
    best = min(range(len(settings)), key=lambda i: loss[i])
    weight = fit(torch.arange(len(train)), [settings[best]])

    everything = torch.arange(len(test), device=test.device)
    predictions = torch.cat([(test_rows[index] @ weight).argmax(1) for index in everything.split(batch_size)])
    correct = (predictions == truth).double()
    counts = truth.bincount(minlength=classes)
    per_class = truth.bincount(correct, minlength=classes)[counts > 0] / counts[counts > 0]
    return LinearProbe(correct.mean().item(), per_class.mean().item(), *settings[best], accuracy[best])


@dataclass
class Rows:
    """Features (N, D), read as float32 (n, D + 1): standardised, a bias column appended, of mean squared norm 1."""

    features: Tensor
    mean: Tensor
    scale: Tensor

    @classmethod
    def standardised(cls, train: Tensor, *others: Tensor) -> list["Rows | Tensor"]:
        """Rows of each set by the statistics of the first; columns constant up to rounding become 0."""
        std, mean = torch.std_mean(train.float(), 0, correction=0)
        scale = torch.where(std > 1e-6 * mean.abs(), 1 / std, 0) / math.sqrt(len(mean) + 1)
        sets = [cls(features, mean, scale) for features in (train, *others)]
        return [rows[:] if rows.features.numel() <= COPIED else rows for rows in sets]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        x = (self.features[index].float() - self.mean) * self.scale
        return F.pad(x, (0, 1), value=1 / math.sqrt(x.shape[1] + 1))


def hold_out(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers to fit on and every tenth to validate on, drawn class by class: int64 (n,), (ceil(N / 10),)."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels.cpu()[order].argsort(stable=True)]
    held = torch.arange(len(order)) % HELD_OUT == 0
    return order[~held], order[held]


@torch.no_grad()
def largest_stable_rate(rows: Rows | Tensor, labels: Tensor, batches: Sequence[Tensor], classes: int) -> float:
    """The rate above which SGD with momentum runs away: 2 (1 + momentum) / curvature.

    The curvature is the largest eigenvalue of the rows' second moments times that of the softmax's, diag(p) - p p^T:
    where heads begin, with all p = 1 / classes, or where they soon are, with p the classes' shares of the rows. The
    latter is larger where few of the classes have most of the rows. What is trained above the rate ends where rounding
    leads (Polyak, Some methods of speeding up the convergence of iteration methods, 1964: the heavy ball's limit).
    """

    def moments(x: Tensor) -> Tensor:
        parts = (rows[index.to(x.device)] for index in batches)
        return torch.stack([part.T @ (part @ x) for part in parts]).sum(0) / sum(map(len, batches))

    def softmax(x: Tensor) -> Tensor:
        return shares * x - shares * (shares @ x)

    index = torch.cat(list(batches)).to(labels.device)
    shares = labels[index].bincount(minlength=classes).float() / len(index)
    width = rows[batches[0][:1]].shape[1]
    steepest = max(1 / classes, _largest_eigenvalue(softmax, classes, labels.device))
    return 2 * (1 + MOMENTUM) / (steepest * _largest_eigenvalue(moments, width, labels.device))


def _largest_eigenvalue(product: Callable[[Tensor], Tensor], width: int, device: torch.device) -> float:
    """Of a matrix of no negative ones, given as what it makes of a vector: by the power iteration."""
    x = torch.randn(width, generator=torch.Generator().manual_seed(0)).to(device)
    for _ in range(POWER_STEPS):
        x = product(F.normalize(x, dim=0))
    return x.norm().item()


@torch.no_grad()
def fit_heads(
    rows: Rows | Tensor,
    labels: Tensor,
    index: Tensor,
    settings: Sequence[tuple[float, float]],
    classes: int,
    seed: int,
    epochs: int,
    batch_size: int,
) -> Tensor:
    """One softmax head for each (lr, weight decay), trained from 0 on the indexed rows: float32 (D + 1, H * classes).

    The heads share batches and matrix products, but each is as if trained alone.
    """
    device = labels.device
    lr, weight_decay = torch.tensor(settings, device=device).repeat_interleave(classes, 0).T
    weight = torch.zeros(rows[index[:1]].shape[1], len(lr), device=device)
    velocity = torch.zeros_like(weight)
    generator = torch.Generator().manual_seed(seed)
    steps = math.ceil(len(index) / batch_size)
    for epoch in range(epochs):
        order = index[torch.randperm(len(index), generator=generator)].to(device)
        for step, batch in enumerate(order.tensor_split(steps), epoch * steps):
            x, y = rows[batch], labels[batch]
            error = (x @ weight).view(len(x), -1, classes).softmax(2) - F.one_hot(y, classes)[:, None]
            gradient = (x.T @ error.flatten(1)).div_(len(x)).addcmul_(weight, weight_decay)
            velocity.mul_(MOMENTUM).add_(gradient)
            weight.addcmul_(velocity, lr, value=-0.5 * (1 + math.cos(math.pi * step / (epochs * steps))))
    return weight


def _validate(
    rows: Rows | Tensor, labels: Tensor, batches: Sequence[Tensor], weight: Tensor, classes: int
) -> tuple[list[float], list[float]]:
    """Top-1 of each head, and its mean cross-entropy at the sharpness that suits it best."""
    correct, losses = [], []
    for batch in batches:
        index = batch.to(labels.device)
        logits = (rows[index] @ weight).view(len(index), -1, classes)
        truth = labels[index][:, None]
        correct.append(logits.argmax(2) == truth)
        own = logits.gather(2, truth[:, :, None].expand(-1, logits.shape[1], 1))[:, :, 0]
        losses.append(torch.stack([(s * logits).logsumexp(2) - s * own for s in SHARPNESS], 2))
    return torch.cat(correct).double().mean(0).tolist(), torch.cat(losses).double().mean(0).amin(1).tolist()
