"""Convolutional layers and maps in place of locally connected ones: same shapes, no dependence on the position."""

from dataclasses import replace

import pytest
import torch
from tiny_generator import tiny_calo_generator, tiny_data, tiny_showers

from hepgan.config import CaloModelConfig
from hepgan.geometry import CaloLayer
from hepgan.models.convolution import Convolution2d, Enlarge, coarser
from hepgan.models.copula import FactorCopula
from hepgan.models.locally_connected import LocallyConnected2d
from hepgan.models.shower_critic import CaloCritic
from hepgan.models.showers import CaloGenerator
from hepgan.objectives import gradient_penalty

MODEL = CaloModelConfig(
    paint="convolution",
    statistics="layers",
    latent=6,
    width=16,
    depth=2,
    channels=2,
    critic_width=16,
    critic_depth=1,
    critic_channels=2,
)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def events():
    return tiny_showers()


@pytest.fixture
def generator():
    return tiny_calo_generator(MODEL)


@pytest.mark.parametrize(("size", "stride"), [((3, 96), (1, 2)), ((12, 7), (2, 1)), ((1, 1), (1, 1))])
def test_takes_the_place_of_a_locally_connected_layer(size, stride, rng):
    images = torch.randn(4, 2, *size, generator=rng)
    shapes = set()
    for layer in (Convolution2d, LocallyConnected2d):
        made = layer(2, 3, size=size, kernel_size=3, stride=stride, padding=1)
        assert made(images).shape[2:] == made.output_size
        shapes.add(made(images).shape)
    assert len(shapes) == 1


def test_convolution_of_a_shifted_image_is_shifted(rng):
    image = torch.zeros(1, 1, 8, 9)
    image[..., 2:4, 2:4] = torch.rand(2, 2, generator=rng)
    shifted = image.roll((3, 4), (2, 3))
    for layer, same in ((Convolution2d, True), (LocallyConnected2d, False)):
        paint = layer(1, 2, size=(8, 9), kernel_size=3, padding=1)
        a, b = paint(image).roll((3, 4), (2, 3))[..., 4:-1, 5:-1], paint(shifted)[..., 4:-1, 5:-1]
        assert torch.allclose(a, b, atol=1e-6) is same


def test_coarser_layer_joins_two_cells():
    layer = CaloLayer((3, 4), (0.0, 1.0, 2.0, 4.0), (-4.0, -1.0, 0.0, 2.0, 3.0), (0.0, 1.0), "back")
    once = coarser(layer)
    assert (once.x, once.y) == ((0, 2, 4), (-4, 0, 3))
    twice = coarser(coarser(once))
    assert (twice.shape, twice.x, twice.y) == ((1, 1), (0, 4), (-4, 3))


@pytest.mark.parametrize("shape", [(3, 96), (25, 25), (1, 1), (5, 2)])
def test_enlarged_maps_have_the_size_of_the_layer(shape, rng):
    layer = CaloLayer(shape, (-1.0, 1.0), (-1.0, 1.0), (0.0, 1.0))
    enlarge = Enlarge(8, 3, layer)
    trunk = torch.randn(6, 8, generator=rng)
    maps = enlarge(trunk)
    assert maps.shape == (6, 3, *shape)
    assert maps.isfinite().all()
    torch.testing.assert_close(enlarge(trunk[2:3]), maps[2:3])  # no event depends on its companions


def test_statistics_of_layers_know_no_position(events, generator):
    assert not any("copula" in name for name, _ in generator.named_parameters())
    fresh = CaloGenerator(tiny_data(), MODEL)
    fresh.fit(events, rng=torch.Generator())
    table = fresh.start.quantile.table[fresh.n_global :]
    for s in fresh.calorimeter.slices():
        assert (table[s] == table[s][:1]).all()
    latent = torch.randn(len(events), fresh.n_latent, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        made = fresh(events.condition, latent)[0] > 0
    there = events.outputs[0] > 0
    for s in fresh.calorimeter.slices():
        mine, theirs = (x[:, s].float().mean(0) for x in (made, there))
        assert mine.mean().item() == pytest.approx(theirs.mean().item(), abs=0.03)
        assert (mine.max() - mine.min()).item() < 0.06
        assert (theirs.max() - theirs.min()).item() > 0.06


def test_statistics_of_cells_know_positions(events):
    data = tiny_data()
    by_cell = CaloGenerator(
        data.model_copy(update={"conditions": data.conditions[:1]}),
        MODEL.model_copy(update={"statistics": "cells"}),
    )
    by_cell.fit(replace(events, condition=events.condition[:, :1]), rng=torch.Generator().manual_seed(0))
    table = by_cell.start.quantile.table[by_cell.n_global :]
    assert (table.mean((1, 2)).diff() > 0).sum() >= 8  # the mean quantile follows the place
    assert isinstance(by_cell.start.copula, FactorCopula)


def test_penalty_of_a_convolutional_critic_trains_it(events, generator, rng):
    critic = CaloCritic(generator, MODEL)
    critic.fit(generator, events)
    view = critic.view(generator, events[:64])
    fake = view.fake(torch.randn(64, generator.n_latent, generator=rng)).detach()
    penalty = gradient_penalty(
        lambda x: critic(x, view.context), view.real, fake, events.weights[:64], rng=rng
    )
    penalty.backward()
    weights = {name: p.grad for name, p in critic.named_parameters() if name.endswith("weight")}
    assert all(grad is not None and grad.isfinite().all() for grad in weights.values())
    assert all(weights[f"streams.{k}.{i}.weight"].abs().max() > 0 for k in (0, 1) for i in (0, 1))
