"""RingStart and RingCopula: toy showers around an axis, whose spectra, hits, symmetry and correlations are known."""

import logging
import math

import pytest
import torch
from ring_showers import ANGLES, CALORIMETER, DATA, EDGE, LAYERS, ring_generator, showers

from hepgan.config import CaloModelConfig
from hepgan.errors import ConfigError, DataError
from hepgan.geometry import Calorimeter
from hepgan.models import CaloGenerator
from hepgan.models.ring_copula import RingCopula
from hepgan.models.ring_start import RingStart


@pytest.fixture(scope="module")
def events():
    return showers(4000)


@pytest.fixture(scope="module")
def generator(events):
    return ring_generator(events)


@pytest.fixture(scope="module")
def generated(generator, events):
    with torch.no_grad():
        latent = torch.randn(4000, generator.n_latent, generator=torch.Generator().manual_seed(2))
        return generator(events.condition, latent)


def rings(cells):
    return cells.reshape(-1, LAYERS, ANGLES, 3)


def test_hits_energies_and_edge_are_those_of_the_sample(events, generated):
    real, fake = rings(events.outputs[0]), rings(generated[0])
    for statistic in (lambda x: (x > 0).float().mean((0, 2)), lambda x: x.sum(2).mean(0)):
        torch.testing.assert_close(statistic(fake), statistic(real), rtol=0.1, atol=2e-3)
    assert (fake[fake > 0] < 0.5 * EDGE).float().mean() < 0.02, "nothing lies below the edge of the spectrum"
    torch.testing.assert_close(generated[1].mean(0), events.outputs[1].mean(0), rtol=0.06, atol=0)


def test_the_number_of_hits_follows_the_energy_of_the_layer(events, generated):
    def slope(cells):
        layer = rings(cells)[:, 0].flatten(1)
        x, y = torch.log(layer.sum(1) + 0.1), (layer > 0).float().sum(1)
        narrow = (events.condition[:, 0] > 300) & (events.condition[:, 0] < 400)
        return torch.corrcoef(torch.stack([x, y])[:, narrow])[0, 1]

    assert slope(events.outputs[0]) > 0.7
    assert slope(generated[0]) == pytest.approx(float(slope(events.outputs[0])), abs=0.06)


def test_showers_lean_to_one_side_in_all_layers_and_to_no_side_on_average(events, generated):
    wave = torch.cos(2 * math.pi * (torch.arange(ANGLES) + 0.5) / ANGLES)[:, None]

    def leaning(cells):
        energetic = events.condition[:, 0] > 400
        lean = (rings(cells)[energetic] * wave).sum((2, 3)) / rings(cells)[energetic].sum((2, 3)).clamp(
            min=1e-6
        )
        return lean.mean(0), torch.corrcoef(lean.T)[0, 1]

    (mean, together), (_, expected) = leaning(generated[0]), leaning(events.outputs[0])
    assert mean.abs().max() < 0.03
    assert expected > 0.15
    assert together == pytest.approx(float(expected), abs=0.1)


def test_normal_numbers_are_inverted(generator, events):
    cells, overflow = (x[:200] for x in events.outputs)
    energy = events.condition[:200, 0]
    start = RingStart(CALORIMETER, n_overflow=LAYERS)
    z, censored = start.fit(
        *events.outputs, events.condition[:, 0], events.weights, offset=generator.start.scaling.offset
    )
    again, outside = start.from_normal(torch.where(censored, z - 1e-3, z)[:200], energy)
    used = (cells.reshape(200, LAYERS, -1).sum(2) > 0).all(1)
    inside = cells > 0
    assert ((again > 0) != inside)[used].float().mean() < 0.01, "a threshold follows the energy of the layer"
    error = (again - cells).abs()[used] / (cells[used] + 0.1)
    assert error[inside[used]].median() < 0.01
    torch.testing.assert_close(
        again.sum(1) + outside.sum(1), cells.sum(1) + overflow.sum(1), rtol=0.02, atol=0
    )
    assert (censored[:, -CALORIMETER.n_cells :] == (events.outputs[0] == 0)).all()


