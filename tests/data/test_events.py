"""Joining of parts: whatever share of all was expected, the rows are those of the parts."""

from __future__ import annotations

import numpy as np
import pytest

from hepgan.data import events
from hepgan.data.events import Events


def part(start: int, n: int) -> Events:
    rows = np.arange(start, start + n, dtype=np.float32)
    return Events(
        np.stack([rows, -rows], 1), (np.repeat(rows[:, None], 5, 1), np.empty((n, 0), np.float32)), rows
    )


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.9])
@pytest.mark.parametrize("sizes", [(7,), (7, 3, 20), (1, 1, 1, 1, 500), (30, 1)])
def test_parts_are_joined_whatever_was_expected(share: float, sizes: tuple[int, ...]) -> None:
    starts = np.cumsum([0, *sizes[:-1]])
    parts = (part(int(start), n) for start, n in zip(starts, sizes, strict=True))
    joined = Events.joined(parts, share=lambda: share)
    expected = part(0, sum(sizes))
    np.testing.assert_array_equal(joined.conditions, expected.conditions)
    np.testing.assert_array_equal(joined.outputs[0], expected.outputs[0])
    assert joined.outputs[1].shape == (sum(sizes), 0)
    np.testing.assert_array_equal(joined.weights, expected.weights)
    for array in (joined.conditions, *joined.outputs, joined.weights):
        assert array.flags.c_contiguous
        assert array.dtype == np.float32


def test_memory_for_the_rest_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    original = events._resize
    monkeypatch.setattr(events, "_resize", lambda arrays, n: (sizes.append(n), original(arrays, n)))
    done = iter([0.25, 0.5, 0.75, 1.0])
    parts = [part(10 * k, 10) for k in range(4)]
    assert len(Events.joined(parts, share=lambda: next(done))) == 40
    assert sizes == [40], "only at the end, to give back what was too much"


def test_arrays_of_others_are_not_taken_over() -> None:
    whole = np.zeros((20, 2), np.float32)
    only = Events(whole[:10], (whole[:10],), whole[:10, 0])
    joined = Events.joined([only])
    joined.conditions[:] = 7
    assert not whole.any()
