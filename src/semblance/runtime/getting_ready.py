"""The first line of a command, before torch is imported, which takes seconds."""

import sys
import time

from semblance.runtime.place import started_with_others
from semblance.runtime.terminal import console


def getting_ready() -> float:
    """Say so, where it takes a while; of the processes of a run the first does. Returns time.perf_counter()."""
    now = time.perf_counter()
    if "torch" not in sys.modules:
        place = started_with_others()
        if place is None or place.rank == 0:
            console(stderr=True).print("Getting ready ...")
    return now
