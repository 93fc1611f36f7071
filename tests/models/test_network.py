"""Critics that are compiled into one function, and those that are not; their numbers are in test_contract."""

import torch
from tiny_generator import tiny_calo_generator, tiny_showers

from hepgan.config import CaloModelConfig
from hepgan.models import CaloCritic
from hepgan.models.spectral_norm import normalise_spectrum

SIZES = {"width": 8, "depth": 1, "channels": 2, "critic_width": 8, "critic_channels": 2}


def critic_of(**options):
    model = CaloModelConfig(**SIZES, **options)
    generator = tiny_calo_generator(model)
    critic = CaloCritic(generator, model)
    critic.fit(generator, tiny_showers())
    return generator, critic


def test_locally_connected_critics_are_compiled():
    generator, critic = critic_of()
    view = critic.view(generator, tiny_showers()[:5])
    assert critic._network is not None
    assert critic._network.usable(view.real)
    assert not critic._network.usable(view.real.double())
    assert len(critic._network.parameters) == len([*critic.parameters()])


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


def test_convolutions_and_normalised_weights_are_left_to_torch():
    _, critic = critic_of(paint="convolution")
    assert critic._network is None
    normalise_spectrum(critic)
    assert critic._network is None


def test_autocast_is_left_to_torch():
    generator, critic = critic_of()
    view = critic.view(generator, tiny_showers()[:5])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not critic._network.usable(view.real)
