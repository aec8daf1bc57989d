"""Counted randomness: every random choice is a hash of what it is for, so there is no generator state to save.

The same (seed, purpose, epoch, index, slot) gives the same number on any device, on any number of ranks or workers,
before or after a crash. The hash is splitmix64 (Steele et al. 2014), vectorised over dataset indices.
"""

from typing import TypeVar
from zlib import crc32

import torch
from torch import Tensor

Key = TypeVar("Key", bound=int | Tensor)
_MASK = (1 << 64) - 1


def _signed(x: int) -> int:
    """The 64-bit pattern of x as the signed integer that int64 tensors hold."""
    x &= _MASK
    return x - (1 << 64) if x >> 63 else x


_GOLDEN, _M1, _M2 = (_signed(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64 on int64 bit patterns; shifts are logical."""
    x = (x ^ ((x >> 30) & (_MASK >> 30))) * _M1
    x = (x ^ ((x >> 27) & (_MASK >> 27))) * _M2
    return x ^ ((x >> 31) & (_MASK >> 31))


def _mix_int(x: int) -> int:
    """The same for one Python int: a tensor of one number takes a hundred times as long."""
    x &= _MASK
    x = (x ^ (x >> 30)) * _M1 & _MASK
    x = (x ^ (x >> 27)) * _M2 & _MASK
    return _signed(x ^ (x >> 31))


def key(seed: Key, *purpose: str | int) -> Key:
    """A 64-bit key for one purpose, e.g. key(seed, "crop", epoch, view); given a key per row, one per row."""
    h: int | Tensor = seed if isinstance(seed, Tensor) else _signed(seed)
    for part in purpose:
        word = crc32(part.encode()) if isinstance(part, str) else part
        h = h * _GOLDEN + _signed(word) + 1
        h = _mix(h) if isinstance(h, Tensor) else _mix_int(h)
    return h  # type: ignore[return-value]


def bits(key: int | Tensor, index: Tensor, slots: int = 1) -> Tensor:
    """63 random bits for each index and slot: int64 (N, slots), non-negative. key: one for all rows, or (N,)."""
    slot = torch.arange(1, slots + 1, device=index.device)
    row = _mix(index.long() * _GOLDEN + key)[:, None]
    return _mix(row + slot * _GOLDEN) & (_MASK >> 1)


def uniform(key: int | Tensor, index: Tensor, slots: int = 1) -> Tensor:
    """Uniform numbers in [0, 1) for each index and slot: float32 (N, slots), 24 bits each."""
    return (bits(key, index, slots) >> 39).float() * 2.0**-24


def repeated(key: int | Tensor, times: int) -> int | Tensor:
    """The key, or keys per row, for rows that are each repeated so many times."""
    return key.repeat_interleave(times) if isinstance(key, Tensor) else key


def permutation(key: int, n: int) -> Tensor:
    """A random order of 0..n-1: int64 (n,)."""
    return bits(key, torch.arange(n))[:, 0].argsort(stable=True)
