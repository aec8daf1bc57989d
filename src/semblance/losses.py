"""The objectives as pure functions in the papers' notation: no state, no collectives, any float dtype.

Every function takes the embeddings of the whole batch; the engine gathers them (engine/gradients.py). N samples, D
dimensions; floating point of any precision, in which the loss is computed. Gradients flow to all arguments, but through
`sinkhorn`; what a paper stops (teachers, keys, targets) the caller detaches. Embeddings need not be normalised where a
cosine is meant. What is not finite makes the loss so, and is not looked for. Raises UserError, a ValueError, for shapes
that do not fit, for numbers that are no floats, and for settings outside of their range.
"""

from collections.abc import Callable, Sequence
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semblance.errors import UserError

SIMILARITIES_AT_ONCE = 1 << 24  # similarities of a batch with itself that are held at once


def _check(shape: str, *, fewest: int = 1, columns: int = 1, **given: Tensor) -> None:
    """Raise UserError unless all are floats of one kind and shape, such as (N, D), with as many rows and columns as
    needed."""
    first, other = next(iter(given)), next(iter(given.values()))
    for name, x in given.items():
        if not isinstance(x, Tensor):
            raise UserError(f"{name}: a tensor {shape} is wanted, not {type(x).__name__}.")
        if not x.is_floating_point():
            raise UserError(f"{name}: floating point is wanted, not {x.dtype}: give {name}.float().")
        if x.ndim != 2 or len(x) < fewest or x.shape[1] < columns:
            least = f" with {shape[1]} >= {fewest}" if fewest > 1 else ""
            raise UserError(f"{name}: a tensor {shape}{least} is wanted, and none of its axes empty: not {_shape(x)}.")
        if x.shape != other.shape:
            raise UserError(f"{name} and {first} need one shape {shape}: they are {_shape(x)} and {_shape(other)}.")
        _check_kind(name, x, first, other)


def _check_kind(name: str, x: Tensor, of: str, other: Tensor) -> None:
    """Raise UserError where two are of different precision: some products of torch take that, and others do not."""
    if x.dtype != other.dtype:
        raise UserError(f"{name} and {of} need one number type: they are {x.dtype} and {other.dtype}.")


def _check_fits(name: str, x: Tensor, axis: int, of: str, other: Tensor, other_axis: int) -> None:
    """Raise UserError where an axis of one is not as long as that of another, or their number types differ."""
    _check_kind(name, x, of, other)
    if x.shape[axis] != other.shape[other_axis]:
        raise UserError(
            f"{name} {_shape(x)} does not fit {of} {_shape(other)}: axis {axis} of the one is as long as axis "
            f"{other_axis} of the other."
        )


def _check_range(low: float, *, above: bool = False, whole: bool = False, **given: float) -> None:
    """Raise UserError for a setting below its range; what is a tensor may be learnt, and is not looked at."""
    for name, value in given.items():
        number = isinstance(value, Integral if whole else Real)
        if not isinstance(value, Tensor) and not (number and (value > low if above else value >= low)):
            what = f"a {'whole ' if whole else ''}number {'above' if above else 'of at least'} {low:g}"
            raise UserError(f"{name}: {what} is wanted, not {value}.")


def _shape(x: Tensor) -> str:
    return str(tuple(x.shape))