def test_a_layer_of_cells_below_their_thresholds_gives_its_energy_to_one_of_them(generator, events):
    z = torch.zeros(5, generator.n_variables)
    z[:, generator.n_global :] = -8.0
    z[:, generator.n_global + 3] = -7.0
    cells, _ = generator.start.rings.from_normal(z, events.condition[:5, 0])
    assert ((cells[:, : ANGLES * 3] > 0).sum(1) == 1).all()
    assert (cells[:, 3] > 0).all()


def test_gradients_reach_every_normal_number(generator, events):
    rng = torch.Generator().manual_seed(3)
    z = torch.randn(50, generator.n_variables, generator=rng, requires_grad=True)
    cells, overflow = generator.start.rings.from_normal(z, events.condition[:50, 0])
    (cells.square().sum() + overflow.square().sum()).backward()
    assert torch.isfinite(z.grad).all()
    reached = z.grad.abs().sum(0) > 0
    assert reached[: generator.n_global].all()
    assert reached.float().mean() > 0.9, "all but those of cells that are empty in all of these showers"


def test_other_layers_and_samples_without_energy_are_refused():
    layer = {"shape": (3, 4), "x": (-30, 30), "y": (-40, 40), "z": (0, 10)}
    with pytest.raises(
        ConfigError, match='expected layers of coordinates "polar" for "rings", got others: layer_0'
    ):
        RingStart(Calorimeter.from_dicts([layer]), n_overflow=0)
    theta = DATA.conditions[0].model_copy(update={"name": "theta", "unit": "rad"})
    with pytest.raises(
        ConfigError, match='the only condition for "rings", got incident_energy, theta; use "cells"'
    ):
        CaloGenerator(
            DATA.model_copy(update={"conditions": (*DATA.conditions, theta)}),
            CaloModelConfig(statistics="rings"),
        )
    cells, overflow = showers(1000).outputs
    cells[:, : ANGLES * 3] = 0
    with pytest.raises(DataError, match="expected at least 30 with energy in layer 'layer_0', got 0"):
        RingStart(CALORIMETER, n_overflow=LAYERS).fit(
            cells, overflow, showers(1000).condition[:, 0], torch.ones(1000), offset=torch.tensor(0.1)
        )


def test_a_sample_that_leans_is_mentioned(caplog):
    events = showers(1000)
    cells = rings(events.outputs[0]).clone()
    cells[:, :, : ANGLES // 2] *= 2
    start = RingStart(CALORIMETER, n_overflow=LAYERS)
    with caplog.at_level(logging.WARNING, logger="hepgan"):
        start._warn_of_asymmetry(events.outputs[0], events.weights)
        assert caplog.text == ""
        start._warn_of_asymmetry(cells.flatten(1), events.weights)
    assert "the mean shower leans to y = -0." in caplog.text


def test_copula_recovers_waves_around_the_axis():
    torch.manual_seed(5)
    truth = RingCopula(CALORIMETER, 4, 8)
    assert truth.sizes == [6, 1]
    with torch.no_grad():
        truth.loadings[0].copy_(0.25 * torch.randn(13, 6))
        truth.loadings[1].copy_(0.6 * torch.rand(9, 1))
        shared = [
            truth.loadings[0].square().sum(2),
            torch.cat([torch.zeros(4, 4), truth.loadings[1].square().sum(2)], 1),
        ]
        truth.noise.copy_((1 - sum(shared)).sqrt())
    energy = torch.exp(torch.rand(6000) * 4)
    with torch.no_grad():
        z = truth(torch.randn(6000, 8), torch.randn(4 + 72, 6000), energy)
    torch.testing.assert_close(z.var(1), torch.ones(76), atol=0.1, rtol=0)
    censored = z < -0.3
    found = RingCopula(CALORIMETER, 4, 8)
    limits = torch.where(censored, -0.3, z)
    found.fit(limits.T, censored.T, energy, torch.ones(6000), rng=torch.Generator().manual_seed(0))
    with torch.no_grad():
        again = found(torch.randn(6000, 8), torch.randn(76, 6000), energy)
    torch.testing.assert_close(again.var(1), torch.ones(76), atol=0.08, rtol=0)
    error = (torch.corrcoef(again) - torch.corrcoef(z)).abs()
    assert error.mean() < 0.025
    assert error.max() < 0.16
