"""Random numbers of a batch that workers share: the rows of all are those of one."""

import pytest
import torch

from hepgan.data.draws import RowGenerator, normal, own_rows, uniform
from hepgan.data.tensors import TensorEvents


def source():
    return torch.Generator().manual_seed(3)


def sources(batch, size):
    return [RowGenerator.like(source(), batch=batch, first=rank, step=size) for rank in range(size)]


@pytest.mark.parametrize("draw", [normal, uniform])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_rows_of_the_workers_are_those_of_one(draw, size):
    plain = source()
    first, second = draw(10, 4, rng=plain), draw(10, 1, rng=plain)
    for rank, rng in enumerate(sources(10, size)):
        rows = len(range(rank, 10, size))
        assert draw(rows, 4, rng=rng).equal(first[rank::size])
        assert draw(rows, 1, rng=rng).equal(second[rank::size])
        assert rng.get_state().equal(plain.get_state()), "all workers stay in the same state"


def test_batches_of_the_workers_are_that_of_one():
    n = 50
    events = TensorEvents(
        torch.arange(2.0 * n).reshape(n, 2),
        (torch.arange(float(n))[:, None],),
        torch.ones(n),
        torch.tensor([0.0, 1.0]),
    )
    whole = events.batch(9, rng=source())
    parts = [events.batch(9, rng=rng) for rng in sources(9, 2)]
    assert [len(part) for part in parts] == [5, 4]
    for rank, part in enumerate(parts):
        assert part.condition.equal(whole.condition[rank::2]), "dithered alike"
        assert part.outputs[0].equal(whole.outputs[0][rank::2])


def test_rows_of_another_number_are_refused():
    rng = sources(10, 3)[2]
    assert own_rows(rng) == slice(2, None, 3)
    assert own_rows(source()) == slice(None)
    with pytest.raises(ValueError, match="rows: expected the 3 rows of this worker, got 10"):
        normal(10, 2, rng=rng)
