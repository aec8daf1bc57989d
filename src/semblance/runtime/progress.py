"""Progress bars on stderr: for a run, with loss, samples per second and time left, and for other work."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from semblance.runtime.terminal import console
from semblance.shown import shown

T = TypeVar("T")


def duration(seconds: float) -> str:
    """As "1 day, 2:03:04"; no more than a timedelta holds."""
    return str(timedelta(seconds=round(min(seconds, 1e12))))


class Lines:
    """Lines now and then where no bar can be drawn: the first after five seconds, then one every half minute."""

    def __init__(self, terminal: Console, visible: bool) -> None:
        self.console = terminal
        self.due = time.perf_counter() + 5 if visible and not terminal.is_terminal else math.inf

    def say(self, text: str) -> None:
        now = time.perf_counter()
        if now > self.due:
            self.due = now + 30
            self.console.print(text, soft_wrap=True)


class Progress:
    """A run's steps on stderr: a bar on a terminal, else lines. Speed is that of the last half minute."""

    def __init__(self, title: str, total: int, batch_size: int, visible: bool = True) -> None:
        self.total, self.batch_size, self.loss = total, batch_size, float("nan")
        self.seen: deque[tuple[float, int]] = deque()
        self.title, terminal = shown(title), console(stderr=True)
        self.lines = Lines(terminal, visible)
        self.bar = Bar(
            TextColumn("{task.description}", "bold", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[state]}", markup=False), TimeElapsedColumn(), console=terminal,
            disable=not (visible and terminal.is_terminal), refresh_per_second=4,
        )  # fmt: skip

    def __enter__(self) -> "Progress":
        self.bar.start()
        self.task = self.bar.add_task(self.title, total=self.total, state="")
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def advance(self, step: int) -> None:
        """Note that `step` steps are done."""
        now = time.perf_counter()
        self.seen.append((now, step))
        while len(self.seen) > 2 and now - self.seen[0][0] > 30:
            self.seen.popleft()
        if speed := self.speed(step):
            left = duration((self.total - step) * self.batch_size / speed)
            loss = "" if math.isnan(self.loss) else f"loss {self.loss:.3f}  "
            state = f"{loss}{speed:,.0f} samples/s  {left} left"
            self.bar.update(self.task, completed=step, state=state)
            self.lines.say(f"step {step:,} of {self.total:,}  {state}")

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """The items in turn, with a bar of their own while they last."""
        task = self.bar.add_task("", total=len(items), state=what)
        try:
            for done, item in enumerate(items, 1):
                yield item
                self.bar.advance(task)
                self.lines.say(f"{what}: {done:,} of {len(items):,}")
        finally:  # also when the loop is left early
            self.bar.remove_task(task)

    def leave_out(self, seconds: float) -> None:
        """Seconds since the last step in which nothing was trained are not part of the speed."""
        self.seen = deque((then + seconds, step) for then, step in self.seen)

    def speed(self, step: int) -> float:
        """Images per second over the last half minute; 0 before the second step."""
        if not self.seen or step <= self.seen[0][1]:
            return 0.0
        (then, first) = self.seen[0]
        return (step - first) * self.batch_size / (time.perf_counter() - then)


def with_progress(
    title: str, results: Iterable[T], total: int, amount: Callable[[T], int] = lambda result: 1
) -> Iterator[T]:
    """The results as they come, with a bar on a terminal, else lines. amount: what each is of the total."""
    terminal, started = console(stderr=True), time.perf_counter()
    bar = Bar(
        TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True), console=terminal, transient=True,
        disable=not terminal.is_terminal,
    )  # fmt: skip
    lines, done = Lines(terminal, True), 0
    with bar:
        task = bar.add_task(shown(title), total=total)
        for result in results:
            yield result
            done += amount(result)
            bar.update(task, completed=done)
            left = duration((time.perf_counter() - started) * (total - done) / max(done, 1))
            lines.say(f"{shown(title)}: {done:,} of {total:,}, {left} left")
