"""A stream gives each training event once an epoch, in an order that only the seed fixes, with bounded memory."""

import numpy as np
import pytest
import torch

from hepgan.config import parse
from hepgan.data.draws import RowGenerator
from hepgan.data.parts import TRAINING, VALIDATION
from hepgan.data.preparing import prepare
from hepgan.data.sampling import sampling
from hepgan.data.splits import training_events
from hepgan.data.stored import StoredEvents
from hepgan.data.streaming import StreamedEvents
from hepgan.data.tensors import TensorEvents
from hepgan.errors import DataError

pytestmark = pytest.mark.usefixtures("small_pieces")
RNG = torch.Generator()


@pytest.fixture
def streamed(tiny_data, tiny_file, tmp_path):
    """A stream of tiny showers with a window of a few blocks, and the same events in memory."""
    data = tiny_data([tiny_file()], test=0.0, weight="w")
    cache = prepare(data, tmp_path / "cache", progress=False)

    def build(*, seed=1, window=900, **options):
        return StreamedEvents(StoredEvents.of(cache, data, seed=1), data, seed=seed, window=window, **options)

    return build, training_events(data, seed=1)[0]


def rows(events: TensorEvents) -> np.ndarray:
    tensors = (events.condition, *events.outputs, events.weights[:, None])
    return torch.cat(tensors, 1).numpy()


def in_order(array: np.ndarray) -> np.ndarray:
    return array[np.lexsort(array.T)]


def test_an_epoch_has_each_training_event_once(streamed):
    build, training = streamed
    stream, expected = build(), in_order(rows(TensorEvents.of(training)))
    n = len(stream)
    assert n == len(training) == 45
    epochs = [
        np.concatenate([rows(stream.batch(9, rng=RNG, first=k * n + i)) for i in range(0, n, 9)])
        for k in range(3)
    ]
    for epoch in epochs:
        np.testing.assert_array_equal(in_order(epoch), expected)
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], expected)


def test_what_is_withheld_is_not_streamed(tiny_data, tiny_file, tmp_path):
    path = tiny_file()
    cache = prepare(tiny_data([path]), tmp_path / "cache", progress=False)
    data = tiny_data([path], withheld={"incident_energy": [10, 30]})
    stream = StreamedEvents(StoredEvents.of(cache, data, seed=1), data, seed=1, window=900)
    training, _ = training_events(data, seed=1)
    assert 0 < len(stream) == len(training) < 40
    epoch = rows(stream.batch(len(stream), rng=RNG))
    np.testing.assert_array_equal(in_order(epoch), in_order(rows(TensorEvents.of(training))))
    assert not ((epoch[:, 0] >= 10) & (epoch[:, 0] <= 30)).any()


def test_a_batch_depends_on_seed_and_place_alone(streamed):
    build, _ = streamed
    straight, again = build(), build()
    batches = [rows(straight.batch(16, rng=RNG, first=first)) for first in range(0, 400, 16)]
    for k in (24, 3, 11, 4, 0):  # as after a resume: from anywhere, across windows and epochs
        np.testing.assert_array_equal(rows(again.batch(16, rng=RNG, first=16 * k)), batches[k])
    whole = rows(again.batch(400, rng=RNG, first=0))
    np.testing.assert_array_equal(whole, np.concatenate(batches))
    assert not np.array_equal(rows(build(seed=2).batch(16, rng=RNG, first=0)), batches[0])


def test_workers_take_their_rows_of_a_batch_and_its_numbers_are_known(streamed):
    build, training = streamed
    stream, other = build(), build()
    whole = stream.batch(16, rng=RNG, first=40)  # across windows and epochs
    assert (
        rows(TensorEvents.of(training))[stream.drawn(16, rng=RNG, first=40)].tolist() == rows(whole).tolist()
    )
    for rank in range(3):
        own = other.batch(16, rng=RowGenerator.like(RNG, batch=16, first=rank, step=3), first=40)
        np.testing.assert_array_equal(rows(own), rows(whole)[rank::3])


def test_events_of_all_blocks_mix(streamed):
    build, training = streamed
    numbers = {row.tobytes(): k for k, row in enumerate(training.cells)}
    stream = build(window=1 << 20)  # one window
    batch = stream.batch(15, rng=RNG, first=0)
    drawn = sorted(numbers[row.tobytes()] for row in batch.outputs[0].numpy())
    assert drawn[0] < 15 < 30 < drawn[-1]


