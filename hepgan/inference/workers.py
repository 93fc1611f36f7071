"""Work of several threads on one sequence: results in its order, and no more of them in memory than needed.

Threads are enough: ONNX Runtime, NumPy's loops and the compression run without the interpreter's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int = 2
) -> Generator[Result, None, None]:
    """Apply a function to items in several threads.

    Args:
        function: Called by several threads at once.
        items: Taken one after the other by the thread that takes the results, a few ahead.
        workers: Number of threads; 0: the calling one does the work.
        ahead: Results beyond those that threads work on, so that no thread waits for the one who takes them.

    Yields:
        The results in the order of the items.

    Raises:
        Exception: What `function` raised, when the result is due; what has not begun by then is left out.
    """
    if not workers:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="hepgan") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= workers + ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
