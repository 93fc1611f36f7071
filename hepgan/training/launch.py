"""Start of workers: processes of this machine, or those that torchrun has started on one or many machines.

``hepgan train --workers N`` starts N - 1 further processes and is the first worker itself. They end with it, however it
ends: after an error it kills them, and if it is killed itself, the kernel and the lost connection tell them. Where
``torchrun`` has started the command, each process finds the others by the environment variables that it sets.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import ProcessContext, start_processes

from hepgan.errors import ConfigError, WorkerFailed
from hepgan.training.workers import ALONE, Workers

__all__ = ["number_of_workers", "together"]

_HOST = "127.0.0.1"  # workers of one machine
_LONGEST_WAIT = timedelta(hours=2)  # for another worker that lives, such as for its fit of the start
_START = timedelta(minutes=10)  # in which the first worker starts
_ATTEMPT = timedelta(seconds=2)  # to connect to it
_ADDRESS = "hepgan/port"  # key of its port in the store of torchrun
_GRACE = 10.0  # seconds in which a worker ends by itself
_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def number_of_workers(asked: int) -> int:
    """Number of workers of a training: those that torchrun has started, else the number that is asked for.

    Raises:
        ConfigError: If both say different things.
        ValueError: If the number is not positive.
    """
    if asked < 1:
        raise ValueError(f"workers: expected 1 or more, got {asked}; name the number of processes")
    if dist.is_initialized():
        return dist.get_world_size()
    if any(name not in os.environ for name in _TORCHRUN):
        return asked
    size = int(os.environ["WORLD_SIZE"])
    if asked not in (1, size):
        raise ConfigError(
            f"workers: expected none, because torchrun has started {size}, got {asked}; leave out --workers"
        )
    return size


@contextmanager
def together(size: int, function: Callable[..., object], *arguments: object) -> Iterator[Workers]:
    """Join the workers of a training; start them unless torchrun has.

    Args:
        size: Number of workers, this process included.
        function: What the workers do that are started here, ``function(workers, *arguments)``; a function of a module.
        arguments: Its arguments, which travel to the other processes.

    Yields:
        The workers, as this process sees them.

    Raises:
        WorkerFailed: If another worker ends before its time.
    """
    threads = torch.get_num_threads()
    try:
        if size == 1:
            yield ALONE
        elif dist.is_initialized():  # by the caller
            yield _from_environment(dist.get_rank(), size)
        elif all(name in os.environ for name in _TORCHRUN):
            rank = int(os.environ["RANK"])
            with _group(_from_environment(rank, size), _meeting_point(rank)) as workers:
                yield workers
        else:
            with _started(size, function, *arguments) as workers:
                yield workers
    finally:
        torch.set_num_threads(threads)


def _from_environment(rank: int, size: int) -> Workers:
    """A worker that something else has started."""
    local_rank, local_size = (
        int(os.environ.get(name, default))
        for name, default in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    return Workers(rank, size, local_rank, local_size)


def _meeting_point(rank: int) -> TCPStore | None:
    """Store of the workers that torchrun has started: a new one of the first worker, at each start.

    torchrun's own store outlives a restart, and still has the addresses of the killed processes (pytorch issue 135712).
    Here, it only tells the address of the new store; one that is left from a killed first worker leads nowhere.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True):  # the first worker makes it anyway
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    common = TCPStore(host, port, is_master=False, timeout=_START)
    if rank == 0:
        own = TCPStore(host, 0, is_master=True, wait_for_workers=False)
        common.set(_ADDRESS, str(own.port))
        return own
    deadline = time.monotonic() + _START.total_seconds()
    while True:
        try:
            return TCPStore(host, int(common.get(_ADDRESS)), is_master=False, timeout=_ATTEMPT)
        except RuntimeError as error:
            if time.monotonic() > deadline:
                raise WorkerFailed(
                    f"the first worker is not found at {host} ({error}); is it running?"
                ) from error


@contextmanager
def _group(workers: Workers, store: TCPStore | None = None) -> Iterator[Workers]:
    """Connect a worker with the others: through gloo on CPUs, and NCCL for what is on GPUs."""
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    if not workers.is_first:
        logging.getLogger("hepgan").setLevel(logging.ERROR)  # the first one says it
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if nccl else "gloo",
        timeout=_LONGEST_WAIT,
        store=store,
        rank=workers.rank,
        world_size=workers.size,
    )
    try:
        yield workers
    finally:
        dist.destroy_process_group()


@contextmanager
def _started(size: int, function: Callable[..., object], *arguments: object) -> Iterator[Workers]:
    """Start the other workers on this machine; they end before the context does."""
    store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
    with _uninterrupted():
        context = start_processes(  # type: ignore[no-untyped-call]
            _enter, (os.getpid(), store.port, size, function, arguments), nprocs=size - 1, join=False
        )
    grace = 0.0
    try:
        while store.add("present", 0) < size - 1:
            if not all(process.is_alive() for process in context.processes):
                raise WorkerFailed("a worker did not start")
            time.sleep(0.02)
        with _group(Workers(0, size, 0, size), store) as workers:
            yield workers
        grace = _GRACE
    except WorkerFailed as error:
        raise WorkerFailed(
            f"{_cause(context, store)}; the last checkpoint stays, --resume goes on from it"
        ) from error
    finally:
        for process in context.processes:
            process.join(grace)
            process.kill()
            process.join()


def _enter(index: int, parent: int, port: int, size: int, function: Any, arguments: tuple[Any, ...]) -> None:
    """Be a worker that `_started` has started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.getppid() != parent:  # killed before this process could ask the kernel to be told
        return
    store = TCPStore(_HOST, port, is_master=False)
    store.add("present", 1)
    rank = index + 1
    try:
        with _group(Workers(rank, size, rank, size), store) as workers:
            function(workers, *arguments)
    except Exception as error:
        with suppress(RuntimeError):  # the first one is gone
            store.set(_failure(rank), f"{type(error).__name__}: {error}")
        sys.exit(1)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Start processes that ignore Ctrl-C until they are ready to end without a traceback."""
    before = None
    with suppress(ValueError):  # not in the main thread
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _cause(context: ProcessContext, store: TCPStore) -> str:
    """What became of the worker that failed first, not of one that only lost its connection to another."""
    causes = []
    for rank, process in enumerate(context.processes, 1):
        process.join(_GRACE)
        code, text = process.exitcode, "does not answer"
        if store.check([_failure(rank)]):
            text = f"failed: {store.get(_failure(rank)).decode()}"
        elif code:
            text = (
                f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
            )
        order = 2 if WorkerFailed.__name__ in text else 0 if code else 1
        causes.append((order, f"worker {rank} (the first is 0) {text}"))
    return min(causes)[1]


def _failure(rank: int) -> str:
    """Key of what a worker says when it fails."""
    return f"failure of {rank}"
