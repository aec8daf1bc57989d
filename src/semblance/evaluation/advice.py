"""What to do next about a run, each a sentence with a command to copy."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """The run as a person would name it: its folder, as a word for a shell. epochs, max_steps: asked for."""

    run: str = "RUN"
    lr: float = 0.0
    epochs: int = 1
    max_steps: int | None = None

    def longer(self) -> str:
        steps = "" if self.max_steps is None else f" --max-steps {max(4 * self.max_steps, 400)}"
        return f"Train on: semblance train --resume {self.run} --epochs {max(2 * self.epochs, 10)}{steps}"

    def other_rates(self) -> list[str]:
        rates = ((3 * self.lr, "a higher rate"), (self.lr / 3, "a lower one"))
        return [f"Or try {which}: semblance train --config {self.run} --lr {lr:.2g}" for lr, which in rates]

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
        return f"Measure it as it stands: semblance report {self.run}"

    def look(self) -> str:
        return "Look at the pictures, whether they are all alike, or blank."
