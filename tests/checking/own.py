"""A good method of one's own, and the same with one mistake each, as a person would write them."""

from collections.abc import Collection
from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from semblance.runtime import random
from semblance.systems import Clock, Method, Recipe, View
from semblance.systems.method import Embeddings, ema, unit


class Mine(Method):
    """A query finds its key, made by a slow encoder, among those of the batch and a queue of older ones."""

    family = "contrastive"
    title = "Mine"
    paper = "nobody 2026"
    equation = "- log exp(q·k / τ) / Σ exp(q·k' / τ), over the keys k' of the batch and of the queue"
    picture = "image ─ view ─ backbone ─ head ─ q;  image ─ view ─ slow copy ─ k ─▶ queue"
    guards = {"negatives": "keys of other pictures repel", "ema": "keys come from an encoder that follows slowly"}
    recipes = {
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=7, warmup_epochs=1,
            views=(View(32, count=2, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.4)),),
            optimizer="sgd", lr=0.06, weight_decay=5e-4,
        ),
    }  # fmt: skip

    queue: Tensor  # (queue, dim) of unit rows, newest first

    def __init__(
        self, backbone: nn.Module, without: Collection[str] = (), *, temperature: float = 0.2, momentum: float = 0.95,
        queue: int = 1024, dim: int = 64,
    ) -> None:  # fmt: skip
        super().__init__(backbone, without)
        self.temperature, self.momentum = temperature, momentum
        self.head = nn.Linear(self.features, dim)
        self.target = deepcopy(nn.Sequential(backbone, self.head)).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(queue, dim), dim=1))

    @property
    def teacher(self) -> nn.Module:
        return self.target[0]

    def embed(self, views: list[Tensor]) -> Embeddings:
        q = self.head(self.backbone(views[0]))
        with torch.no_grad():
            k = self.target(views[1])
        return {"q": unit(q), "k": unit(k)}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        q, k = z["q"], z["k"]
        if not self.has("negatives"):
            return -(q * k).sum(1).mean() / self.temperature, {}
        scores = q @ torch.cat([k, self.queue]).T / self.temperature
        own = torch.arange(len(q), device=q.device)
        return F.cross_entropy(scores, own), {"positive_similarity": (q * k).sum(1).mean()}

    @torch.no_grad()
    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        ema(self.target, nn.Sequential(self.backbone, self.head), self.momentum if self.has("ema") else 0.0)
        self.queue.copy_(torch.cat([z["k"].to(self.queue.dtype), self.queue])[: len(self.queue)])


class PlainState(Mine):
    """The queue is a tensor of the object, and no buffer."""

    def __init__(self, *args: Any, **hyper: Any) -> None:
        super().__init__(*args, **hyper)
        del self.queue
        self.queue = F.normalize(torch.randn(32, self.head.out_features), dim=1)


class Counter(Mine):
    """A number counts the steps, and the temperature falls with it."""

    def __init__(self, *args: Any, **hyper: Any) -> None:
        super().__init__(*args, **hyper)
        self.seen = {"steps": 0}

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss, numbers = super().objective(z, index, clock)
        return loss * (1 + 0.1 * self.seen["steps"]), numbers

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        super().update(z, index, clock)
        self.seen["steps"] += 1


class Cooling(Mine):
    """A hyper-parameter is changed at every step."""

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        super().update(z, index, clock)
        self.temperature *= 0.99


class Lazy(Mine):
    """A buffer that is made by the first step."""

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        super().update(z, index, clock)
        if not hasattr(self, "mean"):
            self.register_buffer("mean", z["q"].mean(0))


class OfTheClass(Mine):
    """State in the class, which all objects share."""

    scale = 1.0

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        OfTheClass.scale *= 1.1
        loss, numbers = super().objective(z, index, clock)
        return loss * OfTheClass.scale, numbers


class Drawn(Mine):
    """Noise of torch's generator in the objective."""

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        return super().objective(z | {"q": unit(z["q"] + 0.1 * torch.randn_like(z["q"]))}, index, clock)


class DroppedOut(Mine):
    """Dropout in a head."""

    def __init__(self, *args: Any, **hyper: Any) -> None:
        super().__init__(*args, **hyper)
        self.head = nn.Sequential(nn.Dropout(0.2), self.head)
        self.target = deepcopy(nn.Sequential(self.backbone, self.head)).requires_grad_(False)


