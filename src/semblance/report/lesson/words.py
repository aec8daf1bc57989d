"""What became of a recorded run, in a few words, frame by frame and in the end."""

from semblance.report.lesson.recorded import Chapter, Recorded

POINT, NEAR = 0.2, 0.4  # deviation below which all samples are told to be at one point, or close together
LINE, FEW = 2.0, 4.0  # directions below which they are told to lie on a line, or to be spread thinly
GROUPS = 2  # prototypes in use up to which all samples are told to share a group

SPREAD, DIVERGED = "spread out", "then diverged"


def words(run: Recorded) -> list[str]:
    """Of each frame."""
    used: list[int] | list[None] = run.in_use or [None] * len(run.steps)
    said = [_words(*frame) for frame in zip(run.deviation, run.directions, used, strict=True)]
    return [*said[:-1], DIVERGED] if run.diverged else said


def _words(deviation: float, directions: float, used: int | None) -> str:
    if used is not None and 1 <= used <= GROUPS:
        return "one group for all" if used == 1 else "two groups for all"
    if deviation < POINT:
        return "all at one point"
    if directions < LINE:
        return "all on one line"
    if deviation < NEAR:
        return "close together"
    return "spread thinly" if directions < FEW else SPREAD


_ENDS = {  # of those that are a collapse
    "one group for all": "puts everything into one group",
    "two groups for all": "puts everything into two groups",
    "all at one point": "puts everything at one point",
    "all on one line": "puts everything on one line",
    DIVERGED: "diverges",
}
COLLAPSED = _ENDS.keys()


def headline(chapter: Chapter) -> str:
    """What a lecturer would say first, of what really came of both runs."""
    whole, bare = chapter.runs
    ends = words(whole)[-1], words(bare)[-1]
    guards = " and ".join(name.replace("_", " ") for name in bare.without)
    if ends[1] in COLLAPSED and ends[0] not in COLLAPSED:
        return f"Without {guards}, {chapter.title} {_ENDS[ends[1]]}."
    if ends[1] in COLLAPSED:
        return f"{chapter.title} {_ENDS[ends[0]]} in {whole.steps[-1]:,} steps, without {guards} and with."
    if ends[0] in COLLAPSED:
        return f"{chapter.title} {_ENDS[ends[0]]} in {whole.steps[-1]:,} steps even with {guards}."
    return f"Without {guards}, {chapter.title} has not collapsed within {bare.steps[-1]:,} steps."
