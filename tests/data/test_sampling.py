"""Batches of events in memory that are drawn by their weights, or in equal shares of bins."""

import numpy as np
import pytest
import torch

from hepgan.config import Config, parse
from hepgan.data.draws import RowGenerator
from hepgan.data.reading import read
from hepgan.data.sampling import SampledEvents, sampling
from hepgan.data.tensors import TensorEvents

N = 40_000


@pytest.fixture
def events(weighted_tracks):
    def build(**training) -> tuple[TensorEvents, Config]:
        data = weighted_tracks(weight="w")
        values = {"data": data.model_dump(mode="json", exclude_none=True), "training": training}
        config = parse(values)
        return TensorEvents.of(read(data), data), config

    return build


def batch(events: TensorEvents, config: Config) -> TensorEvents:
    drawn = sampling(config, events)
    assert drawn is not None
    return SampledEvents(events, drawn).batch(N, rng=torch.Generator().manual_seed(1))


def means(events: TensorEvents) -> np.ndarray:
    x, p = events.outputs[0][:, 0], events.condition[:, 0]
    terms = torch.stack([torch.ones_like(x), x, (p > 10).float(), x * p]) * events.weights
    return terms.double().mean(1).numpy(), (terms.double().std(1) / len(events) ** 0.5).numpy()


def test_uniform_draws_need_no_sampling(events):
    tensors, config = events()
    assert sampling(config, tensors) is None


@pytest.mark.parametrize("how", ["weights", "strata"])
def test_the_losses_keep_their_expectation(events, how):
    tensors, config = events(sampling=how)
    got, errors = means(batch(tensors, config))
    assert (np.abs(got - means(tensors)[0]) < 4 * errors).all()


def test_workers_take_their_rows_of_a_sampled_batch(events):
    tensors, config = events(sampling="weights")
    sampled, plain = SampledEvents(tensors, sampling(config, tensors)), torch.Generator().manual_seed(1)
    sources = [RowGenerator.like(plain, batch=9, first=rank, step=2) for rank in range(2)]
    whole = sampled.batch(9, rng=plain)
    for rank, rng in enumerate(sources):
        own = sampled.batch(9, rng=rng)
        assert own.outputs[0].equal(whole.outputs[0][rank::2])
        assert own.weights.equal(whole.weights[rank::2])


def test_weights_become_their_sign(events):
    tensors, config = events(sampling="weights")
    drawn = batch(tensors, config)
    sizes = drawn.weights.abs()
    assert torch.allclose(sizes, sizes[:1], rtol=1e-4)
    assert drawn.weights.mean().item() == pytest.approx(1, abs=0.02)
    plain = tensors.batch(N, rng=torch.Generator().manual_seed(1))
    effective = [(w.sum() ** 2 / (w**2).sum() / N).item() for w in (drawn.weights, plain.weights)]
    assert effective[0] > 1.5 * effective[1]  # a better use of the batch


def test_strata_have_equal_shares(events):
    tensors, config = events(sampling="strata", strata={"bins": 6})
    drawn = batch(tensors, config)
    logs = tensors.condition.log()
    shares = torch.histc(drawn.condition.log(), 6, float(logs.min()), float(logs.max())) / N
    assert torch.allclose(shares, torch.full((6,), 1 / 6), atol=0.01)
    flat = batch(*events(sampling="strata", strata={"bins": 6, "undo": False}))
    assert torch.equal(flat.condition, drawn.condition)
    assert flat.weights.mean().item() == pytest.approx(1, abs=0.03)
    p, w = flat.condition[:, 0].log(), flat.weights
    inside = torch.bucketize(p, torch.linspace(float(logs.min()), float(logs.max()), 7)[1:-1])
    spectrum = torch.zeros(6).index_add_(0, inside, w) / w.sum()
    assert spectrum[-1] > 0.1  # of a spectrum that is flat; a thousandth of the events


def test_a_category_is_a_stratum():
    values = {
        "files": ["x.root"],
        "conditions": [{"name": "id", "transform": "category", "categories": {"pi": 211, "K": 321}}],
        "targets": [{"name": "x"}],
    }
    config = parse({"data": values, "training": {"sampling": "strata"}})
    condition = torch.where(torch.arange(1000)[:, None] % 10 == 0, 321.0, 211.0)
    events = TensorEvents(condition, (condition,), torch.ones(1000))
    drawn = SampledEvents(events, sampling(config, events)).batch(N, rng=torch.Generator().manual_seed(1))
    assert (drawn.condition == 321).float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.weights[drawn.condition[:, 0] == 321].mean().item() == pytest.approx(0.2, rel=1e-4)


def test_strata_of_an_unknown_condition_are_refused(weighted_tracks):
    data = weighted_tracks().model_dump(mode="json", exclude_none=True)
    with pytest.raises(
        ValueError, match=r"training.strata.condition: there is no condition 'E'; there is 'P'"
    ):
        parse({"data": data, "training": {"strata": {"condition": "E"}}})
