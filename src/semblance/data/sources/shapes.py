"""Ten drawn shapes that pixels do not give away: the data that needs no download.

Colours, texture, background, position, scale, rotation and clutter differ from picture to picture and say nothing of
the class, so raw pixels and untrained networks do poorly, and an encoder must find the shape itself.
"""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

from semblance.runtime import random

Plane = Callable[[Tensor, Tensor], Tensor]  # whether a point of the shape's own frame, in [-1, 1]^2, is inside


def _polygon(corners: int, depth: float) -> Plane:
    """A regular star of the given corners; depth is the radius of the notches (cos(pi / corners): a polygon)."""

    def inside(u: Tensor, v: Tensor) -> Tensor:
        sector = pi / corners
        angle = torch.atan2(v, u).remainder(2 * sector)
        angle = torch.minimum(angle, 2 * sector - angle)  # from the nearest tip, in [0, sector]
        r = (u * u + v * v).sqrt()
        x, y = r * angle.cos(), r * angle.sin()
        nx, ny = depth * torch.cos(torch.tensor(sector)), depth * torch.sin(torch.tensor(sector))
        return (nx - 1) * y - ny * (x - 1) > 0  # on the inner side of the line from tip to notch

    return inside


SHAPES: dict[str, Plane] = {
    "disk": lambda u, v: u * u + v * v < 0.8,
    "ring": lambda u, v: ((u * u + v * v).sqrt() - 0.75).abs() < 0.22,
    "triangle": _polygon(3, 0.5),
    "square": lambda u, v: torch.maximum(u.abs(), v.abs()) < 0.78,
    "star": _polygon(5, 0.4),
    "cross": lambda u, v: torch.minimum(u.abs(), v.abs()).lt(0.28) & torch.maximum(u.abs(), v.abs()).lt(0.95),
    "crescent": lambda u, v: (u * u + v * v < 0.95) & ((u - 0.5) ** 2 + v * v > 0.6),
    "bars": lambda u, v: (((u + 0.9).remainder(0.72)) < 0.36) & (torch.maximum(u.abs(), v.abs()) < 0.9),
    "hourglass": lambda u, v: (u.abs() < v.abs() + 0.08) & (v.abs() < 0.9),
    "dots": lambda u, v: (u.abs() - 0.5) ** 2 + (v.abs() - 0.5) ** 2 < 0.15,
}


SPOTS = [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)]  # near which the four copies of the shape lie
SPECKS = 3


def shapes(n: int, size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor, list[str]]:
    """Draw n pictures of four copies of a shape each; picture i is a pure function of (seed, i).

    Returns uint8 (n, 3, size, size), int64 labels (n,) and the names of the classes.
    """
    pictures = [_draw(index, size, seed) for index in torch.arange(n).split(200)]
    return torch.cat(pictures), torch.arange(n) % len(SHAPES), list(SHAPES)


def _draw(index: Tensor, size: int, seed: int) -> Tensor:
    """Pictures of the given numbers, drawn at twice the size and averaged down: uint8 (N, 3, size, size)."""

    def draws(*purpose: str | int) -> Tensor:
        return random.uniform(random.key(seed, "shapes", *purpose), index, 8)[:, :, None, None]

    at = (torch.arange(2 * size) + 0.5) / size - 1
    y, x = at[None, :, None], at[None, None, :]
    u = draws("ground")
    picture = _colour(u) + _wave(u[:, 3:], x, y)
    for speck in range(SPECKS):
        u = draws("speck", speck)
        near = (x - 2 * u[:, 3] + 1) ** 2 + (y - 2 * u[:, 4] + 1) ** 2 < 0.012
        picture = torch.where(near[:, None], _colour(u) + 0.6 * (u[:, 5:6] - 0.5), picture)
    u = draws("ink")
    ink = _wave(u[:, 1:], x, y) + torch.where(u[:, :1] < 0.5, -0.4, 0.4)  # darker or lighter than the ground
    for copy, spot in enumerate(SPOTS):
        u = draws("copy", copy)
        scale, turn = 0.34 + 0.16 * u[:, 0], 2 * pi * u[:, 1]
        dx = (x - spot[0] - 0.16 * (2 * u[:, 2] - 1)) / scale
        dy = (y - spot[1] - 0.16 * (2 * u[:, 3] - 1)) / scale
        along, across = dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin()
        mask = torch.empty(along.shape, dtype=torch.bool)
        for label, inside in enumerate(SHAPES.values()):
            rows = index % len(SHAPES) == label
            mask[rows] = inside(along[rows], across[rows])
        picture = torch.where(mask[:, None], _colour(u[:, 4:]) + ink, picture)
    picture = torch.nn.functional.avg_pool2d(picture, 2)
    grain = random.uniform(random.key(seed, "grain"), index, 3 * size * size).view_as(picture) - 0.5
    return (picture + 0.1 * grain).clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _colour(u: Tensor) -> Tensor:
    """A middling colour: u (N, 3 or more, 1, 1) -> (N, 3, 1, 1)."""
    return 0.35 + 0.3 * u[:, :3]


def _wave(u: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A texture of faint parallel waves: u (N, 4 or more, 1, 1) -> (N, 1, H, W)."""
    turn, wavelength, phase, depth = 2 * pi * u[:, 0], 0.25 + 0.9 * u[:, 1], 2 * pi * u[:, 2], 0.06 * u[:, 3]
    return (depth * torch.sin((x * turn.cos() + y * turn.sin()) * 2 * pi / wavelength + phase))[:, None]
