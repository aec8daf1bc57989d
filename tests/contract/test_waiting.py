"""Between two looks at the loss nothing waits for a GPU: every method, view and optimiser, on a device that counts.

What docs/architecture.md excepts is work on the whole set, and one question a step of SwAV's queue and of CMA.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from ranks import Ranks
from tiny import CPU, PICTURES, losses, tiny_config, tiny_method, tiny_samples
from torch import Tensor

import semblance as sb
from semblance.checking.pretended_device import DEVICE, PretendedDevice, There, put_there
from semblance.engine import loop
from semblance.nets.batchnorm import synchronise
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runtime import ranks
from semblance.systems import Clock, Method, View
from semblance.views.view import make_views

STEPS = 4
ASKED = "a value is asked for"
QUESTIONS = {"swav": 1, "avid-cma": 1}  # at most, of a step


def config_of(name: str, **flags: Any) -> TrainConfig:
    """Steps of one epoch, logged at the first and at the last; SeLa assigns its labels before the first."""
    config = tiny_config(name, batch_size=8, max_steps=STEPS, **flags)
    if "assignments" in config.hyper:
        config.hyper["assignments"] = 1
    return config


def waits(config: TrainConfig, out: Path, device: torch.device = DEVICE) -> tuple[list[Counter[str]], list[Tensor]]:
    """What was waited for in each step between the first and the last, and the losses of both."""
    method, mode, seen = tiny_method(config), PretendedDevice(), []
    mining_done(method)
    if dist.is_initialized():
        synchronise(method)
    update = method.update

    def note(*about: Any) -> None:
        update(*about)
        seen.append(Counter(mode.waits))

    method.update = note  # from one to the next, all that a turn of the loop does
    with mock.patch.object(loop.checkpoint, "save"):
        if device == DEVICE:
            put_there(method)
            with mode:
                loop.fit(method, tiny_samples(config.method), config, RunFolder(out), device)
        else:
            loop.fit(method, tiny_samples(config.method), config, RunFolder(out), device)
    between = seen[1 : STEPS - 1]  # after the first is logged, before the last is
    return [after - before for before, after in zip(between, between[1:], strict=False)], list(losses(out).values())


def mining_done(method: Method) -> None:
    """CMA's objective differs once positives are mined."""
    if hasattr(method, "positive_set"):
        count = method.positive_set.shape[1]
        others = (torch.arange(PICTURES)[:, None] + 1 + torch.arange(count)) % PICTURES
        method.positive_set.copy_(others.sort(1).values)


def assert_waits_for_nothing(config: TrainConfig, out: Path) -> None:
    found, there = waits(config, make(out / "there"))
    _, here = waits(config, make(out / "here"), CPU)
    torch.testing.assert_close(
        there, here, rtol=1e-4, atol=1e-4
    )  # the same run as on the CPU, attention's kernels apart
    check(found, config)


def check(found: list[Counter[str]], config: TrainConfig) -> None:
    assert len(found) == STEPS - 3
    assert max(step.total() for step in found) <= QUESTIONS.get(config.method, 0), (config, found)


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_no_method_waits_for_the_device(method: str, tmp_path: Path) -> None:
    assert_waits_for_nothing(config_of(method, recipe="imagenet"), tmp_path)


@pytest.mark.in_ci("simclr", "moco", "npid", "swav", "avid-cma")
def test_nor_does_its_quick_recipe_on_two_ranks(method: str, two_ranks: Ranks, tmp_path: Path) -> None:
    make(tmp_path / "ranks")
    config = config_of(method)
    for found in two_ranks(_waits, config, tmp_path / "ranks"):
        check(found, config)


def _waits(config: TrainConfig, out: Path) -> list[Counter[str]]:
    return waits(config, out)[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lars", "lars-simclr", "larc", "lars-clip"])
def test_no_optimiser_waits(optimizer: str, tmp_path: Path) -> None:
    """Muon is that of the quick recipes."""
    assert_waits_for_nothing(config_of("barlow-twins", optimizer=optimizer, lr=0.01), tmp_path)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("simclr", {"clip_grad": 0.1, "clip_each": 0.1, "final_weight_decay": 0.5}),
        ("byol", {"micro_batch": 4}),
        ("moco", {"micro_batch": 4}),
        ("simsiam", {"backbone": "resnet10-w8-cifar-sobel"}),
        ("swav", {"hyper": {"queue": 16, "queue_epoch": 0, "prototypes": 16, "hidden": 16, "dim": 16}}),
    ],
)
def test_no_option_waits(name: str, flags: dict[str, Any], tmp_path: Path) -> None:
    assert_waits_for_nothing(config_of(name, **flags), tmp_path)


