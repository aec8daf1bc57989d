"""Runs of any method that take a fraction of a second, as the contract makes them (semblance.checking.small)."""

import signal
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from semblance.checking.small import BATCH as BATCH
from semblance.checking.small import CPU as CPU
from semblance.checking.small import PICTURES as PICTURES
from semblance.checking.small import SIDE as SIZE
from semblance.checking.small import deviation as deviation
from semblance.checking.small import gradients_of as gradients_of
from semblance.checking.small import outcome as outcome
from semblance.checking.small import small_clips as tiny_clips
from semblance.checking.small import small_config as tiny_config
from semblance.checking.small import small_images as tiny_images
from semblance.checking.small import small_method as tiny_method
from semblance.checking.small import small_samples
from semblance.data.samples import Samples
from semblance.engine import loop
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.systems import Method

__all__ = ["SIZE", "tiny_clips", "tiny_config", "tiny_images", "tiny_method"]


def striped_pictures(count: int) -> np.ndarray:
    """Pictures of one colour each with a stripe, by which another view is found: uint8 (count, 16, 16, 3)."""
    colours = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3)).astype(np.uint8)
    pictures = np.broadcast_to(colours, (count, 16, 16, 3)).copy()
    pictures[:, 6:9] = 255 - pictures[:, 6:9]
    return pictures


def tiny_samples(method: str) -> Samples:
    """What the method learns from."""
    return small_samples(tiny_config(method))


def train(method: Method, config: TrainConfig, out: Path, *, resume: bool = False) -> loop.Trained:
    """fit() with every step logged."""
    out.mkdir(exist_ok=True)
    with mock.patch.object(loop, "LOG_EVERY", 1):
        return loop.fit(method, tiny_samples(config.method), config, RunFolder(out), CPU, resume=resume)


def interrupt_after(method: Method, step: int) -> None:
    """Ctrl-C while the given step is under way."""
    update = method.update

    def update_and_interrupt(z, index, clock) -> None:
        update(z, index, clock)
        if clock.step + 1 == step:
            signal.raise_signal(signal.SIGINT)

    method.update = update_and_interrupt


def losses(out: Path) -> dict[int, Tensor]:
    """By step; none logged twice."""
    lines = [line for line in RunFolder(out).read_metrics() if "loss" in line]
    assert len({line["step"] for line in lines}) == len(lines)
    return {line["step"]: torch.tensor(line["loss"], dtype=torch.float64) for line in lines}


def assert_close(a: Any, b: Any, tolerance: float) -> None:
    """Equal dictionaries of tensors, to a tolerance relative to values above 1 and absolute below."""
    assert deviation(a, b) <= tolerance
