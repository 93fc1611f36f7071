"""Calls of a function, one for each task: in this process, in several, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from typing import Any, TypeVar

from hepgan.errors import ConfigError, DataError

__all__ = ["results"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 2  # tasks for each worker that are handed out at once
_PATIENCE = 20  # seconds to wait for a scheduler of Dask


def results(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int = 1, scheduler: str = ""
) -> Iterator[tuple[int, Result]]:
    """Call a function for each task.

    Args:
        function: A function of a module, so that other processes can import it.
        tasks: Its arguments.
        workers: Number of processes; 1: this one.
        scheduler: Address of a Dask scheduler, such as ``tcp://host:8786``, instead of processes.

    Yields:
        The number of a task and its result, in the order in which they end. Closing the iterator drops the tasks that
        have not begun.

    Raises:
        ConfigError: If the package for Dask is missing, or there is no such scheduler.
        DataError: If a process died.
        Exception: Whatever the function raises.
    """
    if scheduler:
        yield from _on_cluster(function, tasks, scheduler)
    elif workers > 1 and len(tasks) > 1:
        yield from _in_processes(function, tasks, min(workers, len(tasks)))
    else:
        for number, task in enumerate(tasks):
            yield number, function(task)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone: a killed parent cannot say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[int, Result]]:
    context = multiprocessing.get_context("spawn")  # threads of this process do not survive a fork
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    running: dict[Future[Result], int] = {}
    left = iter(enumerate(tasks))
    try:
        while True:
            while len(running) < _AHEAD * workers and (following := next(left, None)) is not None:
                running[pool.submit(function, following[1])] = following[0]
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a reading process was killed, perhaps for lack of memory; take fewer workers (--workers) or a smaller "
            "data.chunk: what is done is kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _on_cluster(
    function: Callable[[Task], Result], tasks: Sequence[Task], scheduler: str
) -> Iterator[tuple[int, Result]]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise ConfigError(
            f"--scheduler {scheduler}: expected the package distributed (Dask), got none; install it with "
            "pip install 'hepgan[dask]', or leave --scheduler out"
        ) from error
    try:
        client: Any = distributed.Client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--scheduler {scheduler}: expected the address of a Dask scheduler, such as tcp://host:8786, got no "
            f"answer ({error}); start it with dask scheduler, or correct the address"
        ) from error
    with client:
        futures = {client.submit(function, task, pure=False): number for number, task in enumerate(tasks)}
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                yield futures[future], future.result()
        finally:
            client.cancel(list(futures))
