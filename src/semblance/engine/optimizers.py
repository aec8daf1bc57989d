"""Optimisers by name, among them the variants of LARS that the papers used, which are not interchangeable."""

from collections.abc import Callable, Mapping, Sequence
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from semblance.errors import unknown
from semblance.runtime.fsdp import full, is_sharded, like
from semblance.systems.recipe import OPTIMIZERS


class LARS(Optimizer):
    """SGD with momentum whose step length is tied to the norm of each tensor (You et al. 2017).

    The local rate q = eta |w| / denominator where both are positive, else 1. Variants, by their authors' code:

    - "lars": denominator |g + wd w|, lr outside the momentum (google-deepmind/deepmind-research:
      byol/utils/optimizers.py; facebookresearch/barlowtwins, vicreg, dino, moco-v3).
    - "lars-simclr": the same with lr inside the momentum buffer (google-research/simclr: lars_optimizer.py).
    - "larc": denominator |g| + wd |w| + 1e-8, neither adapted nor decayed where a norm is 0 (NVIDIA/apex:
      apex/parallel/LARC.py without clipping, as in facebookresearch/swav).
    - "lars-clip": as larc with q = min(q / lr, 1), so that lr is a ceiling (vturrisi/solo-learn: solo/utils/lars.py).

    Groups with adapt=False take plain momentum steps. Tensors without gradient are left untouched.
    """

    def __init__(self, params, lr: float, *, variant: str = "lars", momentum=0.9, weight_decay=0.0, eta=1e-3) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta, "adapt": True}
        super().__init__(params, defaults)
        self.variant = variant

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    self._step(w, w.grad, group)

    def _step(self, w: Tensor, grad: Tensor, group: dict) -> None:
        lr, decay = group["lr"], group["weight_decay"]
        update = grad + decay * w
        if group["adapt"]:
            norm, apex = w.norm(), self.variant in ("larc", "lars-clip")
            denominator = grad.norm() + decay * norm + 1e-8 if apex else update.norm()
            defined = (norm > 0) & ((grad.norm() if apex else denominator) > 0)
            q = group["eta"] * norm / denominator
            if self.variant == "lars-clip":
                q = (q / lr).clamp(max=1.0) if lr > 0 else torch.ones_like(q)
            update = torch.where(defined, q * update, grad if apex else update)
        inside, outside = (lr, 1.0) if self.variant == "lars-simclr" else (1.0, lr)
        state = self.state[w]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(w)
        state["momentum"].mul_(group["momentum"]).add_(update, alpha=inside)
        w.sub_(state["momentum"], alpha=outside)


class Muon(Optimizer):
    """SGD with Nesterov momentum whose step on a matrix is its nearest orthogonal matrix (Jordan et al. 2024).

    Kernels are matrices (outputs, inputs * height * width); steps of tall ones grow by the root of rows over columns.
    1-D tensors take plain steps. Weight decay is decoupled. torch.optim.Muon does the same for matrices only.
    """

    def __init__(self, params, lr: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": 0.9, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            given = [w for w in group["params"] if w.grad is not None]
            for shared in (False, True):  # torch._foreach cannot mix sharded and whole tensors
                if own := [w for w in given if is_sharded(w) is shared]:
                    self._step(own, group)

    def _step(self, weights: list[Tensor], group: dict) -> None:
        for w in weights:
            if "momentum" not in self.state[w]:
                self.state[w]["momentum"] = torch.zeros_like(w)
        momenta = [self.state[w]["momentum"] for w in weights]
        grads = [w.grad for w in weights if w.grad is not None]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, grads)
        updates = list(torch._foreach_add(grads, momenta, alpha=group["momentum"]))
        deep = [i for i, w in enumerate(weights) if w.ndim > 1]
        for i, update in zip(deep, orthogonal([full(updates[i]) for i in deep]), strict=True):
            updates[i] = like(update, weights[i])
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, updates, alpha=-group["lr"])


def orthogonal(tensors: Sequence[Tensor], iterations: int = 5) -> list[Tensor]:
    """About the nearest matrices with all singular values 1, times the root of rows over columns if they are tall.

    By a quintic Newton-Schulz iteration that leaves singular values between 0.7 and 1.2 (KellerJordan/Muon: muon.py,
    zeropower_via_newtonschulz5), run on the small Gram matrices, those of one size together. Tensors (rows, ...) are
    taken as matrices.
    """
    flat = [x.flatten(1) for x in tensors]
    tall = [len(m) > m.shape[1] for m in flat]
    wide = [(m.T if t else m) / (m.norm() + 1e-7) for m, t in zip(flat, tall, strict=True)]
    roots: dict[int, Tensor] = {}
    for side in dict.fromkeys(map(len, wide)):
        same = [i for i, m in enumerate(wide) if len(m) == side]
        grams = torch.stack([wide[i] @ wide[i].T for i in same])
        roots |= zip(same, _inverse_roots(grams, iterations), strict=True)
    found = []
    for i, (x, m) in enumerate(zip(tensors, flat, strict=True)):
        near = roots[i] @ wide[i]
        found.append((near.T * (len(m) / m.shape[1]) ** 0.5 if tall[i] else near).reshape(x.shape))
    return found


