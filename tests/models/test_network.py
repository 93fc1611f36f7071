"""Networks as one compiled function against the same layers in torch, with all derivatives."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from tiny_generator import tiny_calo_generator, tiny_showers
from torch import nn
from torch.nn.functional import leaky_relu

from hepgan.config import CaloModelConfig
from hepgan.geometry import CaloLayer
from hepgan.models import CaloCritic
from hepgan.models.feature_maps import Resample
from hepgan.models.locally_connected import LocallyConnected2d
from hepgan.models.network import Network, has_half, in_half
from hepgan.models.spectral_norm import normalise_spectrum
from hepgan.transforms.kernels import usable

SIZES = {"width": 8, "depth": 1, "channels": 2, "critic_width": 8, "critic_channels": 2}


compiled = pytest.mark.skipif(not usable(torch.zeros(1)), reason="no C++ compiler")
half = pytest.mark.skipif(not has_half(), reason="the processor has no half precision")


class Everything(nn.Module):
    """A network with each kind of step: vector -> image -> average, gate -> image -> hidden layers -> outputs."""

    def __init__(self, channels):
        super().__init__()
        edges = [tuple(float(k) for k in range(n + 1)) for n in (3, 5)]
        coarse = CaloLayer((2, 3), x=(0.0, 1.5, 3.0), y=(0.0, 2.0, 4.0, 5.0), z=(0.0, 1.0))
        fine = CaloLayer((3, 5), x=edges[0], y=edges[1], z=(0.0, 1.0))
        self.channels, self.resample = channels, Resample(fine, coarse)
        self.spread = nn.Linear(7, 15 * channels)
        self.paint = LocallyConnected2d(
            channels + 1, channels, size=(3, 5), kernel_size=3, padding=1, wrap=True
        )
        self.gate = LocallyConnected2d(channels, channels, size=(2, 3), kernel_size=1)
        self.finish = LocallyConnected2d(channels, 1, size=(2, 3), kernel_size=3, padding=1, stride=(1, 2))
        self.hidden, self.second = nn.Linear(4, 5), nn.Linear(5, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, x, image):
        maps = self.spread(x).reshape(len(x), 3, 5, self.channels).permute(0, 3, 1, 2)
        maps = self.paint([maps, image.reshape(len(x), 1, 3, 5)], slope=0.1)
        carried = self.resample(maps)
        maps = self.finish(torch.sigmoid(self.gate(carried)) * carried, slope=0.3)
        h = self.hidden(maps.permute(0, 2, 3, 1).flatten(1))
        return self.last(leaky_relu(self.second(h), 0.2))

    def draw(self, wiring):
        x, joined = wiring.numbers(7), wiring.numbers(3, 5, self.channels + self.channels % 2 + 1)
        spread, image = joined[..., : self.channels], joined[..., -1:]
        wiring.apply(self.spread, x, to=spread.ravel())
        maps = wiring.apply(self.paint, np.concatenate([spread, image], 2), slope=0.1)
        carried = wiring.average(
            self.resample.row_overlap.numpy(), self.resample.column_overlap.numpy(), maps
        )
        gate, gated = wiring.apply(self.gate, carried, sigmoid=True), wiring.numbers(*carried.shape)
        wiring.product(gate, carried, to=gated)
        h = wiring.apply(self.hidden, wiring.apply(self.finish, gated, slope=0.3).ravel())
        wiring.output(wiring.apply(self.last, wiring.apply(self.second, h, slope=0.2)))
        wiring.input(x)
        wiring.input(image)


def everything(channels, batch):
    torch.manual_seed(3)
    layers = Everything(channels)
    return layers, Network(layers.draw), torch.randn(7, batch), torch.randn(15, batch)


def derivatives(function, layers, *inputs, cotangent=torch.cos):
    """Outputs (S, B) and the derivatives of a sum of them by inputs and parameters."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    layers.zero_grad()
    y = function(*inputs)
    (y * cotangent(torch.arange(1.0, y.numel() + 1).reshape(y.shape))).sum().backward()
    return y.detach(), *(x.grad for x in inputs), *(p.grad for p in layers.parameters())


