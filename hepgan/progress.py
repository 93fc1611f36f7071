"""Progress of everything that takes more than a moment, on the standard error.

`shown` decides whether progress is shown at all; a `stage` inside it says how far it has come. On a terminal, stages
are bars that vanish at their end. In a log or a pipe, they are plain lines: after a few seconds, then twice a minute.
In both, a stage that took longer than a few seconds leaves one line with its time. Code that runs without `shown`, such
as that of a program that imports the library, is silent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["CONSOLE", "Update", "duration", "event_bar", "shown", "stage"]

CONSOLE = Console(stderr=True)
"""The standard error; messages that go through it do not tear the bars."""

_FIRST = 3.0  # seconds until a stage in a log says something; a shorter one leaves no line
_EVERY = 30.0  # seconds between its next lines


class Update(Protocol):
    """Says how far a stage has come."""

    def __call__(self, done: float, *, note: str = "") -> None:
        """Set the amount that is done, and words to show beside it."""


@dataclass
class _Stage:
    """A stage that runs: how much of it is done, and since when."""

    description: str
    total: float | None
    done: float = 0.0
    note: str = ""
    before: float = 0.0
    started: float = field(default_factory=time.monotonic)
    said: float = 0.0
    task: TaskID | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    @property
    def amount(self) -> str:
        """How much is done, in words; empty if nobody says."""
        if not self.done:
            return ""
        return f"{self.done:.0f}" + (f" of {self.total:.0f}" if self.total is not None else "")

    @property
    def left(self) -> str:
        """The time left, in words; empty if it is not known."""
        if self.total is None or self.done <= self.before:
            return ""
        rate = (self.done - self.before) / max(self.elapsed, 1e-9)
        return f"about {duration((self.total - self.done) / rate)} left"

    def line(self, *parts: str) -> str:
        """A line of a log."""
        return f"{self.description}: " + ", ".join(part for part in (*parts, self.note) if part)


def duration(seconds: float) -> str:
    """A time in words: 8 s, 4 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class _Display:
    """All stages that run: bars on a terminal, lines of a log elsewhere."""

    def __init__(self) -> None:
        self.stages: list[_Stage] = []
        self.bars: Progress | None = None
        self.ended = threading.Event()

    def open(self, new: _Stage) -> None:
        """Show a stage."""
        if not self.stages and CONSOLE.is_terminal:
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
            times = [TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}")]
            self.bars = Progress(*columns, *times, console=CONSOLE, transient=True)
            self.bars.start()
        elif not self.stages:
            self.ended = threading.Event()
            threading.Thread(target=self._beat, args=(self.ended,), daemon=True).start()
        if self.bars is not None:
            new.task = self.bars.add_task(
                new.description, total=new.total, completed=int(new.done), note=new.note
            )
        self.stages.append(new)

    def update(self, changed: _Stage) -> None:
        """Show how far a stage has come."""
        if self.bars is not None and changed.task is not None:
            self.bars.update(changed.task, completed=changed.done, note=changed.note)

    def close(self, last: _Stage, *, completed: bool) -> None:
        """Remove a stage; a long one leaves a line."""
        self.stages.remove(last)
        if self.bars is not None and last.task is not None:
            self.bars.remove_task(last.task)
        if last.elapsed >= _FIRST and completed:
            self._print(f"{last.description}: done in {duration(last.elapsed)}")
        if not self.stages:
            self.ended.set()
            if self.bars is not None:
                self.bars.stop()
                self.bars = None

    def _beat(self, ended: threading.Event) -> None:
        """Print a line of the innermost stage from time to time, until all stages are over."""
        while not ended.wait(0.2):
            for current in self.stages[-1:]:
                if current.elapsed - current.said >= (_EVERY if current.said else _FIRST):
                    current.said = current.elapsed
                    self._print(
                        current.line(current.amount, f"{duration(current.elapsed)} so far", current.left)
                    )

    @staticmethod
    def _print(line: str) -> None:
        CONSOLE.print(line, markup=False, highlight=False, soft_wrap=True)


_DISPLAY: ContextVar[_Display | None] = ContextVar("display", default=None)


@contextmanager
def shown(show: bool) -> Iterator[None]:
    """Show the progress of all stages inside, or of none."""
    display = (_DISPLAY.get() or _Display()) if show else None
    token = _DISPLAY.set(display)
    try:
        yield
    finally:
        _DISPLAY.reset(token)


@contextmanager
def stage(description: str, *, total: float | None = None, done: float = 0) -> Iterator[Update]:
    """Show how far a stage has come, if progress is shown.

    Args:
        description: What is done, in a word or two.
        total: Amount at the end; None: not known.
        done: Amount at the beginning.

    Yields:
        A function to call with the amount that is done.
    """
    display = _DISPLAY.get()
    if display is None:
        yield lambda done, *, note="": None
        return
    current = _Stage(description, total, done=done, before=done)

    def update(done: float, *, note: str = "") -> None:
        current.done, current.note = done, note
        display.update(current)

    display.open(current)
    completed = False
    try:
        yield update
        completed = True
    finally:
        display.close(current, completed=completed)


@contextmanager
def event_bar(description: str, *, total: int | None, show: bool) -> Iterator[Callable[[int], None]]:
    """Show a stage of events, `shown` or not.

    Args:
        description: What is done with the events, in a word.
        total: Number of events; None: not known.
        show: False: show nothing.

    Yields:
        A function to call with the number of events that are done.
    """
    with shown(show), stage(description, total=total) as update:
        yield update
