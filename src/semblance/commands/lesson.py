"""`semblance lesson`: methods trained with and without what keeps them from collapsing, on one page to be projected."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from semblance import modalities, systems
from semblance.commands.printing import say, status
from semblance.commands.recorder import Recorder, frame_steps
from semblance.data import Source
from semblance.engine.callbacks import Numbers
from semblance.engine.loop import fit
from semblance.errors import Stopped, UserError, unknown
from semblance.modalities.build import at_the_start
from semblance.report.clips import moving, playable
from semblance.report.lesson.page import write_lesson
from semblance.report.lesson.recorded import Chapter, Recorded, Sight
from semblance.runs.config import TrainConfig
from semblance.runs.folder import RunFolder
from semblance.runs.resolve import resolve
from semblance.runtime.device import best_device
from semblance.runtime.memory import told_when_short
from semblance.runtime.precision import choose_precision
from semblance.runtime.progress import duration
from semblance.shown import shown
from semblance.systems import Method
from semblance.systems.families import FAMILIES

STEPS, CLIP_STEPS, BATCH = 160, 75, 64  # four methods in three minutes on two cores, two of clips in two more
TRAINED, HELD_OUT = 1280, 200  # samples: an epoch of 20 steps, so that banks fill and clusters are made anew
FRAMES = 36
HEARD = 8  # clips to be seen and heard
CLIPS = ("avid", "avid-cma")
PICTURES = {"data": "digits", "flip_p": 0.0}  # need no download, and are marks on a map themselves
HYPER = {  # beside those of `quick`: what shows in so few steps
    "barlow-twins": {"lambda_": 0.05},  # of 128 dimensions, whose off-diagonal else weighs less than the diagonal
    "swav": {"prototypes": 64, "epsilon": 0.01},  # with softer codes all scores stay alike for as long
}


@dataclass(frozen=True)
class Pair:
    """A method that is trained twice, with all of its guards and without some."""

    method: str
    without: tuple[str, ...]

    @property
    def title(self) -> str:
        return systems.get(self.method).title


def lesson(
    methods: Sequence[str] = (), *, out: str | None = None, clips: bool = False, steps: int | None = None,
    without: Sequence[str] = (), seed: int = 0,
) -> Path:  # fmt: skip
    """Train each method with and without its guard, and write lesson.html, whose path is returned.

    Raises Stopped at Ctrl-C, once the page holds the methods that were finished.
    """
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps}: a run has 1 or more.")
    pairs = chosen(methods, clips=clips, without=without)
    configs = [_config(pair, steps, seed) for pair in pairs]  # before anything is made, so that a typo costs nothing
    folder = _new_folder(out)
    page = folder / "lesson.html"
    done: list[Chapter] = []
    pace = _Pace(sum(config.max_steps or 0 for two in configs for config in two))
    sources: dict[str, Source[Any]] = {}
    try:
        with told_when_short():
            for i, (pair, two) in enumerate(zip(pairs, configs, strict=True)):
                runs: list[Recorded] = []
                for config in two:
                    say(f"{2 * i + len(runs) + 1} of {2 * len(pairs)}: {pair.title}, {_guards(config)}{pace.left()}")
                    runs.append(_train(config, sources, pace))
                done.append(_chapter(two, _source(two[0], sources), runs))
                write_lesson(page, done, missing=[], about=_about(done, two[0]))
    except KeyboardInterrupt:
        missing = [pair.title for pair in pairs[len(done) :]]
        if not done:
            raise Stopped(_tell("Stopped before the first method was finished: there is no page.")) from None
        write_lesson(page, done, missing=missing, about=_about(done, configs[0][0]))
        told = f"Stopped: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        raise Stopped(_tell(f"{told} Look at {shown(page)}.")) from None
    say(f"Trained {2 * len(pairs)} runs in {duration(pace.seconds)}. Look at {shown(page)}.", result=True)
    return page


def chosen(methods: Sequence[str], *, clips: bool, without: Sequence[str] = ()) -> list[Pair]:
    """The methods in the order of their families, each with the guards to switch off: those named, else its first."""
    named = [systems.canonical(name) for name in methods] or [family.example for family in FAMILIES]
    named = list(dict.fromkeys([*named, *(CLIPS if clips else ())]))
    order = [family.name for family in FAMILIES]
    families = {name: systems.get(name).family for name in named}
    named.sort(key=lambda name: (name in CLIPS, order.index(families[name]) if families[name] in order else len(order)))
    guards = {name: systems.get(name).guards for name in named}
    for guard in without:
        if not any(guard in known for known in guards.values()):
            raise unknown("guard", guard, [g for known in guards.values() for g in known])
    for name, known in guards.items():
        if not known:
            raise UserError(f"{systems.get(name).title} has no guard to be switched off: leave it out.")
    return [
        Pair(name, tuple(g for g in known if g in without) or (next(iter(known)),)) for name, known in guards.items()
    ]


def _config(pair: Pair, steps: int | None, seed: int) -> tuple[TrainConfig, TrainConfig]:
    """Of the run with all guards and of that without: the same but for those."""
    of_pictures = systems.get(pair.method).of_pictures()
    steps = steps or (STEPS if of_pictures else CLIP_STEPS)
    precision = choose_precision("auto", best_device(), clips=not of_pictures)
    options = (PICTURES if of_pictures else {}) | {
        "method": pair.method, "hyper": HYPER.get(pair.method, {}), "batch_size": BATCH,
        "max_steps": steps, "epochs": steps, "eval_every": 0, "seed": seed, "precision": precision,
        "channels_last": False, "compile": False,
    }  # fmt: skip
    return resolve(options), resolve(options | {"without": list(pair.without)})


def _new_folder(out: str | None) -> Path:
    """A folder for the page, `out` or the first of runs/lesson-1, -2, ...; a UserError where it holds one, or a run."""
    if out == "":  # of a shell variable that is not set
        raise UserError("--out: a name is wanted, and this is empty.")
    if out is not None:
        path = Path(out)
        RunFolder.check_free(path)
        if (path / "lesson.html").exists():
            raise UserError(f"{shown(path)} already holds a lesson. Choose another --out.")
    return RunFolder.new(out, "lesson").path


def _source(config: TrainConfig, sources: dict[str, Source[Any]]) -> Source[Any]:
    """The samples of a lesson, few of those to train on; read once for all runs on them."""
    data = config.data_in_words
    if data not in sources:
        with status(f"Drawing the {modalities.of(config.method).samples} of {data}"):
            whole = modalities.of(config.method).load(config)
        train, held_out = whole.train, whole.held_out
        sources[data] = Source(
            train.subset(torch.arange(min(TRAINED, len(train)))),
            held_out.subset(torch.arange(min(HELD_OUT, len(held_out)))),
        )
    return sources[data]


def _train(config: TrainConfig, sources: dict[str, Source[Any]], pace: "_Pace") -> Recorded:
    """One run, recorded; KeyboardInterrupt where it was stopped."""
    modality, source = modalities.of(config.method), _source(config, sources)
    device = best_device()
    method = at_the_start(config, modality, source).to(device)
    recorder = Recorder(method, source.held_out, config, frame_steps(config.max_steps or 0, FRAMES))
    pace.begin()

    with TemporaryDirectory() as made:  # nobody goes on with a run of a lesson
        folder = RunFolder(Path(made))
        try:
            trained = fit(method, source.train, config, folder, device, callbacks=[recorder, pace])
        except UserError:
            if not folder.diverged.exists():
                raise
            say("It diverged, which is where its film ends.")
            return recorder.recorded(diverged=True)
    if not trained.finished:
        raise KeyboardInterrupt
    return recorder.recorded()


def _chapter(two: tuple[TrainConfig, TrainConfig], source: Source[Any], runs: list[Recorded]) -> Chapter:
    whole = two[0]
    cls = systems.get(whole.method)
    settings = ", ".join(f"{name} {value}" for name, value in whole.hyper.items())
    here = " and ".join(filter(None, (whole.backbone, whole.audio_backbone)))
    family = systems.family(cls.family)
    label = next(iter(source.held_out.attributes.values()))
    return Chapter(
        cls.family, family.idea if family else "", family.trivial if family else "", whole.method, cls.title,
        f"{cls.paper}. Here: {here}, {settings}.",
        cls.equation, cls.picture.strip("\n"), cls.guards, label.classes, label.values, runs,
        [] if cls.of_pictures() else _sights(source.held_out),
    )  # fmt: skip


def _sights(clips: Any) -> list[Sight]:
    return [Sight(moving(clips.frames[i], clips.video.fps), playable(clips.sounds[i], clips.sound.rate))
            for i in range(min(HEARD, len(clips)))]  # fmt: skip


def _guards(config: TrainConfig) -> str:
    return f"without {' and '.join(config.without)}" if config.without else "with all of its guards"


def _about(done: list[Chapter], config: TrainConfig) -> str:
    """What was trained, in a sentence."""
    steps = " or ".join(f"{n:,}" for n in sorted({chapter.runs[0].steps[-1] for chapter in done}))
    data = " and ".join(sorted({modalities.of(c.method).samples for c in done}))
    return (
        f"Trained for this page, each pair from one seed ({config.seed}): {steps} steps of {config.batch_size} {data}. "
        "The maps show held-out ones, which were never trained on; classes are known to the eye alone."
    )


def _tell(told: str) -> str:
    say(told)
    return told


class _Pace:
    """How long all runs will take, told once some steps are done; reading the data is not counted."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began = total, 0, time.perf_counter()
        self.trained, self.mark = 0.0, self.began

    @property
    def seconds(self) -> float:
        """Since the lesson began."""
        return time.perf_counter() - self.began

    def begin(self) -> None:
        """A run begins, once its data is there."""
        self.mark = time.perf_counter()

    def on_step(self, step: int, numbers: Numbers, method: Method) -> None:
        now = time.perf_counter()
        self.trained, self.mark, self.done = self.trained + now - self.mark, now, self.done + 1
        if self.done == min(10, self.total):
            say(f"About {duration(self.trained * self.total / self.done)} for all of it.")

    def left(self) -> str:
        """For the beginning of a run."""
        return f"; about {duration(self.trained * (self.total - self.done) / self.done)} left" if self.done else ""