def _inverse_roots(grams: Tensor, iterations: int) -> Tensor:
    """About G^(-1/2) of Gram matrices (B, n, n) of norm 1 at most."""
    root = identity = torch.eye(grams.shape[1], dtype=grams.dtype, device=grams.device)
    for _ in range(iterations):
        factor = 3.4445 * identity - 4.7750 * grams + 2.0315 * grams @ grams
        root, grams = factor @ root, factor @ grams @ factor
    return root


STATE: dict[type[Optimizer], set[str]] = {  # what is kept of each parameter
    SGD: {"momentum_buffer"}, Adam: {"step", "exp_avg", "exp_avg_sq"}, AdamW: {"step", "exp_avg", "exp_avg_sq"},
    LARS: {"momentum"}, Muon: {"momentum"},
}  # fmt: skip


def make_optimizer(
    name: str, module: nn.Module, *, weight_decay: float, bias_lr_ratio: float = 1.0, decay_1d: bool = False,
    fixed_lr: Sequence[str] = (), no_momentum: Sequence[str] = (), shares: Mapping[str, float] | None = None,
) -> Optimizer:  # fmt: skip
    """An optimiser over the trainable parameters, in groups: matrices and kernels, and 1-D tensors (biases, norms).

    The groups' "peak" multiplies the learning rate; 1-D tensors get no decay or LARS adaptation unless decay_1d.
    fixed_lr: parts of the module whose learning rate `set_lr` leaves at its peak, in groups of their own.
    no_momentum: parts trained without momentum. shares: of the rate, by name, of tensors that `set_lr` may hold back.
    """
    groups: list[dict] = []
    shares = shares or {}
    parts: dict[tuple[bool, bool, bool, float], list[Tensor]] = {}
    for n, p in module.named_parameters():
        if p.requires_grad:
            part = n.split(".")[0]
            kind = (part in fixed_lr, part in no_momentum, n in shares, shares.get(n, 1.0))
            parts.setdefault(kind, []).append(p)
    foreach = False if any(is_sharded(p) for p in module.parameters()) else None  # it cannot mix sharded and whole
    for kind in sorted(parts):
        chosen, (fixed, forgetful, held_back, share) = parts[kind], kind
        momentum = 0.0 if forgetful else 0.9  # of the keys below, each optimiser uses its own
        common = {"fixed": fixed, "held_back": held_back, "momentum": momentum, "betas": (momentum, 0.999)}
        common |= {"foreach": foreach}
        deep, flat = [p for p in chosen if p.ndim > 1], [p for p in chosen if p.ndim <= 1]
        flat_decay = weight_decay if decay_1d else 0.0
        groups += [
            {"params": deep, "weight_decay": weight_decay, "peak": share, **common},
            {"params": flat, "weight_decay": flat_decay, "peak": share * bias_lr_ratio, "adapt": decay_1d, **common},
        ]
    groups = [group for group in groups if group["params"]]
    plain: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "muon": Muon}
    if name in plain:
        for group in groups:
            group.pop("adapt", None)
        return plain[name](groups, lr=0.0)  # type: ignore[call-arg]
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    return LARS(groups, lr=0.0, variant=name, eta=0.02 if name == "lars-clip" else 1e-3)


def check_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """A ValueError unless a checkpoint holds the state of this optimiser: floats of its parameters, in their shapes."""
    own = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in saved["param_groups"]] != [group["params"] for group in own]:
        raise ValueError("its optimiser has other parameters")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, kept in saved["state"].items():
        if kept.keys() != STATE[type(optimizer)] and kept:
            raise ValueError(f"its optimiser keeps {', '.join(map(str, kept))}")
        for name, value in kept.items():
            shape = torch.Size() if name == "step" else parameters[i].shape
            if value is not None and not value.is_floating_point():
                raise ValueError(f"its optimiser keeps {name} as {value.dtype}")
            if value is not None and value.shape != shape:
                raise ValueError(f"its optimiser keeps {name} {tuple(value.shape)} of {tuple(shape)}")


def warmup_cosine(step: int, total: int, warmup: int, final: float = 0.0) -> float:
    """Fraction of the peak learning rate at a step: linear from 0 over `warmup` steps, then a cosine to `final`."""
    if step < warmup:
        return step / warmup
    return cosine(1.0, final, (step - warmup) / max(1, total - warmup))


def cosine(first: float, final: float, progress: float) -> float:
    """Half a cosine from one value to another, as progress goes from 0 to 1."""
    return final + (first - final) * (1 + cos(pi * progress)) / 2


def set_lr(optimizer: Optimizer, lr: float, fixed_lr: float, held_back: float = 1.0) -> None:
    """Set the learning rates of this step, in proportion to each group's "peak"; held_back: the part of theirs that
    tensors with shares take."""
    for group in optimizer.param_groups:
        rate = (fixed_lr if group["fixed"] else lr) * group["peak"]
        group["lr"] = rate * held_back if group["held_back"] else rate


def set_weight_decay(optimizer: Optimizer, decay: float) -> None:
    """Set the weight decay of this step, in every group that has any."""
    for group in optimizer.param_groups:
        if group["weight_decay"]:
            group["weight_decay"] = decay
