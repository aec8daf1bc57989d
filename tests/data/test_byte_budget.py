"""What is being decoded at once is bounded in bytes."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from semblance.data import byte_budget
from semblance.data.byte_budget import ByteBudget


def most_at_once(budget: ByteBudget, counts: list[int]) -> tuple[int, list[list[int]]]:
    """The most bytes that threads held together, and what was held at each moment."""
    lock, held, moments = threading.Lock(), [], []

    def work(count: int) -> None:
        with budget.taken(count):
            with lock:
                held.append(count)
                moments.append(list(held))
            time.sleep(0.005)
            with lock:
                held.remove(count)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, counts))
    return max(map(sum, moments)), moments


def test_threads_hold_no_more_than_the_budget() -> None:
    most, moments = most_at_once(ByteBudget(100), [30, 40, 20, 60, 10, 50, 30, 80, 5, 5] * 4)
    assert 60 < most <= 100 and len(moments) == 40  # several at once, and all of them


def test_what_is_larger_than_the_budget_goes_alone() -> None:
    _, moments = most_at_once(ByteBudget(100), [10, 300, 20, 400, 10, 10] * 3)
    assert all(len(held) == 1 for held in moments if max(held) > 100) and len(moments) == 18


def test_an_error_gives_the_bytes_back() -> None:
    budget = ByteBudget(10)
    with pytest.raises(OSError), budget.taken(10):
        raise OSError
    with budget.taken(10):
        pass


def _hold(budget: ByteBudget, held: object, most: object) -> None:
    byte_budget.share(budget)
    for _ in range(10):
        with byte_budget.decoding().taken(60):
            with held.get_lock():  # type: ignore[attr-defined]
                held.value += 60  # type: ignore[attr-defined]
                most.value = max(most.value, held.value)  # type: ignore[attr-defined]
            time.sleep(0.002)
            with held.get_lock():  # type: ignore[attr-defined]
                held.value -= 60  # type: ignore[attr-defined]


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_processes_share_a_budget(start: str) -> None:
    context = multiprocessing.get_context(start)
    budget, held, most = ByteBudget(100, context), context.Value("q", 0), context.Value("q", 0)
    workers = [context.Process(target=_hold, args=(budget.part(), held, most)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 3 and most.value == 60


def _die(budget: ByteBudget) -> None:
    with budget.taken(100):
        os._exit(0)


def test_bytes_of_a_killed_process_can_be_forgotten() -> None:
    context = multiprocessing.get_context("fork")
    budget = ByteBudget(100, context)
    part = budget.part()
    worker = context.Process(target=_die, args=(part,))
    worker.start()
    worker.join()
    assert not budget._fits(1)
    part.forget()
    assert budget._fits(100)


def _die_counting(budget: ByteBudget) -> None:
    with budget._alone():
        os._exit(0)


def test_a_process_that_is_killed_while_it_counts_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_budget, "_HELD", 0.1)
    context = multiprocessing.get_context("fork")
    budget = ByteBudget(100, context)
    worker = context.Process(target=_die_counting, args=(budget.part(),))
    worker.start()
    worker.join()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: budget._fits(10), range(4))) == [True] * 4
    budget.forget()
    with budget.taken(100):
        pass
