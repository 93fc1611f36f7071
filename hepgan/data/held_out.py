"""Events for an evaluation, which the training of the model has not seen, and those of the training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hepgan.config import DataConfig
from hepgan.data.events import Events
from hepgan.data.parts import TEST, TRAINING, VALIDATION
from hepgan.data.preparing import share_compared
from hepgan.data.reading import read
from hepgan.data.repeats import Digests, shared
from hepgan.data.source import cache_of
from hepgan.data.splits import check_unseen, test_events, training_events, training_files, warn_once
from hepgan.data.stored import StoredEvents
from hepgan.errors import DataError, NotFoundError
from hepgan.files import digest, expand
from hepgan.progress import stage

__all__ = ["evaluation_events", "warn_of_shared"]

_LOG = logging.getLogger(__name__)

_REMEDY = "name other files, or leave out --data to take the events that the run has set aside"
_MOST, _MOST_BYTES = 1_000_000, 1 << 29  # events from a cache that are compared, and their size (bytes)


def evaluation_events(
    data: DataConfig,
    *,
    asked: DataConfig,
    files: Sequence[str] | None,
    seed: int,
    model: Path,
    data_sha256: object,
    with_training: bool,
    progress: bool,
) -> tuple[Events, Events | None]:
    """Read the events for the evaluation of a model, which its training has not seen, and those of the training.

    Args:
        data: How the training read and split its events.
        asked: How to read `files`. With ``repeated = "keep"`` nothing is compared with the training.
        files: Files of reference events; default: those that the training set aside.
        seed: Seed of the training.
        model: Run folder, or exported file.
        data_sha256: Digest of the training files, from the model.
        with_training: Whether the events of the training are asked for.
        progress: Show a progress bar.

    Returns:
        Reference events; training events, None for an exported file, or if they are not asked for.

    Raises:
        NotFoundError: If a file is missing.
        ConfigError: As `test_events`.
        DataError: If the events cannot be used, or if the training has seen them.
    """
    original = data
    if (data.repeated, asked.repeated) == (None, "keep"):  # which split alike
        data = data.model_copy(update={"repeated": "keep"})
    stored, compared = None, files is not None and data.repeated != "keep"
    if files is not None:
        reference = read(asked, files=files, progress=progress)
    elif model.is_dir() or data.test_files:
        _check_held_out(data, data_sha256)
        if not data.test_files and data.test and (stored := _stored(original, seed=seed, progress=progress)):
            reference = _random(stored, TEST, seed=seed)
        else:
            reference = test_events(data, seed=seed)
    else:
        raise DataError(
            f"{model}: an exported model does not hold the split of its training data; "
            "name events with --data FILE.root, or evaluate the run folder"
        )
    if not model.is_dir() or not (with_training or files is not None or data.test_files):
        return reference, None
    digests = Digests.of(reference)
    tested = digests if files is None and data.test_files else None
    try:
        if stored := stored or _stored(original, seed=seed, progress=progress):
            training = _random(stored, TRAINING, seed=seed)
            if compared:
                _check_given(digests, stored)
            return reference, training if with_training else None
        training, validation = training_events(data, seed=seed, tested=tested, progress=progress)
    except NotFoundError as error:
        if with_training:
            raise
        warn_once(f"{error}: whether the training has seen the events is not known")
        return reference, None
    if compared:
        for part in (training, validation):
            check_unseen(digests, Digests.of(part), name="--data", remedy=_REMEDY)
    return reference, training if with_training else None


def _stored(data: DataConfig, *, seed: int, progress: bool) -> StoredEvents | None:
    """The events of a training that does not fit into the memory; None if they are to be read."""
    cache = cache_of(data, progress=progress)
    return None if cache is None else StoredEvents.of(cache, data, seed=seed)


def _random(stored: StoredEvents, part: int, *, seed: int) -> Events:
    """Random events of a part, as many as are of use for a comparison."""
    events = stored.random(part, most=_MOST, most_bytes=_MOST_BYTES, seed=seed)
    if len(events) < (total := int(stored.counts[:, part].sum())):
        name = {TRAINING: "training", TEST: "test"}[part]
        warn_once(f"the evaluation takes {len(events)} random events of {total} of the {name} part")
    return events


def _check_given(events: Digests, stored: StoredEvents) -> None:
    """Check that events given with ``--data`` are in neither the training nor the validation part.

    Raises:
        DataError: If more of them are than chance explains.
    """
    cache, found = stored.cache, []
    share = share_compared(len(cache))
    with stage("comparing", total=len(cache)) as update:
        for block in range(len(cache.blocks) - 1):
            rows = stored.rows(block, TRAINING, VALIDATION)
            found.append(Digests.of(cache.events(rows)).thinned(share))
            update(int(cache.blocks[block + 1]))
    check_unseen(events, Digests.joined(found), name="--data", remedy=_REMEDY, share=share)


def warn_of_shared(sample: Events, reference: Events) -> None:
    """Say that two samples share events, more than chance explains."""
    if number := shared(Digests.of(sample), Digests.of(reference)):
        _LOG.warning(
            "%d of %d events of the sample are equal to one of the reference: every number will be too good",
            number,
            len(sample),
        )


def _check_held_out(data: DataConfig, data_sha256: object) -> None:
    """Check that a model was not trained on its test files, as version 0.1 did if a glob of the files has them too.

    Raises:
        DataError: If it was.
    """
    files = expand(data.files) if data.test_files else []
    if files and training_files(data) != files and digest(files) == data_sha256:
        raise DataError(
            f"data.test_files {list(data.test_files)}: expected events that the training has not seen, got a model "
            "that was trained on all of data.files, these included; train it again, or name other events with --data"
        )
