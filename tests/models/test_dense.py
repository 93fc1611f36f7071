"""Dense generator of tracks and its critic before any training: exact values, their frequency, angles."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from hepgan.config import DllModelConfig, parse
from hepgan.data.events import Events
from hepgan.data.tensors import TensorEvents
from hepgan.errors import DataError
from hepgan.models import DllCritic, DllGenerator

N = 20_000
THRESHOLD = 10.0  # GeV: below it the second target is equal to the first


def toy(n=N, *, seed=0):
    """Two targets given momentum, number of tracks and species: a threshold, sentinels, a difference of species."""
    rng = np.random.default_rng(seed)
    momentum = np.exp(rng.uniform(np.log(2), np.log(100), n))
    number = rng.integers(20, 300, n)
    species = rng.choice([211, 321], n)
    first = rng.normal(0, 1 + number / 100, n) + np.where(species == 321, 5, -5)
    second = np.where(momentum > THRESHOLD, 0.5 * first + rng.normal(0, 1, n), first)
    targets = np.stack([first, second], 1)
    targets[rng.random(n) < 0.3 / momentum**0.5] = -999
    conditions = np.stack([momentum, number, species], 1)
    return Events(
        *(a.astype(np.float32) for a in (conditions,)), (targets.astype(np.float32),), np.ones(n, np.float32)
    )


def recipe(**model):
    return parse(
        {
            "data": {
                "files": ["x.root"],
                "ties": True,
                "conditions": [
                    {"name": "p", "unit": "GeV/c"},
                    {"name": "tracks", "transform": "linear", "integer": True},
                    {"name": "species", "transform": "category", "categories": {"pi": 211, "K": 321}},
                ],
                "targets": [{"name": name, "atoms": [-999.0]} for name in ("first", "second")],
            },
            "model": {"latent": 4, "width": 16, "depth": 1, "hinges": 12, **model},
        }
    )


@pytest.fixture(scope="module")
def fitted():
    """A generator that is fitted but not trained, and its training events."""
    config = recipe()
    events = TensorEvents.of(toy(), config.data)
    torch.manual_seed(0)
    generator = DllGenerator(config.data, config.model)
    generator.fit(events, rng=torch.Generator().manual_seed(0))
    return generator, events


def latent(generator, n, seed=1):
    return torch.randn(n, generator.n_latent, generator=torch.Generator().manual_seed(seed))


def test_atoms_and_ties_are_exact_and_as_frequent_as_in_the_data_at_every_momentum(fitted):
    generator, _ = fitted
    events = TensorEvents.of(toy(60_000, seed=5))
    with torch.no_grad():
        (made,) = generator(events.condition, latent(generator, len(events)))
    data, momentum = events.outputs[0], events.condition[:, 0]
    edges = torch.logspace(np.log10(2), 2, 11)
    for low, high in pairwise(edges):
        inside = (momentum >= low) & (momentum < high)
        for is_atom in (lambda x: x[:, 0] == -999, lambda x: (x[:, 0] == x[:, 1]) & (x[:, 0] != -999)):
            wanted, got = (is_atom(x[inside]).float().mean().item() for x in (data, made))
            assert got == pytest.approx(wanted, abs=0.02)  # 3 sigma of 6,000 tracks
    outside = made[:, 0] < -500
    assert (made[outside] == -999).all()  # both targets, and nothing smeared beside


def test_species_differ(fitted):
    """The category reaches the networks: its features are exact zeros and ones."""
    generator, events = fitted
    features = generator.features(events.condition[:100])
    numbers = generator.condition_scaling.n_numbers
    species = features[:, numbers : numbers + 2]
    assert torch.equal(species[:, 0], (events.condition[:100, 2] == 211).float())
    assert torch.equal(species[:, 1], (events.condition[:100, 2] == 321).float())


def test_critic_sees_targets_where_they_are_free(fitted):
    generator, events = fitted
    critic = DllCritic(generator, DllModelConfig(critic_width=16, critic_depth=1), scores=3)
    critic.fit(generator, events)
    first = events[:2000]
    view = critic.view(generator, first)
    real, fake = view.real, view.fake(latent(generator, 2000))
    assert real.shape == fake.shape == (2000, 4)
    data = first.outputs[0]
    lost, tied = data[:, 0] == -999, (data[:, 0] == data[:, 1]) & (data[:, 0] != -999)
    for x in (real, fake):
        assert (x[lost] == 0).all()
        assert (x[tied][:, [1, 3]] == 0).all()
        assert (x[~lost][:, 0] != 0).all()
    torch.testing.assert_close(real[~lost & ~tied][:, 2:].std(0), torch.ones(2), atol=0.2, rtol=0)
    score = critic(fake, view.context)
    assert score.shape == (2000, 3)
    score.sum().backward()
    assert all(p.grad is not None for p in generator.network.parameters())


def test_critic_sees_ranks_too_if_it_learns_them(fitted):
    generator, events = fitted
    critic = DllCritic(generator, DllModelConfig(critic_width=16, critic_depth=1, ranks=60))
    critic.fit(generator, events)
    first = events[:2000]
    view = critic.view(generator, first)
    real, fake = view.real, view.fake(latent(generator, 2000))
    assert real.shape == fake.shape == (2000, 8)
    data = first.outputs[0]
    free = (data[:, 0] != -999) & (data[:, 0] != data[:, 1])
    for x in (real, fake):
        assert (x[data[:, 0] == -999] == 0).all()
        assert (x[~free][:, 1::2] == 0).all()
    torch.testing.assert_close(real[free][:, 4:].std(0), torch.ones(4), atol=0.25, rtol=0)
    critic(fake, view.context).sum().backward()
    assert all(p.grad is not None for p in generator.network.parameters())
    restored = DllCritic(generator, DllModelConfig(critic_width=16, critic_depth=1, ranks=60))
    restored.load_state_dict(critic.state_dict())
    assert torch.equal(restored.view(generator, first).real, real)


def test_critic_sees_no_seam_in_an_angle():
    config = parse(
        {
            "data": {
                "files": ["x.root"],
                "conditions": [{"name": "p"}],
                "targets": [{"name": "r"}, {"name": "phi", "transform": "angle", "atoms": [-999.0]}],
            },
            "model": {
                "latent": 3,
                "width": 8,
                "depth": 0,
                "hinges": 4,
                "critic_width": 16,
                "critic_depth": 0,
            },
        }
    )
    rng = np.random.default_rng(0)
    momentum = np.exp(rng.uniform(0, 3, (4000, 1))).astype(np.float32)
    angle = np.where(rng.random(4000) < 0.2, -999, rng.vonmises(0, 3, 4000) % 6.28)
    targets = np.stack([rng.exponential(size=4000), angle], 1).astype(np.float32)
    events = TensorEvents.of(Events(momentum, (targets,), np.ones(4000, np.float32)))
    generator = DllGenerator(config.data, config.model)
    generator.fit(events, rng=torch.Generator().manual_seed(0))
    critic = DllCritic(generator, config.model)
    critic.fit(generator, events)
    (made,) = generator(events.condition, latent(generator, 4000))
    lost = made[:, 1] == -999
    assert float(lost.float().mean()) == pytest.approx(0.2, abs=0.03)
    assert ((made[~lost, 1] >= 0) & (made[~lost, 1] < 2 * np.pi)).all()
    assert float(generator.target_scale[1]) == pytest.approx(np.std(rng.vonmises(0, 3, 4000)), rel=0.05)

    def score(phi):
        one = TensorEvents(events.condition[:1], (torch.tensor([[1.0, phi]]),), torch.ones(1))
        view = critic.view(generator, one)
        return critic(view.real, view.context).item()

    assert score(2 * np.pi - 1e-4) == pytest.approx(score(1e-4), abs=1e-3)
    assert score(np.pi - 1e-4) == pytest.approx(score(np.pi + 1e-4), abs=1e-3)
    assert score(2.0) != pytest.approx(score(4.0), abs=1e-2)
    view = critic.view(generator, events)
    assert view.real.shape == view.fake(latent(generator, 4000)).shape == (4000, 6)
    assert (view.real[events.outputs[0][:, 1] == -999][:, [1, 2, 4, 5]] == 0).all()


def test_without_atoms_there_is_no_pattern_to_choose():
    config = parse(
        {
            "data": {"files": ["x.root"], "conditions": [{"name": "p"}], "targets": [{"name": "a"}]},
            "model": {"latent": 3, "width": 8, "depth": 0, "hinges": 4},
        }
    )
    rng = np.random.default_rng(0)
    momentum = np.exp(rng.uniform(0, 3, (500, 1))).astype(np.float32)
    target = (momentum * rng.normal(1, 0.1, (500, 1))).astype(np.float32)
    events = TensorEvents.of(Events(momentum, (target,), np.ones(500, np.float32)))
    generator = DllGenerator(config.data, config.model)
    generator.fit(events, rng=torch.Generator().manual_seed(0))
    assert generator.n_latent == 3
    (made,) = generator(events.condition, latent(generator, 500))
    assert made.shape == (500, 1)
    assert made.isfinite().all()


def test_constant_target_is_refused():
    events = toy(1000)
    events.targets[:, 1] = 7.0
    config = recipe()
    generator = DllGenerator(config.data, config.model)
    with pytest.raises(
        DataError, match="target 'second': expected values that vary, got 7 in all 1000 events"
    ):
        generator.fit(TensorEvents.of(events), rng=torch.Generator().manual_seed(0))
