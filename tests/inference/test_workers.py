"""Work of several threads: order, bounded memory, errors, and an end at any time."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from hepgan.inference.workers import in_order


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_from_several_threads(workers: int) -> None:
    threads, together = set(), threading.Barrier(workers, timeout=20)

    def work(k: int) -> int:
        threads.add(threading.current_thread().name)
        together.wait()  # only if all threads work at once
        return k * k

    assert list(in_order(work, range(12), workers=workers)) == [k * k for k in range(12)]
    assert len(threads) == workers
    assert threading.current_thread().name not in threads


def test_items_are_taken_only_a_few_ahead() -> None:
    taken = []
    with closing(in_order(lambda k: k, (taken.append(k) or k for k in range(1000)), workers=2)) as results:
        for k in range(5):
            assert next(results) == k
        assert len(taken) < 12
    assert len(taken) < 12, "an early end takes no more"


def test_an_error_arrives_when_its_result_is_due_and_ends_the_work() -> None:
    done = []

    def work(k: int) -> int:
        if k == 3:
            raise ValueError("number 3")
        done.append(k)
        return k

    results = in_order(work, range(1000), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="number 3"):
        next(results)
    assert max(done) < 20


def test_no_items_and_errors_of_the_items() -> None:
    assert list(in_order(abs, [], workers=2)) == []
    with pytest.raises(ZeroDivisionError):
        list(in_order(abs, (1 // k for k in (1, 0)), workers=2))


def test_no_workers_are_the_calling_thread() -> None:
    assert set(in_order(lambda _: threading.current_thread(), range(3), workers=0)) == {
        threading.current_thread()
    }
