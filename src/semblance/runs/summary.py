"""What summary.json holds, as far as the commands rely on it: nobody knows who has written the one in a folder."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Counted = Annotated[int, Field(ge=0, lt=2**53)]
Way = Literal["video_to_audio", "audio_to_video", "chance"]


class LabelFree(BaseModel):
    """Of a stream of an encoder: the number that the verdict compares, with its interval."""

    model_config = ConfigDict(extra="allow")
    view_percentile: Annotated[list[float], Field(min_length=3, max_length=3)]


class Row(BaseModel):
    """Of the table: the measures of an encoder."""

    model_config = ConfigDict(extra="allow")
    encoder: str
    label_free: dict[str, LabelFree] | None = None
    telling: Annotated[float, Field(ge=0, le=1)] = 1.0


class Found(BaseModel):
    """How often the other half of a clip is among the first, and its median rank."""

    r1: float
    r5: float
    r10: float
    median_rank: float


class Shares(BaseModel):
    """Of positives that share a label, by what they are alike in."""

    consensus: float
    union: float
    video: float
    audio: float
    chance: float


class Summary(BaseModel):
    """The entries that are read again; others may stand beside them."""

    model_config = ConfigDict(extra="allow", strict=True)
    steps: Counted
    total_steps: Counted
    handed_out: Literal["last", "best", "start"] = "last"
    handed_out_step: Counted | None = None
    epochs: Counted
    max_steps: Counted | None
    table: list[Row]
    method: str
    title: str
    family: str
    paper: str
    data: str
    backbone: str
    training_seconds: float
    samples_per_second: float
    measured: dict[str, Counted]
    skipped: list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    retrieval: dict[Way, Found] | None = None
    positives: dict[str, Shares] | None = None
    test_clips: Counted | None = None
    test_images: Counted | None = None


class Diverged(BaseModel):
    """What diverged.json holds, as far as a verdict is made of it."""

    model_config = ConfigDict(strict=True)
    step: Counted
    loss: str = "no number"
    weights: list[str] = []


def is_whole(values: Any) -> bool:
    """Whether values are those of a summary."""
    try:
        found = Summary.model_validate(values)
    except ValidationError:
        return False
    stepless = found.handed_out != "last" and found.handed_out_step is None
    return not stepless and (found.retrieval is None or len(found.retrieval) == 3)
