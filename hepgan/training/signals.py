"""Ctrl-C and termination requests, collected so that a training stops between two steps."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["stop_signals"]

logger = logging.getLogger(__name__)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them in the middle of a step.

    A second one stops at once (KeyboardInterrupt). Outside the main thread, which alone receives signals, nothing is
    collected.

    Yields:
        Numbers of the signals received so far; empty until the first one arrives.
    """
    received: list[int] = []

    def receive(number: int, _: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        logger.info("stopping after this step; a second signal stops at once, at the last checkpoint")

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[number] = signal.signal(number, receive)
        except ValueError:  # not in the main thread
            break
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
