"""What is told of a run while it trains: the hooks of `train(callbacks=[...])`, of its loggers and of lessons."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, Protocol

from torch import Tensor

from semblance.errors import UserError, unknown
from semblance.systems import Method

Numbers = dict[str, float | Tensor]  # scalars by name


class Callback(Protocol):
    """What a callback may define: an object with any of these three hooks, or a subclass with some of them.

    Hooks are called on every rank, each with the callbacks that its own process has made, so that a script finds the
    same in its callbacks on all of them. What writes files or sends messages asks `semblance.runtime.ranks.world()`,
    (rank, number of ranks), and does so on rank 0.

    The method is the run's own. Look at it, or at a deep copy: a hook that moves its weights changes the run.
    It is put back in training mode afterwards. What a hook returns is not used; the time that it takes is the run's.
    A hook that raises ends the run after the step, which is saved: its exception comes out of `train` with a note of
    how to go on. To stop a run without an error, raise KeyboardInterrupt on all ranks, as Ctrl-C does on one.
    """

    def on_step(self, step: int, numbers: Numbers, method: Method) -> None:
        """After each step.

        step: steps done, from 1 on; a resumed run goes on counting.
        numbers: "loss", what the method logs, "lr", "epoch", "seconds" of training and "samples_per_second", each a
            scalar. In the first step, every tenth and the last they are the floats of a line of metrics.jsonl; in the
            others the method's and the loss are tensors on the device, which float() waits for.
        method: after the step, its weights on the device.
        """

    def on_evaluate(self, step: int, numbers: dict[str, float], method: Method) -> None:
        """Before the first step, as step 0, and after each evaluation in the course of the run (`eval_every`); then
        before the `on_step` of that step.

        numbers: as metrics.jsonl has them: "knn_top1" in [0, 1] where there are labels, and label-free numbers.
        """

    def on_end(self, summary: dict[str, Any]) -> None:
        """Once, when the run is finished, measured and written; not where it was stopped or has diverged.

        summary: what summary.json holds, and `train` returns.
        """


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
_GIVEN: Mapping[str, tuple[str, ...]] = {
    hook: tuple(signature(getattr(Callback, hook)).parameters)[1:] for hook in HOOKS
}


def check_callbacks(callbacks: Any) -> None:
    """Raise UserError unless callbacks are a list of objects, each with a hook, none of which is misspelt."""
    if not isinstance(callbacks, list | tuple):
        raise UserError(f"callbacks: a list of objects is wanted, such as [MyCallback()], not {_kind(callbacks)}.")
    for callback in callbacks:
        kind = _kind(callback)
        if isinstance(callback, type):
            raise UserError(f"callbacks: {callback.__name__} is a class: give an object of it, {callback.__name__}().")
        own = [n for n in dir(callback) if n.startswith("on_") and callable(getattr(callback, n, None))]
        if wrong := [name for name in own if name not in HOOKS]:
            raise UserError(f"callbacks: {kind}: {unknown('hook', wrong[0], HOOKS)}")
        if not own:
            raise UserError(f"callbacks: {kind} has none of the hooks {', '.join(HOOKS)}: see semblance.Callback.")
        for hook in own:
            try:
                signature(getattr(callback, hook)).bind(*_GIVEN[hook])
            except TypeError:
                raise UserError(
                    f"callbacks: {hook} of {kind} is called with {len(_GIVEN[hook])} arguments: "
                    f"{hook}({', '.join(_GIVEN[hook])})."
                ) from None
            except ValueError:
                pass  # of something built in, which says nothing of its arguments


def call(callbacks: Sequence[Any], hook: str, *given: Any) -> None:
    """Call a hook of those that have it; an exception of one carries a note of whose it is."""
    for callback in callbacks:
        if (own := getattr(callback, hook, None)) is not None:
            try:
                own(*(dict(value) if isinstance(value, dict) else value for value in given))
            except Exception as error:
                error.add_note(f"Raised by {hook} of the callback {_kind(callback)}.")
                raise


def in_log(numbers: Numbers) -> bool:
    """Whether numbers of `on_step` are those of a line of metrics.jsonl."""
    return isinstance(numbers["loss"], float)


def _kind(value: Any) -> str:
    return getattr(value, "__name__", type(value).__name__)
