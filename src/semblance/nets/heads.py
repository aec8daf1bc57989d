"""Projection and prediction heads."""

from torch import Tensor, nn


def mlp(
    *widths: int, bias: bool = True, norm: bool = True, output_bias: bool = True, output_norm: bool = False
) -> nn.Sequential:
    """Linear layers of the given widths with batch norm and ReLU between them: (N, widths[0]) -> (N, widths[-1]).

    bias: of the hidden linear layers. norm: without it, only ReLU between them. output_norm: end in a batch norm.
    """
    layers: list[nn.Module] = []
    for i, o in zip(widths[:-2], widths[1:-1], strict=True):
        layers += [nn.Linear(i, o, bias=bias), *([nn.BatchNorm1d(o)] if norm else []), nn.ReLU()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=output_bias))
    if output_norm:
        layers.append(nn.BatchNorm1d(widths[-1]))
    return nn.Sequential(*layers)


class EachPart(nn.Module):
    """One head for every part of time, whose features are concatenated: (N, parts D) -> (N, parts D')."""

    def __init__(self, head: nn.Module, parts: int) -> None:
        super().__init__()
        self.head, self.parts = head, parts

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.unflatten(1, (self.parts, -1)).flatten(0, 1)).unflatten(0, (len(x), -1)).flatten(1)