def summed_in_blocks(loss: Callable[[slice], Tensor], n: int, width: int) -> Tensor:
    """The sum of loss(rows) over all n rows of an (n, width) matrix that is never held whole.

    Blocks are recomputed in the backward pass, so that memory does not grow with n * width.
    """
    size = max(1, SIMILARITIES_AT_ONCE // width)
    if size >= n:
        return loss(slice(0, n))
    blocks = [slice(i, i + size) for i in range(0, n, size)]
    parts = [checkpoint(loss, rows, use_reentrant=False, preserve_rng_state=False) for rows in blocks]
    return torch.stack(parts).sum()


def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """NT-Xent of SimCLR, the sum over both views of an image, mean over the N images: (N, D), (N, D) -> scalar.

    Each of the 2N anchors has one positive and 2N - 2 negatives; only its similarity with itself is left out.
    2 ln(2N - 1) when all embeddings are equal. The paper's mean over anchors is half of this
    (Chen et al. 2020; google-research/simclr: tf2/objective.py, loss_a + loss_b).
    """
    _check("(N, D)", z1=z1, z2=z2)
    _check_range(0, above=True, temperature=temperature)
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    anchor = torch.arange(2 * n, device=z.device)

    def of(rows: slice) -> Tensor:
        itself = anchor[rows, None] == anchor
        logits = (z[rows] @ z.T / temperature).masked_fill(itself, float("-inf"))
        return F.cross_entropy(logits, anchor.roll(n)[rows], reduction="sum")

    return summed_in_blocks(of, 2 * n, 2 * n) / n


def batch_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of a query's own key among the keys of the batch: (N, D), (N, D) -> scalar.

    ln N when all are equal (Chen, Xie & He 2021; facebookresearch/moco-v3: moco/builder.py).
    """
    _check("(N, D)", query=query, key=key)
    _check_range(0, above=True, temperature=temperature)
    n = len(query)
    q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
    own = torch.arange(n, device=q.device)

    def of(rows: slice) -> Tensor:
        return F.cross_entropy(q[rows] @ k.T / temperature, own[rows], reduction="sum")

    return summed_in_blocks(of, n, n) / n


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of a query's own key among negatives shared by all: (N, D), (N, D), (K, D) -> scalar.

    ln(K + 1) when all are equal (He et al. 2020; facebookresearch/moco: moco/builder.py).
    """
    _check("(N, D)", query=query, key=key)
    _check("(K, D)", negatives=negatives)
    _check_fits("negatives", negatives, 1, "query", query, 1)
    _check_range(0, above=True, temperature=temperature)
    q, k, n = (F.normalize(x, dim=1) for x in (query, key, negatives))
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ n.T], 1) / temperature
    return -F.log_softmax(logits, dim=1)[:, 0].mean()


