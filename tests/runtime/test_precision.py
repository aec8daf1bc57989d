"""Which number format and which layout of memory a run computes in."""

import pytest
import torch
from torch import Tensor, nn

from semblance.errors import UserError
from semblance.runtime import precision
from semblance.runtime.precision import choose_precision, fastest_layout

CPU = torch.device("cpu")


def test_clips_on_a_cpu_are_float32() -> None:
    """oneDNN's bf16 gradient of a (3, 1, 1) convolution over two frames was NaN in 19 of 20 draws (torch 2.14)."""
    assert choose_precision("auto", CPU, clips=True) == "32"
    assert choose_precision("64", CPU, clips=True) == "64"
    with pytest.raises(UserError, match="Leave --precision out"):
        choose_precision("bf16", CPU, clips=True)
    assert choose_precision("auto", CPU) in ("bf16", "32")


class Clocked(nn.Module):
    """A convolution whose steps take as long as it is told, by a clock of its own."""

    now, seen = 0.0, 0

    def __init__(self, seconds: dict[bool, float], first: float = 0.0, compiled: float = 1.0) -> None:
        """first: the seconds that the first step takes more with channels last. compiled: by what factor."""
        super().__init__()
        self.convolution, self.seconds, self.first, self.factor = nn.Conv2d(3, 4, 1), seconds, first, compiled

    def compile(self) -> None:
        self.seconds = {last: self.factor * seconds for last, seconds in self.seconds.items()}

    def forward(self, x: Tensor) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last)
        Clocked.now += self.seconds[last] + last * self.first
        self.first = 0.0
        Clocked.seen = max(Clocked.seen, len(x))
        return self.convolution(x)


@pytest.mark.parametrize(
    ("first", "last", "chosen"), [(1.0, 0.5, True), (0.5, 1.0, False), (1.0, 0.95, False), (60.0, 20.0, True)]
)
def test_the_faster_layout_is_chosen_in_bounded_time(
    first: float, last: float, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clocked.now = Clocked.seen = 0
    monkeypatch.setattr(precision.time, "perf_counter", lambda: Clocked.now)
    network = Clocked({False: first, True: last})
    found = fastest_layout(network, size=8, precision="32", device=CPU, views=1, at_once=6)
    assert found == (chosen, False) and Clocked.seen == 6
    assert Clocked.now <= precision.PATIENCE + 2 * (first + last)  # the steps on the way, and no more


@pytest.mark.parametrize(
    ("first", "views", "compiled", "chosen"),
    [(2.0, 1, 0.5, False), (0.0, 6 * 1190, 0.5, False), (0.0, 6 * 1210, 0.5, True), (0.0, 6 * 1210, 0.95, False)],
)
def test_the_first_step_is_not_timed_and_only_long_runs_are_compiled(
    first: float, views: int, compiled: float, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs whose views take more than ten minutes otherwise: six of them in half a second."""
    Clocked.now = Clocked.seen = 0
    monkeypatch.setattr(precision.time, "perf_counter", lambda: Clocked.now)
    monkeypatch.setattr(precision, "can_compile", lambda: True)
    network = Clocked({False: 1.0, True: 0.5}, first, compiled)
    found = fastest_layout(network, size=8, precision="32", device=CPU, views=views, at_once=6)
    assert found == (True, chosen)
