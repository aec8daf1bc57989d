"""Whether what makes a network makes one that was handed over, but for the values of its tensors."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from semblance.nets.backbones import as_used

LARGE_ENOUGH = 96  # side of pictures of which most networks' last map has several pixels, so that ways to pool differ
SIZES = (224, 64, 32, 48, 28, 128, 160, 192, 256, 288, 384)


def makes(make: Callable[[], nn.Module], given: nn.Module, sizes: Sequence[int] = ()) -> bool:
    """Whether a function makes a module of the same layers and tensors that computes the same features.

    No layer writes down all that its features hang on, such as an attribute that says how to pool, so both get the same
    weights: the given ones, and disturbed ones in training, with gradients. They are compared at the first size that
    the given one takes; where it takes none, nothing is known: False.
    sizes: of pictures, to be tried before most.
    Neither the given module nor the state of what draws is changed.
    """
    with _drawing_nothing():
        try:
            with torch.device("meta"):  # without memory, for most are told apart by this
                made = make()
            if any(map(is_lazy, given.state_dict(keep_vars=True).values())) or _layers(made) != _layers(given):
                return False
            return _alike(as_used(deepcopy(given).cpu()), as_used(make()), [LARGE_ENOUGH, *sizes, *SIZES])
        except Exception:  # it wants arguments, is for other machines, or cannot be copied
            return False


def _layers(model: nn.Module) -> tuple[str, dict[str, tuple[object, ...]]]:
    """What a module says of itself, rates of dropout among it, and of each tensor what it is, and which is the same."""
    tensors = model.state_dict(keep_vars=True)
    first = {id(value): name for name, value in reversed(tensors.items())}
    return repr(model), {name: (value.shape, value.dtype, first[id(value)]) for name, value in tensors.items()}


def _alike(given: nn.Module, made: nn.Module, sizes: Sequence[int]) -> bool:
    """Whether two modules of the same tensors compute the same."""
    weights = {name: value.clone() for name, value in given.state_dict().items()}
    # a branch that begins at zero shows nothing of what is in it
    disturbed = weights | {name: _disturbed(p.detach()) for name, p in given.named_parameters(remove_duplicate=False)}
    for size in dict.fromkeys(sizes):
        wanted = [_computed(given, weights, size), _computed(given, disturbed, size, training=True)]
        if None not in wanted:
            found = [_computed(made, weights, size), _computed(made, disturbed, size, training=True)]
            return all(map(_close, wanted, found))
    return False


def _disturbed(value: Tensor) -> Tensor:
    spread = value.std(correction=0)
    return value + torch.randn_like(value) * torch.where(spread > 0, spread / 2, 0.1)


def _computed(
    model: nn.Module, state: dict[str, Tensor], size: int, training: bool = False
) -> list[Tensor | None] | None:
    """Features of two pictures, and in training their gradients and its tensors then; None where it fails."""
    model.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)  # laid out alike
    model.train(training)
    torch.manual_seed(0)
    try:
        with torch.set_grad_enabled(training):
            y = model(torch.rand(2, 3, size, size))
        if not training:
            return [y.detach()]
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad((y * torch.randn_like(y)).sum(), parameters, allow_unused=True)
    except Exception:  # whatever a module raises
        return None
    return [y.detach(), *gradients, *model.state_dict().values()]


def _close(wanted: Any, found: Any) -> bool:
    """Whether tensors, or lists of them, are equal but for rounding."""
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_close, wanted, found))
    if not (isinstance(wanted, Tensor) and isinstance(found, Tensor)):
        return wanted is found  # of what has no gradient
    scale = float(wanted.abs().nan_to_num(0.0, 0.0, 0.0).max()) if wanted.numel() else 0.0
    same_shape = wanted.shape == found.shape
    return same_shape and torch.allclose(wanted, found, rtol=0.0, atol=1e-6 * scale, equal_nan=True)


@contextmanager
def _drawing_nothing() -> Iterator[None]:
    """Within, what is drawn by torch, numpy and Python leaves no trace."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