@compiled
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("batch", [1, 70])
def test_each_kind_of_step_is_that_of_torch_with_its_derivatives(channels, batch):
    layers, network, x, image = everything(channels, batch)
    assert len(network.parameters) == len([*layers.parameters()])
    expected = derivatives(lambda x, image: layers(x.T, image.T).T, layers, x, image)
    made = derivatives(network, layers, x, image)
    for a, b in zip(made, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


@half
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_half_precision_rounds_products_only(channels):
    layers, network, x, image = everything(channels, 1200)
    # all events with one sign, so that the rounding of each is small against the sum
    expected = derivatives(network, layers, x, image, cotangent=torch.ones_like)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = derivatives(network, layers, x, image, cotangent=torch.ones_like)
    for a, b in zip(made[:3], expected[:3], strict=True):  # one event in many is rounded across a bend
        assert 0 < float(((a - b).norm(dim=0) / b.norm(dim=0)).median()) < 0.01
    for a, b in zip(made[3:-1], expected[3:-1], strict=True):  # the last bias counts events
        assert 0 < float((a - b).norm()) < 0.015 * float(b.norm())


@compiled
def test_results_do_not_depend_on_the_number_of_threads():
    layers, network, x, image = everything(4, 300)
    one = derivatives(network, layers, x, image)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = derivatives(network, layers, x, image)
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@compiled
def test_many_events_are_computed_in_pieces_whose_memory_is_used_again():
    _, network, x, image = everything(2, 1200)
    expected = network(x, image)
    with torch.no_grad():
        torch.testing.assert_close(network(x, image), expected, rtol=0, atol=0)
        for batch in range(1, 1200, 150):
            network(x[:, :batch], image[:, :batch])
    pool = network.precision().pool
    assert 1 < len(pool) <= 4
    assert max(pool) <= 19
    assert all(len(free) <= 4 for free in pool.values())


@compiled
def test_a_copy_computes_with_its_own_weights():
    layers, network, x, image = everything(2, 5)
    layers.network = network
    before = network(x, image)
    copied = deepcopy(layers)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(network(x, image), before)
    torch.testing.assert_close(copied.network(x, image), copied(x.T, image.T).T)


def critic_of(**options):
    model = CaloModelConfig(**SIZES, **options)
    generator = tiny_calo_generator(model)
    critic = CaloCritic(generator, model)
    critic.fit(generator, tiny_showers())
    return generator, critic


@compiled
def test_locally_connected_critics_are_compiled():
    generator, critic = critic_of()
    view = critic.view(generator, tiny_showers()[:5])
    assert critic.network.usable(view.real)
    assert not critic.network.usable(view.real.double())
    assert len(critic.network.parameters) == len([*critic.parameters()])


@compiled
def test_generators_are_compiled_and_paint_what_torch_paints():
    model = CaloModelConfig(**SIZES, cell_latent=2)
    generator = tiny_calo_generator(model)
    for stream in generator.streams:
        nn.init.normal_(stream.finish.weight, std=0.3)
    events = tiny_showers()[:70]
    latent = torch.randn(generator.n_latent, 70, generator=torch.Generator().manual_seed(1)).T
    assert generator.network.usable(latent)
    made = generator.normal(events.condition, latent)
    generator.network = None
    torch.testing.assert_close(made, generator.normal(events.condition, latent), rtol=1e-4, atol=1e-4)


@compiled
def test_the_network_works_with_the_weights_of_the_moment():
    generator, critic = critic_of()
    view = critic.view(generator, tiny_showers()[:40])
    before = critic.scores(view.real, view.context)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(1.5)
    after = critic.scores(view.real, view.context)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, critic(view.real, view.context))
    torch.testing.assert_close(critic.scores(view.real[:3], view.context[:3]), after[:3])


@compiled
def test_each_change_of_the_weights_is_noticed():
    layers, network, x, image = everything(2, 5)
    expected = network(x, image)
    weights = [*layers.parameters()]
    with torch.no_grad():
        torch._foreach_lerp_(weights, [w + 1 for w in weights], 0.5)
    torch.testing.assert_close(network(x, image), layers(x.T, image.T).T)
    layers.load_state_dict({key: w - 0.5 for key, w in layers.state_dict().items()})
    torch.testing.assert_close(network(x, image), expected, rtol=1e-4, atol=1e-5)
    for fused in (True, False):
        optimizer = torch.optim.Adam(layers.parameters(), lr=0.1, fused=fused)
        derivatives(network, layers, x, image)
        optimizer.step()
        torch.testing.assert_close(network(x, image), layers(x.T, image.T).T)


@half
def test_only_models_of_which_all_is_compiled_prefer_half_precision():
    generator, critic = critic_of()
    assert in_half(generator, critic)
    assert not in_half(generator, critic_of(paint="convolution")[1])
    assert not in_half(generator, nn.Linear(1, 1))


def test_convolutions_and_normalised_weights_are_left_to_torch():
    generator, critic = critic_of(paint="convolution")
    assert critic.network is None
    assert generator.network is None
    normalise_spectrum(critic)
    assert critic.network is None


@compiled
def test_half_precision_is_left_to_torch_where_the_processor_has_none(monkeypatch):
    generator, critic = critic_of()
    view = critic.view(generator, tiny_showers()[:5])
    monkeypatch.setattr("hepgan.models.network.has_half", lambda: False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not critic.network.usable(view.real)
        assert critic.scores(view.real, view.context).shape == (5, 1)