class NumpysDraw(Mine):
    """Noise of a generator of numpy's that is made anew."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        import numpy as np

        z = super().embed(views)
        return z | {"q": z["q"] + 0.1 * torch.from_numpy(np.random.default_rng().normal(size=z["q"].shape)).to(z["q"])}


class OwnGenerator(Mine):
    """Noise of a generator of the method's own, whose place in its sequence is state."""

    def __init__(self, *args: Any, **hyper: Any) -> None:
        super().__init__(*args, **hyper)
        self.generator = torch.Generator().manual_seed(0)

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        noise = 0.1 * torch.randn(z["q"].shape, generator=self.generator).to(z["q"])
        return super().objective(z | {"q": unit(z["q"] + noise)}, index, clock)


class Collective(Mine):
    """The keys of all processes are gathered, though they have been."""

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        if dist.is_initialized():
            keys = [torch.empty_like(z["k"]) for _ in range(dist.get_world_size())]
            dist.all_gather(keys, z["k"])
            scores = z["q"] @ torch.cat([*keys, self.queue]).T / self.temperature
            return F.cross_entropy(scores, torch.arange(len(z["q"]))), {}
        return super().objective(z, index, clock)


class ReducedUpdate(Mine):
    """Keys are summed over processes before they enter the queue."""

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        k = z["k"].clone()
        if dist.is_initialized():
            dist.all_reduce(k)
        super().update(z | {"k": k}, index, clock)


class AlwaysCollective(Mine):
    """The same without asking whether there are others."""

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        k = z["k"].clone()
        dist.all_reduce(k)
        super().update(z | {"k": k}, index, clock)


class LocalStatistics(Mine):
    """Embeddings are centred by the mean of this process's share."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        q = self.head(self.backbone(views[0]))
        with torch.no_grad():
            k = self.target(views[1])
        return {"q": unit(q - q.mean(0)), "k": unit(k - k.mean(0))}


class LocalSize(Mine):
    """Embeddings are divided by the number of samples at hand."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        z = super().embed(views)
        return z | {"q": z["q"] * 16 / len(views[0])}


class OwnNorm(Mine):
    """A batch norm by hand."""

    class Norm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - x.mean(0)) / (x.var(0) + 1e-5).sqrt()

    def __init__(self, *args: Any, **hyper: Any) -> None:
        super().__init__(*args, **hyper)
        self.head = nn.Sequential(self.head, self.Norm())
        self.target = deepcopy(nn.Sequential(self.backbone, self.head)).requires_grad_(False)


class PositivesRepel(Mine):
    """The queue holds the keys of the batch when the loss is taken, the positive among them."""

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.has("negatives"):
            return super().objective(z, index, clock)
        q, k = z["q"], z["k"]
        positive = (q * k).sum(1, keepdim=True)
        scores = torch.cat([positive, q @ torch.cat([k, self.queue]).T], 1) / self.temperature
        return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long, device=q.device)), {}


class QueuedFirst(Mine):
    """The keys of the batch enter the queue, whose rows repel, before the loss is taken."""

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.has("negatives"):
            return super().objective(z, index, clock)
        with torch.no_grad():
            self.queue.copy_(torch.cat([z["k"], self.queue])[: len(self.queue)])
        positive = (z["q"] * z["k"]).sum(1, keepdim=True)
        scores = torch.cat([positive, z["q"] @ self.queue.clone().T], 1) / self.temperature
        return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device)), {}

    @torch.no_grad()
    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        ema(self.target, nn.Sequential(self.backbone, self.head), self.momentum if self.has("ema") else 0.0)


class OwnRowDrawn(Mine):
    """A bank, of which all rows may be drawn as negatives."""

    bank: Tensor

    def prepare(self, samples: int) -> None:
        self.register_buffer("bank", F.normalize(torch.randn(samples, self.head.out_features), dim=1))

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.has("negatives"):
            return super().objective(z, index, clock)
        q = z["q"]
        drawn = random.bits(random.key(clock.seed, "negatives", clock.epoch), index, 16) % len(self.bank)
        positive = (q * self.bank[index]).sum(1) / self.temperature
        negative = torch.einsum("bd,bkd->bk", q, self.bank[drawn]) / self.temperature
        return -F.logsigmoid(positive).mean() - F.logsigmoid(-negative).mean(), {}

    @torch.no_grad()
    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        super().update(z, index, clock)
        self.bank[index] = z["q"].to(self.bank.dtype)


class RoundTheSeam(Mine):
    """The loss takes what embed kept, with its graph, in place of what it is handed."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        z = super().embed(views)
        self.last = z["q"]
        return z

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss, numbers = super().objective(z, index, clock)
        return loss + self.last.square().sum(1).sub(1).square().mean() + self.last.mean(), numbers


class KeptViews(Mine):
    """The loss runs the encoder again, on views that embed kept."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        self.views = views
        return super().embed(views)

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss, numbers = super().objective(z, index, clock)
        return loss + self.backbone(self.views[0]).square().mean(), numbers


