"""Pixels are computed on the device, choices are made on the CPU, so that nothing has to wait for the device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def send(t: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device; a GPU is handed it without waiting for the work it still has."""
    return t.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else t


def send_raw(raw: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """What a data set reads, (pixels, sizes, ...), on the device; sizes stay where crops are chosen, on the CPU."""
    return [t if i == 1 else send(t, device) for i, t in enumerate(raw)]
