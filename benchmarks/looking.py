"""What the label-free numbers cost beside the training that they judge.

    python benchmarks/looking.py RUN

Of a finished run: seconds of a look in mid-run, of one at its ends (with LiDAR and intervals), and of all of them as a
share of the run's training; each the median of three.
"""

import sys
import time
from collections.abc import Callable
from statistics import median

from semblance.commands import begin
from semblance.commands.measure import views_of
from semblance.commands.opened import Opened
from semblance.engine.loop import run_length
from semblance.evaluation.label_free.numbers import numbers, points
from semblance.modalities.looked_at import looked_at


def seconds(work: Callable[[], object]) -> float:
    def once() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return median(once() for _ in range(3))


def main() -> None:
    opened = Opened.of(sys.argv[1])
    config, modality = opened.config, opened.modality
    source = begin.load(modality, config)
    method, samples = opened.method(source.train), looked_at(source, config)
    per_epoch, total = run_length(config, len(source.train))
    looks = (total - 1) // (config.eval_every * per_epoch) if config.eval_every else 0

    def in_mid_run() -> None:
        for pairs in modality.views_of(method, samples, config, 2).values():
            points(pairs)

    def at_an_end() -> None:
        for pairs, many in views_of(method, source, config, modality).values():
            numbers(pairs, many)

    def of_raw_input() -> None:
        for pairs, many in views_of(None, source, config, modality).values():
            numbers(pairs, many)

    mid, end, raw = map(seconds, (in_mid_run, at_an_end, of_raw_input))
    training = opened.folder.read_summary()["training_seconds"] if opened.folder else float("nan")
    whole = looks * mid + 2 * end + raw
    told = f"{looks} looks within of {mid:.2f} s, two at the ends of {end:.2f} s, raw input {raw:.2f} s: {whole:.1f} s"
    print(f"{len(samples):,} {modality.samples}; {told} beside {training:.1f} s of training, {whole / training:.1%}")


if __name__ == "__main__":
    main()
