"""What to do next about a run, each a sentence with a command to copy."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """The run as a person would name it: its folder, as a word for a shell. epochs, max_steps: asked for.
    held_out: whether enough samples are held out for numbers that need no labels. backbone_rate: where that is not
    random at the start."""

    run: str = "RUN"
    lr: float = 0.0
    epochs: int = 1
    max_steps: int | None = None
    held_out: bool = True
    backbone_rate: float | None = None

    def longer(self, times: int = 2, *, unfinished: bool = False) -> str:
        """times: as long, at least, where it has come to its end."""
        if unfinished:
            return f"Train on: semblance train --resume {self.run}"
        epochs = max(times * self.epochs, 10)
        limit = "" if self.max_steps is None else f" --max-steps {max(4 * self.max_steps, 400)}"
        return f"Train on: semblance train --resume {self.run} --epochs {epochs}{limit}"

    def other_rates(self) -> list[str]:
        rates = ((3 * self.lr, "a higher rate"), (self.lr / 3, "a lower one"))
        return [f"Or try {which}: semblance train --config {self.run} --lr {lr:.2g}" for lr, which in rates]

    def nearer_to_the_start(self) -> list[str]:
        """Nothing where that was random."""
        if self.backbone_rate is None:
            return []
        return [
            f"Stay nearer to the start: semblance train --config {self.run} --backbone-lr {self.backbone_rate / 3:.2g}"
        ]

    def lower_rate(self) -> str:
        return f"Begin anew with a tenth of the rate: semblance train --config {self.run} --lr {self.lr / 10:.2g}"

    def against_collapse(self, without: Sequence[str]) -> list[str]:
        if without:
            return [f"Train with {' and '.join(without)} on: semblance train --config {self.run} --without none"]
        return [
            f"Try a third of the rate: semblance train --config {self.run} --lr {self.lr / 3:.2g}",
            "Or another method, of those that are listed by: semblance methods",
        ]

    def measure(self) -> str:
        if not self.held_out:
            return f"Hold out more samples: semblance train --config {self.run} --split 0.5"
        return f"Measure it as it stands: semblance report {self.run}"

    def look(self) -> str:
        return "Look at the pictures, whether they are all alike, or blank."