def test_two_windows_are_in_memory(streamed):
    build, _ = streamed
    stream = build()
    for first in range(0, 200, 5):
        stream.batch(5, rng=RNG, first=first)
        assert len(stream._windows) == 2
        for future in stream._windows.values():
            assert len(future.result().order) * 56 <= 900


def test_an_error_of_the_reading_thread_arrives(streamed):
    build, _ = streamed
    stream = build()
    for path in stream.cache.folder.glob("0*.npy"):
        path.unlink()
    with pytest.raises(DataError, match=r"npy: cannot be read .*; delete it and run hepgan prepare"):
        stream.batch(5, rng=RNG)


def test_whole_numbers_are_dithered(track_data, track_file, tmp_path):
    data = track_data([track_file()])
    cache = prepare(data, tmp_path / "cache", progress=False)
    stream = StreamedEvents(StoredEvents.of(cache, data, seed=1), data, seed=1)
    a, b = (stream.batch(40, rng=torch.Generator().manual_seed(k), first=0) for k in range(2))
    assert torch.equal(a.condition[:, :2], b.condition[:, :2])
    assert not torch.equal(a.condition[:, 2], b.condition[:, 2])
    assert torch.equal(a.condition[:, 2].round(), b.condition[:, 2].round())


@pytest.mark.parametrize("how", ["weights", "strata"])
def test_sampling_keeps_the_expectation_of_the_losses(weighted_tracks, tmp_path, how):
    """In an epoch, the weighted sum of any function is that of all events, up to the noise of the draws."""
    data = weighted_tracks(weight="w")
    cache = prepare(data, tmp_path / "cache", progress=False)
    config = parse({"data": data.model_dump(mode="json", exclude_none=True), "training": {"sampling": how}})
    plain = StreamedEvents(StoredEvents.of(cache, data, seed=1), data, seed=1, window=6000)
    n = len(plain)
    everything = plain.batch(n, rng=RNG)
    drawn = plain.with_sampling(sampling(config, everything))
    batch = drawn.batch(20 * n, rng=RNG)  # 20 epochs
    for function in (torch.ones_like, torch.log, lambda p: (p > 10).float()):
        x, y = function(everything.condition[:, 0]), function(batch.condition[:, 0])
        expected = (everything.weights * x).mean().item()
        error = (batch.weights * y).std().item() / len(batch) ** 0.5
        assert (batch.weights * y).mean().item() == pytest.approx(expected, abs=4 * error)
    if how == "weights":
        assert (
            batch.weights.abs().std() / batch.weights.abs().mean() < 0.3
        )  # the sign, and the window's share
        assert ((batch.weights < 0).float().mean() - 0.1).abs() < 0.03
    else:
        edges = torch.linspace(0, float(everything.condition.log().max()), 11)
        shares = torch.histc(batch.condition[:, 0].log(), bins=10, min=float(edges[0]), max=float(edges[-1]))
        assert shares.max() < 2 * shares.min()


def test_random_events_are_of_their_part(weighted_tracks, tmp_path, monkeypatch):
    data = weighted_tracks(weight="w")
    cache = prepare(data, tmp_path / "cache", progress=False)
    stored = StoredEvents.of(cache, data, seed=1)
    expected = training_events(data, seed=1)

    def taken(part, **limits):
        limits = {"most": 10**6, "most_bytes": 10**9} | limits
        return stored.random(part, seed=1, **limits)

    for part, events in zip((TRAINING, VALIDATION), expected, strict=True):
        np.testing.assert_array_equal(taken(part).targets, events.targets)  # all of them, in order
    known = {value.tobytes() for value in expected[1].targets}
    some = taken(VALIDATION, most=100)
    assert len(some) == len(np.unique(some.targets)) == 100
    assert {value.tobytes() for value in some.targets} <= known
    assert len(taken(VALIDATION, most_bytes=240)) == 20
    monkeypatch.setattr("hepgan.data.stored._SAMPLED_BYTES", 3000)  # of a large cache, some blocks
    few = taken(TRAINING, most=100)
    assert len(few) == 100
    assert {value.tobytes() for value in few.targets} <= {v.tobytes() for v in expected[0].targets}
