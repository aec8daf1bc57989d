"""A backbone small enough to train in a blink, and batches of random crops."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """Any image size to 8 features, with a batch norm, so that there are buffers."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.linear, self.norm = nn.AdaptiveAvgPool2d(2), nn.Linear(12, 8), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(self.pool(x).flatten(1)))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Weights do not depend on which tests ran before."""
    torch.manual_seed(0)


@pytest.fixture
def tiny() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny()


@pytest.fixture
def crops() -> Callable[..., list[Tensor]]:
    """crops(n, size, size, ...): one batch of n random pictures for each size."""

    def make(n: int, *sizes: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(n)
        return [torch.randn(n, 3, size, size, generator=generator) for size in sizes]

    return make


@pytest.fixture
def defaults() -> Callable[[type], dict[str, object]]:
    """The hyper-parameters in a method's signature."""
    return lambda cls: {n: p.default for n, p in inspect.signature(cls).parameters.items() if p.kind is p.KEYWORD_ONLY}


@pytest.fixture
def noise() -> Callable[..., Tensor]:
    """noise(n, d, ...): Gaussian embeddings."""
    return lambda *shape, seed=0: torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def wave() -> Callable[..., Tensor]:
    """wave(n, d, phase): unit rows of sin(i j + phase), i = 1..n, j = 1..d; golden values were made of them."""

    def make(n: int, d: int, phase: float) -> Tensor:
        angle = torch.outer(torch.arange(1.0, n + 1), torch.arange(1.0, d + 1)).double() + phase
        return nn.functional.normalize(torch.sin(angle), dim=1)

    return make


class Rows(nn.Module):
    """A backbone without weights: what goes in, comes out."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.fixture
def rows() -> type[Rows]:
    return Rows


@pytest.fixture
def sines() -> Callable[..., Tensor]:
    """sines(n, d, phase): the rows of `wave` before they are scaled."""

    def make(n: int, d: int, phase: float) -> Tensor:
        return torch.sin(torch.outer(torch.arange(1.0, n + 1), torch.arange(1.0, d + 1)).double() + phase)

    return make


@pytest.fixture
def filled(sines) -> Callable[[nn.Module], None]:
    """filled(module): its trained parameters become sines, those of one dimension about 1."""

    def fill(module: nn.Module) -> None:
        for i, p in enumerate(p for p in module.parameters() if p.requires_grad):
            p.data = sines(1, p.numel(), 0.3 + i).view(p.shape) + (p.ndim == 1)

    return fill


class Pictures:
    """A whole set whose embeddings are given."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.passes = rows, 0

    def plain(self, embed) -> Tensor:
        self.passes += 1
        return self.rows

    def crops(self, embed, step: int) -> Tensor:
        return self.plain(embed)

    def track(self, items, what: str):
        return iter(items)


@pytest.fixture
def whole() -> type[Pictures]:
    return Pictures
