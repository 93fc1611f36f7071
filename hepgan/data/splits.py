"""Splits: events to train on, events to select the checkpoint, and events held out for the evaluation.

No event is in two of them under another name: a file that is given twice is read once, a file of ``data.test_files``
is not trained on, and events that occur twice are treated as ``data.repeated`` says.
"""

from __future__ import annotations

import glob
import logging
from collections.abc import Sequence
from functools import cache

import numpy as np

from hepgan.config import DataConfig
from hepgan.data.events import Events
from hepgan.data.parts import split, withheld
from hepgan.data.reading import iterate, read
from hepgan.data.repeats import Digests, copies, shared
from hepgan.errors import ConfigError, DataError, NotFoundError
from hepgan.files import expand, repeats

__all__ = [
    "LEAVE_TO_TEST",
    "check_unseen",
    "known_test_files",
    "say_copies",
    "say_left_out",
    "say_seen",
    "test_events",
    "training_events",
    "training_files",
    "warn_once",
]

_LOG = logging.getLogger(__name__)
warn_once = cache(_LOG.warning)
"""Warn, but not twice of the same."""

_TOLERATED = (
    1e-3  # share of repeated events that is said, and not refused: a track in two candidates, for example
)
LEAVE_TO_TEST = 'remove them from one of these, or set data.repeated = "once" to leave them to the test'
"""What to do about training events that ``data.test_files`` have too."""
_FILES_COMPARED = 20  # files at most, among which the two are looked for that share most events
_KEEP = 'set data.repeated = "keep" if they are different events with equal values'


def known_test_files(data: DataConfig) -> list[str]:
    """Test files that exist; a training may run where they are not at hand, which is said."""
    known: list[str] = []
    for name in data.test_files:
        try:
            known += expand([name])
        except NotFoundError as error:
            warn_once(f"data.test_files: {error}; whether data.files has its events is not known")
    return expand(known)


def training_files(data: DataConfig) -> list[str]:
    """Files to train on: those of ``data.files``, each once, without those of ``data.test_files``.

    Raises:
        NotFoundError: If a file of ``data.files`` is missing.
        ConfigError: If a test file is named in ``data.files`` itself, not by a glob, or if no file is left.
    """
    files = expand(data.files)
    if not data.test_files:
        return files
    test = known_test_files(data)
    held_out = repeats(files, of=test)
    named = expand([name for name in data.files if not glob.has_magic(name)])
    for file, first in held_out.items():
        if file in named:
            other = "" if file == first else f" (there as {first}, the same file or a copy of it)"
            raise ConfigError(
                f"data.test_files: expected files that data.files does not name, got {file}{other}; remove it from "
                "one of them"
            )
    left = [file for file in files if file not in held_out]
    if not left:
        raise ConfigError(
            f"data.files: expected files besides those of data.test_files, got none: all {len(files)} are test files; "
            "name others, or remove test_files to hold out the fraction data.test"
        )
    if held_out:
        warn_once(
            f"data.files: {len(held_out)} of {len(files)} files held out, because data.test_files has them: "
            f"{', '.join(held_out)}"
        )
    return left


def _training_part(data: DataConfig, *, progress: bool = False) -> Events:
    """All events of the training files; those that occur twice treated as ``data.repeated`` says.

    Raises:
        DataError: If events occur more than once, and ``data.repeated`` refuses that.
    """
    files = training_files(data)
    events = read(data, files=files, progress=progress)
    if data.repeated == "keep":
        return events
    digests = Digests.of(events)
    if data.repeated == "once":
        keep = digests.first()
        if test := known_test_files(data):
            keep = keep[~np.isin(digests.rows[keep], _digests(data, test).rows)]
        if len(keep) < len(events):
            say_left_out(len(events) - len(keep), of=len(events), tested=bool(test))
            events = events[keep]
        return events
    say_copies(data, files, number=copies(digests), of=len(events))
    return events


def say_copies(data: DataConfig, files: Sequence[str], *, number: int, of: int) -> None:
    """Refuse events that repeat another one, or say that there are a few.

    Args:
        data: How the files are read.
        files: The training files.
        number: How many events repeat another one.
        of: Number of all events.

    Raises:
        DataError: If they are too many.
    """
    if not number:
        return
    where = _most_alike(data, files) if number > _TOLERATED * of and 1 < len(files) <= _FILES_COMPARED else ""
    _say(
        f"data.files: expected each event once, got {number} of {of} events that repeat another one "
        f"exactly{where}: training and test would share them",
        'remove such files, or set data.repeated = "once" to take each event once',
        share=number / of,
    )