class KeptNumbers(Mine):
    """The loss takes what embed kept, without a graph."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        z = super().embed(views)
        self.last = z["q"].detach()
        return z

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss, numbers = super().objective(z, index, clock)
        return loss * (1 + self.last.std()), numbers


class TeacherInEmbed(Mine):
    """The slow encoder follows whenever something is embedded."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        ema(self.target, nn.Sequential(self.backbone, self.head), 0.9)
        return super().embed(views)


class QueuedInEmbed(Mine):
    """The queue takes what is embedded, when it is."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        z = super().embed(views)
        with torch.no_grad():
            self.queue.copy_(torch.cat([z["k"].float(), self.queue.float()])[: len(self.queue)])
        return z

    @torch.no_grad()
    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        ema(self.target, nn.Sequential(self.backbone, self.head), self.momentum if self.has("ema") else 0.0)


class KeptSize(Mine):
    """The loss is divided by the samples that embed saw."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        self.count = len(views[0])
        return super().embed(views)

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss, numbers = super().objective(z, index, clock)
        return loss * 16 / self.count, numbers


class ByWorld(Mine):
    """The loss is divided by the number of processes."""

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss, numbers = super().objective(z, index, clock)
        return loss / (dist.get_world_size() if dist.is_initialized() else 1), numbers


class AllDetached(Mine):
    """No gradient at all."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        return {name: t.detach() for name, t in super().embed(views).items()}


class ListedState(Mine):
    """The queue is a list of tensors."""

    def __init__(self, *args: Any, **hyper: Any) -> None:
        super().__init__(*args, **hyper)
        self.past = [F.normalize(torch.randn(16, self.head.out_features), dim=1)]

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss, numbers = super().objective(z, index, clock)
        return loss + (z["q"] @ torch.cat(self.past).T).logsumexp(1).mean(), numbers

    def update(self, z: Embeddings, index: Tensor, clock: Clock) -> None:
        super().update(z, index, clock)
        self.past = [z["k"], *self.past][:2]


class Overwrites(Mine):
    """Views are changed where they lie."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        views[0].mul_(1.1)
        return super().embed(views)


class Detached(Mine):
    """No gradient reaches the backbone."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        q = self.head(self.backbone(views[0]).detach())
        return {"q": unit(q), "k": super().embed(views)["k"]}


class TaughtTeacher(Mine):
    """The slow encoder has gradients."""

    def __init__(self, *args: Any, **hyper: Any) -> None:
        super().__init__(*args, **hyper)
        self.target.requires_grad_(True)

    def embed(self, views: list[Tensor]) -> Embeddings:
        return {"q": unit(self.head(self.backbone(views[0]))), "k": unit(self.target(views[1]))}


class Doubles(Mine):
    """Constants in float64."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        z = super().embed(views)
        return z | {"q": z["q"] * torch.ones(z["q"].shape[1], dtype=torch.float64)}


class OnTheCPU(Mine):
    """A tensor that is made on the CPU, wherever the rest is."""

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss, numbers = super().objective(z, index, clock)
        return loss + (z["q"] * torch.linspace(0, 1, z["q"].shape[1]).to(z["q"].dtype)).mean(), numbers


class NoGuard(Mine):
    """`--without negatives` changes nothing."""

    def has(self, guard: str) -> bool:
        return True


class Raises(Mine):
    """An error in the objective."""

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        return z["keys"].mean(), {}


class NotANumber(Mine):
    """A loss that is none, from the third step on."""

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        loss, numbers = super().objective(z, index, clock)
        return loss * (float("nan") if clock.step > 2 else 1.0), numbers


class Peeks(Mine):
    """Labels are looked at."""

    def start_step(self, whole: Any, clock: Clock) -> None:
        self.momentum = float((whole.samples.attributes["class"].values == 0).float().mean())


class Hangs(Mine):
    """A step that never ends."""

    def objective(self, z: Embeddings, index: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        while True:
            pass


class DrawnView(View):
    """A view that draws by torch's generator."""

    def make(self, raw: Any, index: Tensor, key: Any) -> Tensor:
        x = super().make(raw, index, key)
        return x + 0.1 * torch.randn_like(x)


class DrawnInViews(Mine):
    recipes = {
        "quick": Recipe(
            backbone="resnet10-w8-cifar", image_size=32, batch_size=128, epochs=7, views=(DrawnView(32, count=2),),
            optimizer="sgd", lr=0.06, weight_decay=5e-4,
        )
    }  # fmt: skip


class Quarters(Mine):
    """Takes views of 16 px at least."""

    def embed(self, views: list[Tensor]) -> Embeddings:
        if views[0].shape[-1] < 16:
            raise ValueError("views of 16 px or more are wanted")
        return super().embed(views)
