"""The progress bar of programs that write events one chunk after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["event_bar"]


@contextmanager
def event_bar(description: str, *, total: int | None, show: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on the standard error: description, share, events that are done, time left.

    Args:
        description: What is done with the events, in a word.
        total: Number of events; None: not known.
        show: False: show nothing.

    Yields:
        A function to call with the number of events that are done.
    """
    columns = [TextColumn(description), *Progress.get_default_columns()[1:3], MofNCompleteColumn()]
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not show, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)