def say_left_out(number: int, *, of: int, tested: bool) -> None:
    """Say how many events of the training files are not used, with ``data.repeated = "once"``."""
    also = ", or in data.test_files" if tested else ""
    warn_once(
        f"data.repeated: {number} of {of} events of data.files left out, which occur a second time{also}"
    )


def say_withheld(data: DataConfig, number: int, *, of: int) -> None:
    """Say how many events the training does not see because of ``data.withheld``."""
    ranges = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in data.withheld.items())
    _LOG.info("data.withheld: %d of %d events (%s) are kept from the training", number, of, ranges)


def _digests(data: DataConfig, files: Sequence[str]) -> Digests:
    """Digests of the events of files; the events are not kept in memory."""
    return Digests.joined([Digests.of(events) for events in iterate(data, files=files)])


def _most_alike(data: DataConfig, files: Sequence[str]) -> str:
    """The two files that share most events, in words for a message."""
    rows = [np.unique(_digests(data, [file]).rows) for file in files]
    pairs = [
        (len(np.intersect1d(rows[a], rows[b], assume_unique=True)), files[a], files[b])
        for b in range(len(files))
        for a in range(b)
    ]
    number, first, second = max(pairs)
    return f" ({number} of them in both {first} and {second})" if number else ""


def _say(what: str, remedy: str, *, share: float) -> None:
    """Refuse what is too much of it, else warn.

    Raises:
        DataError: If the share of the events is larger than `_TOLERATED`.
    """
    if share > _TOLERATED:
        raise DataError(f"{what}; {remedy}, or {_KEEP}")
    warn_once(what)


def check_unseen(events: Digests, training: Digests, *, name: str, remedy: str, share: float = 1.0) -> None:
    """Check that events are not those of the training.

    Args:
        events: Digests of the events.
        training: Digests of those of the training, or of a share of them (`Digests.thinned`).
        name: Where the events are from.
        remedy: What to do if they are.
        share: That share.

    Raises:
        DataError: If more of them occur in the training than chance explains.
    """
    number = shared(events.thinned(share), training, share=share)
    say_seen(number, of=len(events), name=name, remedy=remedy)


def say_seen(number: int, *, of: int, name: str, remedy: str) -> None:
    """Refuse events that the training has seen, or say that there are a few.

    Args:
        number: How many are equal to one of the training.
        of: Number of all events.
        name: Where they are from.
        remedy: What to do.

    Raises:
        DataError: If they are too many.
    """
    if number:
        _say(
            f"{name}: expected events that the training has not seen, got {number} of {of} that are equal to "
            "one of the training",
            remedy,
            share=number / of,
        )


def training_events(
    data: DataConfig, *, seed: int, tested: Digests | None = None, progress: bool = False
) -> tuple[Events, Events]:
    """Read the files; the training and the validation part.

    Args:
        data: What to read.
        seed: Seed of the split.
        tested: Digests of the events of the test files; default: these are read.
        progress: Show a progress bar.

    Raises:
        NotFoundError: If a file is missing.
        ConfigError: If files and test files name the same file.
        DataError: If the input is not what the configuration says, has too few events to split, or events that occur in
            two parts.
    """
    events = _training_part(data, progress=progress)
    if data.repeated is None and (test := known_test_files(data)):
        tested = _digests(data, test) if tested is None else tested
        check_unseen(tested, Digests.of(events), name="data.test_files", remedy=LEAVE_TO_TEST)
    hidden = withheld(data, events.conditions)
    training, validation, _ = split(data, len(events), seed=seed, withheld=hidden)
    if data.withheld:
        say_withheld(data, len(hidden), of=len(events))
    return events[training], events[validation]


def test_events(data: DataConfig, *, seed: int) -> Events:
    """Read the events never used in training: the test files if there are any, else the test part.

    Raises:
        NotFoundError: If a file is missing.
        ConfigError: If the configuration has neither test files nor a test part, or files and test files name the same
            file.
        DataError: If the input is not what the configuration says, has too few events to split, or events that occur in
            two parts.
    """
    if data.test_files:
        return read(data, files=data.test_files)
    if data.test == 0:
        raise ConfigError("data.test is 0 and data.test_files is empty; name a file with --data")
    events = _training_part(data)
    return events[
        split(data, len(events), seed=seed)[2]
    ]  # with the events that are withheld from the training


test_events.__test__ = False  # type: ignore[attr-defined]  # a reader, not a pytest test