def nce(positive: Tensor, negative: Tensor, log_partition: Tensor | float) -> Tensor:
    """Noise-contrastive estimation: tell data from K draws of uniform noise, scores (B, P), (B, K) -> scalar.

    Scores are similarities over the temperature. With Z the mean of exp(score) over data and noise and log_partition =
    log(K Z), the probability of being data is sigmoid(score - log_partition). Positives are averaged, negatives summed,
    then the mean over the batch: ln(K + 1) + K ln((K + 1) / K) when all scores are equal. Without the authors' 1e-7 in
    the denominators (Wu et al. 2018; zhirongw/lemniscate.pytorch: lib/NCECriterion.py).
    """
    _check("(B, P)", positive=positive)
    _check("(B, K)", columns=0, negative=negative)
    _check_fits("negative", negative, 0, "positive", positive, 0)
    data, noise = F.logsigmoid(positive - log_partition), F.logsigmoid(log_partition - negative)
    return -(data.mean(1) + noise.sum(1)).mean()


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Balanced soft codes: scores (B, K) -> codes (B, K), each row sums to 1, the columns about equal.

    In log space, so exp(scores / epsilon) cannot overflow. Each iteration divides by the prototype totals, then by the
    sample totals (Caron et al. 2020; facebookresearch/swav: main_swav.py, distributed_sinkhorn).
    """
    _check("(B, K)", scores=scores)
    _check_range(0, above=True, epsilon=epsilon)
    _check_range(0, whole=True, iterations=iterations)
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(0, keepdim=True)
        log_q = log_q - log_q.logsumexp(1, keepdim=True)
    return log_q.softmax(1)  # so that 0 iterations also give codes


def swapped_prediction(scores: Sequence[Tensor], codes: Sequence[Tensor], temperature: float) -> Tensor:
    """Cross-entropy of every other crop's prediction with each large crop's code: lists of (B, K) -> scalar.

    codes[i] belongs to the crop of scores[i]; the mean over pairs of different crops, ln K when all scores are equal
    (Caron et al. 2020; facebookresearch/swav: main_swav.py).
    """
    if not 0 < len(codes) <= len(scores) or len(scores) < 2:
        raise UserError(
            f"codes are of the first of two or more crops: {len(codes)} codes of {len(scores)} scores are none."
        )
    parts = {"scores": scores, "codes": codes}
    _check("(B, K)", **{f"{name}[{i}]": x for name, crops in parts.items() for i, x in enumerate(crops)})  # type: ignore[arg-type]
    _check_range(0, above=True, temperature=temperature)
    log_p = [F.log_softmax(s / temperature, dim=1) for s in scores]
    pairs = [-(q * log_p[v]).sum(1).mean() for i, q in enumerate(codes) for v in range(len(scores)) if v != i]
    return torch.stack(pairs).mean()


def byol_regression(p: Tensor, z: Tensor) -> Tensor:
    """Squared distance of the normalised vectors, 2 - 2 cos, mean over the batch: (N, D), (N, D) -> scalar in [0, 4].

    (Grill et al. 2020; google-deepmind/deepmind-research: byol/utils/helpers.py, regression_loss)
    """
    _check("(N, D)", p=p, z=z)
    return (2 - 2 * F.cosine_similarity(p, z, dim=1)).mean()


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """Minus the cosine, mean over the batch: (N, D), (N, D) -> scalar in [-1, 1].

    (Chen & He 2021; facebookresearch/simsiam: main_simsiam.py)
    """
    _check("(N, D)", p=p, z=z)
    return -F.cosine_similarity(p, z, dim=1).mean()


def cross_correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """Cross-correlation of two embeddings over the batch: (N, D), (N, D) -> (D, D) in [-1, 1].

    Columns are standardised with the biased variance and the 1e-5 of the authors' batch norm.
    """
    _check("(N, D)", fewest=2, z1=z1, z2=z2)
    z1, z2 = (F.batch_norm(z, None, None, training=True, eps=1e-5) for z in (z1, z2))
    return z1.T @ z2 / len(z1)


def barlow_twins(z1: Tensor, z2: Tensor, lambda_: float) -> Tensor:
    """Distance of the cross-correlation from the identity, summed: (N, D), (N, D) -> scalar.

    0 at the optimum, D(4 + lambda (D - 1)) at most (Zbontar et al. 2021; facebookresearch/barlowtwins: main.py).
    """
    _check_range(0, lambda_=lambda_)
    c = cross_correlation(z1, z2)
    diagonal = c.diagonal()
    off_diagonal = c.pow(2).sum() - diagonal.pow(2).sum()
    return (diagonal - 1).pow(2).sum() + lambda_ * off_diagonal


def sigreg(z: Tensor, directions: Tensor, knots: int = 17, reach: float = 3.0) -> Tensor:
    """How far embeddings are from an isotropic Gaussian, seen along directions: (N, D), (D, M) -> scalar.

    Along each direction, N times the squared distance of the empirical characteristic function from that of N(0, 1),
    weighted by the latter and integrated over [-reach, reach] (Epps & Pulley), then the mean over directions: about
    1.05 for Gaussian embeddings whatever N, 0.402 N where all are 0. directions: unit columns
    (Balestriero & LeCun 2025; rbalestr-lab/lejepa: lejepa/univariate/epps_pulley.py, lejepa/multivariate/slicing.py).
    """
    _check("(N, D)", z=z)
    _check("(D, M)", directions=directions)
    _check_fits("directions", directions, 0, "z", z, 1)
    _check_range(2, whole=True, knots=knots)
    _check_range(0, above=True, reach=reach)
    t = torch.linspace(0, reach, knots, dtype=z.dtype, device=z.device)
    gaussian = (-t.square() / 2).exp()
    angles = (z @ directions)[..., None] * t  # (N, M, knots)
    distance = (angles.cos().mean(0) - gaussian).square() + angles.sin().mean(0).square()
    return len(z) * 2 * torch.trapezoid(distance * gaussian, t).mean()


def vicreg(z1: Tensor, z2: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    """Equal views, a standard deviation of at least 1 and no covariance in every dimension: (N, D), (N, D) -> scalar.

    The hinges of the two views are averaged, their covariances summed; 0.99 * variance when all embeddings are equal
    (Bardes et al. 2022; facebookresearch/vicreg: main_vicreg.py).
    """
    _check("(N, D)", fewest=2, z1=z1, z2=z2)
    _check_range(0, invariance=invariance, variance=variance, covariance=covariance)

    def spread(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z - z.mean(0)
        c = z.T @ z / (len(z) - 1)
        off_diagonal = c.pow(2).sum() - c.diagonal().pow(2).sum()
        return F.relu(1 - (c.diagonal() + 1e-4).sqrt()).mean(), off_diagonal / z.shape[1]

    (s1, c1), (s2, c2) = spread(z1), spread(z2)
    return invariance * F.mse_loss(z1, z2) + variance * (s1 + s2) / 2 + covariance * (c1 + c2)