def test_crops_of_several_sizes_through_a_transformer_do_not_wait(tmp_path: Path) -> None:
    config = config_of("dino", backbone="vit_tiny_patch16_224", image_size=32)
    assert_waits_for_nothing(config.model_copy(update={"views": (View(32, count=2), View(16))}), tmp_path)


def test_log_mel_spectrograms_do_not_wait(tmp_path: Path) -> None:
    config = config_of("avid")
    views = (config.video, replace(config.sound, mel=8))
    assert_waits_for_nothing(config.model_copy(update={"views": views}), tmp_path)


def test_views_from_elsewhere_are_not_waited_for() -> None:
    """In a loop of one's own."""
    config = config_of("byol")
    method = tiny_method(config)
    index = torch.arange(8)
    views = make_views(config.views, tiny_samples("byol").read(index), index, seed=0, step=0)
    put_there(method)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    with PretendedDevice() as mode:
        sb.step(method, optimizer, views, index, Clock(0, 10, 3))
    assert mode.waits == Counter()


def test_what_is_sent_without_waiting_goes_through_one_door() -> None:
    """A copy that need not be waited for is one only from pinned memory, which `send` sees to."""
    source = Path(sb.__file__).parent
    files = [p for p in source.rglob("*.py") if p.name != "pretended_device.py"]
    assert [p.name for p in files if "non_blocking" in p.read_text()] == ["device.py"]


def test_ranks_agree_without_their_gpus(two_ranks: Ranks) -> None:
    """Under NCCL as well: what it carries would wait for all that the GPU has yet to do."""
    assert two_ranks(_agree) == [[[True, False], "cpu", True]] * 2


def _agree() -> list[Any]:
    carried = []
    all_reduce = dist.all_reduce

    def note(tensor: Tensor, *args: Any, **kwargs: Any) -> None:
        carried.extend([tensor.device.type, kwargs.get("group") not in (None, dist.group.WORLD)])
        all_reduce(tensor, *args, **kwargs)

    with mock.patch.object(dist, "get_backend", lambda *of: "nccl"), mock.patch.object(dist, "all_reduce", note):
        ranks._of_processors.cache_clear()
        found = ranks.any_rank(ranks.world()[0] == 1, False)
    ranks._of_processors.cache_clear()
    return [found, *carried]


@pytest.mark.parametrize(
    ("wait", "what"),
    [
        (lambda x: float(x.sum()), ASKED),
        (lambda x: bool(x.any()), ASKED),
        (lambda x: x.tolist(), "a copy to the CPU"),
        (lambda x: x.cpu(), "a copy to the CPU"),
        (lambda x: torch.zeros(3).copy_(x), "a copy to the CPU"),
        (lambda x: x.copy_(torch.zeros(3)), "a copy to the device"),
        (lambda x: torch.zeros(3).to(x.device), "a copy to the device"),
        (lambda x: torch.zeros(3).to(x), "a copy to the device"),
        (lambda x: torch.tensor([1.0, 2.0], device=x.device), "a copy to the device"),
        (lambda x: x.new_tensor([1.0, 2.0]), "a copy to the device"),
        (lambda x: x[torch.tensor([0, 2])], "an index that is on the CPU"),
        (lambda x: x.index_put_((torch.tensor([0]),), x[1:2].clone()), "an index that is on the CPU"),
        (lambda x: x[x > 1], "a mask as an index"),
        (lambda x: x.nonzero(), "nonzero, whose result the CPU has to know"),
        (lambda x: x.long().bincount(), "bincount, whose result the CPU has to know"),
        (lambda x: x.masked_select(x > 1), "masked_select, whose result the CPU has to know"),
        (lambda x: x.long().unique(), "_unique2, whose result the CPU has to know"),
    ],
)
def test_the_count_knows_what_a_gpu_is_waited_for(wait: Any, what: str) -> None:
    mode = PretendedDevice()
    with mode:
        wait(There(torch.arange(3.0)))
    assert mode.waits == {what: 1}


def test_the_count_lets_pass_what_nothing_waits_for() -> None:
    mode = PretendedDevice()
    with mode:
        x = There(torch.arange(3.0, dtype=torch.float64))
        y = (x * 2 + torch.tensor(1.0)).index_select(0, torch.zeros(2, dtype=torch.long, device=DEVICE))
        z = torch.ones(3).to(DEVICE, non_blocking=True) + x.masked_fill(x > 1, 0.0)
        y[:1] = z[:1]
    assert mode.waits == Counter() and y.here.tolist() == [1.0, 1.0]
    with mode, pytest.raises(RuntimeError, match="mixes"):
        x + torch.ones(3)
