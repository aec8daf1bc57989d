"""Whether a sample repels itself: what the loss does with similarities, asked of it as of a black box.

Two samples are given embeddings e0 and y e0 + sqrt(1 - y²) e1, alike in all views, with memories far from both. Moving
two rows by steps s and t along a direction in which nothing lies changes only their own similarity, by s t. So the
mixed difference of the loss in s and t is its derivative in that similarity: below 0 where the rows attract, above
where they repel, whatever the objective is. Two things follow:

- Rows of one sample do not repel, where they are alike; of a bank, its own row does not.
- Of a softmax over m rows of the sample itself and K of others, the force between strangers is
  A / (m exp((1 - y) / τ) + K), whose inverse at four values of y tells m / K; K is counted. A sample with P positives
  has m <= P.
"""

from copy import deepcopy
from math import inf, sqrt

import torch
from torch import Tensor

from semblance.checking.seam import Seam
from semblance.checking.small import PICTURES
from semblance.systems import Clock, Method

SMALL = 1e-3  # a step; what it neglects is of the order of its square
FORCE = 1e-7  # below is rounding
LEVELS = (1.0, 0.75, 0.5, 0.25)  # of y
CLOCKS = [Clock(3 * epoch, 100, 3) for epoch in range(12)]  # negatives that are drawn, are drawn anew
Row = tuple[str, int, int]  # of an embedding by its name, sample and part; or of a buffer by its name and place


def repelled_by_itself(name: str) -> float | None:
    """How many rows of a sample itself are among its negatives; None where nothing can be seen to repel.

    Softmaxes are counted; otherwise 1 stands for a sample that is repelled by its own row or view.
    """
    seam = Seam.of(name)
    with torch.no_grad():
        z = {n: t[:2] for n, t in seam.method.embed(seam.views).items()}
    width = _width(z)
    if width is None:
        return None
    probe = _Probe(seam.method.eval(), z, width)
    try:
        found = [probe.own(CLOCKS[0])]
        if probe.banks:
            found += [probe.own(clock) for clock in CLOCKS[1:]]
        found += [probe.counted(anchor) for anchor in probe.rows if anchor[1] == 0]
    except Exception:  # an objective that takes no two samples, or looks at more than embeddings
        return None
    told = [f for f in found if f is not None]
    return max(told) if told else None


def _width(z: dict[str, Tensor]) -> int | None:
    """Of the embeddings that are compared: that which most of them have."""
    widths = [t.shape[-1] for t in z.values() if t.is_floating_point() and t.ndim > 1 and t.shape[-1] > 3]
    return max(set(widths), key=widths.count) if widths else None


def _held(method: Method) -> dict[str, Tensor]:
    """State by name: buffers, and tensors that should be."""
    plain = {f"{n}.{a}": v for n, m in method.named_modules() for a, v in vars(m).items() if type(v) is Tensor}
    return plain | dict(method.named_buffers())


class _Probe:
    def __init__(self, method: Method, z: dict[str, Tensor], width: int) -> None:
        self.method, self.z, self.width = method, z, width
        self.basis = torch.eye(width, dtype=torch.float64)
        told = [n for n, t in z.items() if t.is_floating_point() and t.ndim > 1 and t.shape[-1] == width]
        self.rows: list[Row] = [(n, i, p) for n in told for i in (0, 1) for p in range(z[n][0].numel() // width)]
        held = _held(method)
        self.memories = [n for n, b in held.items() if b.is_floating_point() and b.shape[1:] == (width,)]
        self.banks: list[Row] = [(n, i, -1) for n in self.memories for i in (0, 1) if len(held[n]) == PICTURES]

    def loss(self, y: float, moved: dict[Row, Tensor], clock: Clock) -> float:
        """Of both samples at a similarity of y, some rows moved."""
        method, z = deepcopy(self.method), {n: t.clone() for n, t in self.z.items()}
        places = torch.stack([self.basis[0], y * self.basis[0] + sqrt(1 - y * y) * self.basis[1]])
        held = _held(method)
        for buffer in held.values():
            if buffer.is_floating_point():
                buffer.nan_to_num_(0.0)
        for name in self.memories:
            buffer = held[name]
            buffer.copy_((-100 * (self.basis[0] + self.basis[1])).expand_as(buffer))
            if len(buffer) == PICTURES:
                buffer[:2] = places
        for row in self.rows:
            z[row[0]][row[1]].view(-1, self.width)[row[2]] = places[row[1]]
        for (name, i, part), step in moved.items():
            target = held[name][i] if part < 0 else z[name][i].view(-1, self.width)[part]
            target += step
        with torch.no_grad():
            return float(method.objective(z, torch.tensor([0, 1]), clock)[0])

    def force(self, a: Row, b: Row, y: float, clock: Clock = CLOCKS[0]) -> float:
        """The derivative of the loss in the similarity of two rows."""
        step = SMALL * self.basis[2]
        signs = [(s, t) for s in (1, -1) for t in (1, -1)]
        return sum(s * t * self.loss(y, {a: s * step, b: t * step}, clock) for s, t in signs) / (4 * SMALL**2)

    def own(self, clock: Clock) -> float | None:
        """1 where a view or bank row of a sample repels it, 0 where it attracts; None where it does neither."""
        pairs = [(a, b) for n, a in enumerate(self.rows) for b in [*self.rows[:n], *self.banks] if a[1] == b[1]]
        forces = [self.force(a, b, 0.0, clock) for a, b in pairs]
        if not self.banks and not any(abs(f) > FORCE for f in forces):
            return None
        return float(max(forces) > FORCE + 1e-5 * max(map(abs, forces)))

    def counted(self, anchor: Row) -> float | None:
        """Rows of the anchor's sample in the softmax over strangers beyond its positives; None where there is none."""
        strangers = [r for r in self.rows if r[1] == 1]
        repelling = [r for r in strangers if self.force(anchor, r, 1.0) > FORCE]
        positives = [
            r for r in self.rows if r[1] == 0 and r != anchor and self.force(anchor, r, LEVELS[-1]) < -FORCE
        ]  # fmt: skip
        most: float | None = None
        for row in repelling:
            inverse = [1 / f if f else inf for f in (self.force(anchor, row, y) for y in LEVELS)]
            first, second, third = (b - a for a, b in zip(inverse, inverse[1:], strict=False))
            if not (first > 0 and second > first and abs(third / second - second / first) < 0.02 * second / first):
                continue  # no softmax
            rows = first / (second / first - 1)  # m / A
            m = len(repelling) * rows / (inverse[0] - rows)
            most = max(most or 0.0, m - len(positives))
        return most
