"""Sending data to the device: pixels are computed there, choices made on the CPU, so nothing waits for the device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def send(t: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device; the copy does not wait for a GPU's pending work. One that is there stays."""
    pinned = t.pin_memory() if device.type == "cuda" and t.device.type == "cpu" else t
    return pinned.to(device, non_blocking=True)


def send_raw(raw: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """What a data set reads, (pixels, sizes, ...) or crops, on the device; sizes stay on the CPU, for boxes."""
    return [t if i == 1 and t.dtype != torch.uint8 else send(t, device) for i, t in enumerate(raw)]
