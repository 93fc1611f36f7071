"""What the benchmarks share: actions timed in turns, and the lines that ``benchmarks/run.py`` collects.

Other work on the machine meets all actions that take turns alike, so their ratios are steadier than their times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from hepgan.progress import shown, stage

__all__ = ["Time", "median", "median_ratio", "print_ratio", "timed", "turns"]


class Time(NamedTuple):
    """Seconds of one call, by the clock and of the processor."""

    wall: float
    cpu: float


def timed(action: Callable[[], object]) -> Time:
    """Time one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return Time(time.perf_counter() - wall, time.process_time() - cpu)


def turns(
    description: str, actions: Mapping[str, Callable[[], object]], *, rounds: int, show: bool = True
) -> dict[str, list[Time]]:
    """Times of actions that take turns; a first round, which warms up, does not count."""
    times: dict[str, list[Time]] = {name: [] for name in actions}
    with shown(show), stage(description, total=rounds + 1) as update:
        for k in range(rounds + 1):
            for name, action in actions.items():
                times[name].append(timed(action))
            update(k + 1)
    return {name: column[1:] for name, column in times.items()}


def median(times: Iterable[Time]) -> Time:
    """Median time."""
    walls, cpus = zip(*times, strict=True)
    return Time(statistics.median(walls), statistics.median(cpus))


def median_ratio(times: Iterable[Time], others: Iterable[Time]) -> Time:
    """Medians of the ratios of each turn: how many times as long as the others."""
    return median(Time(a.wall / b.wall, a.cpu / b.cpu) for a, b in zip(times, others, strict=True))


def print_ratio(name: str, value: float) -> None:
    """Print a line for programs."""
    print(f"ratio {name} {value:.2f}", flush=True)
