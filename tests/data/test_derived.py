"""Events that are represented once are kept beside the cache, and streamed in the same order."""

import pytest
import torch

from hepgan.data.preparing import prepare
from hepgan.data.stored import StoredEvents
from hepgan.data.streaming import StreamedEvents
from hepgan.errors import DataError

pytestmark = pytest.mark.usefixtures("small_pieces")


@pytest.fixture
def stream(tiny_data, tiny_file, tmp_path):
    data = tiny_data([tiny_file()], weight="w")
    cache = prepare(data, tmp_path / "cache", progress=False)
    return StreamedEvents(StoredEvents.of(cache, data, seed=1), data, seed=1, window=1 << 20)


def doubled(events):
    cells, overflow = events.outputs
    return cells, 2 * overflow


def test_the_representation_is_that_of_the_function(stream):
    mapped = stream.mapped(doubled, key="a")
    assert len(mapped) == len(stream)
    rng = torch.Generator()
    a, b = (x.batch(len(stream), rng=rng) for x in (stream, mapped))
    order = [x.condition[:, 0].argsort() for x in (a, b)]
    a, b = a[order[0]], b[order[1]]
    for name in ("condition", "weights"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert all(torch.equal(x, y) for x, y in zip(doubled(a), b.represented, strict=True))
    assert b.outputs == a.represented == ()


def test_a_stopped_process_goes_on_and_keys_are_kept_apart(stream, tmp_path):
    calls = []

    def fails(events):
        calls.append(len(events))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return doubled(events)

    def counted(events):
        calls.append(len(events))
        return doubled(events)

    with pytest.raises(KeyboardInterrupt):
        stream.mapped(fails, key="a")
    calls.clear()
    mapped = stream.mapped(counted, key="a")
    assert sum(calls) == 1 + len(stream.cache) - stream.cache.manifest.shards[0].rows  # the first is there
    calls.clear()
    again = stream.mapped(counted, key="a")
    assert not calls
    assert again.cache.manifest == mapped.cache.manifest
    other = stream.mapped(counted, key="b", folder=tmp_path / "elsewhere")
    assert sum(calls) == 1 + len(stream.cache)
    assert other.cache.folder.parent == tmp_path / "elsewhere"
    assert mapped.cache.folder.parent == stream.cache.folder


def test_the_function_gives_a_row_an_event(stream):
    with pytest.raises(DataError, match=r"expected one row for each of \d+ events, got"):
        stream.mapped(lambda events: (events.outputs[0].repeat(2, 1),), key="a")
