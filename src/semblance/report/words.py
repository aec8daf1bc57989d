"""Numbers turned into the words of the report."""

import math
from typing import Any

ACCURACIES = {
    "knn_top1": "Nearest neighbours (k-NN)",
    "knn_leave_one_out": "k-NN among training pictures",
    "linear_top1": "Linear classifier",
    "linear_mean_per_class": "Linear classifier, mean over classes",
    "video_to_audio_r1": "Sound found by its picture, R@1",
    "audio_to_video_r1": "Picture found by its sound, R@1",
}
SAMPLES = {"train_images": "pictures", "train_clips": "clips"}  # what a run's samples are, by what its summary has
_HEADER = {"method", "title", "family", "paper", "data", "backbone", "training_seconds", "samples_per_second"}
_SHOWN = _HEADER | {"table", "skipped", "test_images", "protocol", "verdict", "without", "at_the_end"}


def finite(value: Any) -> bool:
    """Whether a value is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def number(value: Any) -> str:
    """A number to four digits, thousands grouped; anything else as it is written."""
    if value is None:
        return "–"
    if not finite(value):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def percent(fraction: Any) -> str:
    """A fraction in [0, 1] as "71.2 %", with a no-break space."""
    return f"{100 * fraction:.1f}\u00a0%" if finite(fraction) else "–"


def duration(seconds: float) -> str:
    """Seconds in their two largest units."""
    minutes = int(seconds) // 60
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {int(seconds) % 60} s" if minutes else f"{seconds:.3g} s"


def course(summary: dict[str, Any], metrics: list[dict[str, Any]]) -> list[str]:
    """How long a run was and how fast, and what its last numbers are of, in a few words each."""
    found = []
    steps = [{"step": summary.get("steps")}]  # the log may lack the last
    for key, write in (("step", number), ("epoch", lambda epochs: f"{epochs:.3g}")):
        values: list[float] = [line[key] for line in [*metrics, *steps] if finite(line.get(key))]
        if values:
            found.append(f"{write(max(values))} {key}{'' if max(values) == 1 else 's'}")
    if finite(summary.get("training_seconds")):
        found.append(f"{duration(summary['training_seconds'])} of training")
    if finite(summary.get("samples_per_second")):
        what = next((word for key, word in SAMPLES.items() if key in summary), "samples")
        found.append(f"{summary['samples_per_second']:,.0f} {what} per second")
    if summary.get("handed_out", "last") != "last":
        found.append(f"Numbers above are of the last step, not of step {summary['handed_out_step']:,}, handed out")
    return found


def warnings(summary: dict[str, Any], metrics: list[dict[str, Any]]) -> list[str]:
    """What went wrong in training, or is not at its end, as sentences."""
    losses = [line for line in metrics if "loss" in line]
    lost = [line.get("step") for line in losses if not finite(line["loss"])]
    done, total = (summary.get(name) or 0 for name in ("steps", "total_steps"))
    told = []
    if done < total:
        diverged = (summary.get("verdict") or {}).get("state") == "diverged"
        measured = "accuracies are of the networks before training" if diverged else "all of this is of that step"
        if summary.get("handed_out", "last") != "last":
            measured = f"accuracies are of step {summary['handed_out_step']:,}, which is handed out"
        told = [f"Stopped after step {done:,} of {total:,}: {measured}."]
    if not lost:
        return told
    return [
        *told,
        f"The loss was not a finite number in {len(lost):,} of {len(losses):,} log lines, first at step {lost[0]}.",
    ]


def accuracies(summary: dict[str, Any]) -> list[tuple[str, str, list[tuple[str, float | None]]]]:
    """Per measure that any encoder has: its name, what it is called, and every encoder with its fraction (None where
    missing)."""
    table = summary.get("table") or []
    keys = [*ACCURACIES, *(key for row in table for key in row if key not in (*ACCURACIES, "encoder", "telling"))]
    return [
        (
            key,
            ACCURACIES.get(key, key.replace("_", " ")),
            [(row["encoder"], row[key] if finite(row.get(key)) else None) for row in table],
        )
        for key in dict.fromkeys(keys)
        if any(finite(row.get(key)) for row in table)
    ]


def is_trained(encoder: str) -> bool:
    """Whether a row of the table is of what is handed out, by its name."""
    return encoder.startswith("trained") or " handed out" in encoder


def tested(summary: dict[str, Any]) -> int | None:
    """How many held-out samples the accuracies were measured on."""
    return summary.get("measured", {}).get("test") or summary.get("test_images") or summary.get("test_clips")


def verdict(summary: dict[str, Any]) -> str:
    """One sentence on how the trained encoder compares with the others; empty where it was not scored.

    A difference below the 95 % interval of two independent proportions over `test_images` counts as level. Both are
    measured on the same pictures, so the true interval is narrower: the sentence errs on the careful side.
    """
    if "retrieval" in summary:
        return _found(summary["retrieval"], tested(summary) or 0)
    table = summary.get("table") or []
    trained: dict[str, Any] = next((row for row in table if is_trained(row["encoder"])), {})
    key = next((key for key in ("linear_top1", "knn_top1") if finite(trained.get(key))), None)
    if key is None:
        return ""
    count = tested(summary)
    subject = "A linear classifier on" if key == "linear_top1" else "Nearest neighbours in"
    of = f"{count:,} test pictures" if finite(count) else "the test pictures"
    compared = [
        _compared(trained[key], row[key], row["encoder"], count if finite(count) else None)
        for row in table
        if row is not trained and finite(row.get(key))
    ]
    sentence = f"{subject} the {trained['encoder']} names {percent(trained[key])} of {of} correctly"
    return f"{sentence}: {' and '.join(compared)}." if compared else f"{sentence}."


def _found(retrieval: dict[str, dict[str, float]], clips: int) -> str:
    """How often the two halves of a clip find each other: among the first ten, or first where clips are few."""
    key, place = ("r10", "among the first ten") if clips >= 50 else ("r1", "first")
    seen, heard, luck = (percent(retrieval[way][key]) for way in ("video_to_audio", "audio_to_video", "chance"))
    shares = [retrieval[way][key] for way in ("video_to_audio", "audio_to_video")]
    lucky = [at_chance(share, retrieval["chance"][key], clips) for share in shares]
    which = "both are" if all(lucky) else "the first is" if lucky[0] else "the second is"
    return (
        f"Among {clips:,} held-out clips, a picture finds its own sound {place} in {seen} of cases, "
        f"and a sound its own picture in {heard}; chance is {luck}{f': {which} at chance' if any(lucky) else ''}."
    )


def at_chance(share: float, chance: float, count: int) -> bool:
    """Whether chance lies within the 95 % interval of a share of so many (Wilson's: it holds for a share of 0, too)."""
    return abs(share - chance) <= 1.96 * math.sqrt(chance * (1 - chance) / max(1, count)) + 1e-12


def _compared(mine: float, other: float, name: str, count: int | None) -> str:
    points = f"{100 * abs(mine - other):.1f} points"
    noise = 1.96 * math.sqrt((mine * (1 - mine) + other * (1 - other)) / count) if count else 0.0
    name = f"the {name}" if name.endswith("backbone") else name
    if mine == other:
        return f"level with {name}"
    if abs(mine - other) <= noise:
        return f"within sampling noise of {name} ({'+' if mine > other else '−'}{points})"
    return f"{points} {'above' if mine > other else 'below'} {name}"


def is_path(text: str) -> bool:
    """Whether a text is one of those that are long without saying much in the middle."""
    return text.startswith(("/", "~", "./", "../")) or text[1:3] in (":\\", ":/")


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested dict as rows of dotted name and written value."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            rows += flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def unshown(summary: dict[str, Any]) -> dict[str, Any]:
    """The entries of the summary that have no place of their own on the page, numbers rounded."""
    return {key: number(value) if finite(value) else value for key, value in summary.items() if key not in _SHOWN}
