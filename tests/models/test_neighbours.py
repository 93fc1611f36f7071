"""Neighbouring cells: the correlation that is asked for, of neighbours only, and found again from events."""

import pytest
import torch

from hepgan.geometry import CaloLayer, Calorimeter
from hepgan.models.neighbours import Neighbours, _averaged

SHAPE, EVENTS = (6, 5), 20_000


def calorimeter():
    layer = CaloLayer(name="a", shape=SHAPE, x=(-1.0, 1.0), y=(-1.0, 1.0), z=(0.0, 1.0))
    return Calorimeter(layers=(layer,), unit="MeV")


def numbers(*, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(30, EVENTS, generator=rng), 4 * torch.rand(1, EVENTS, generator=rng)


def test_numbers_stay_standard_normal_and_only_neighbours_are_correlated():
    module = Neighbours(calorimeter(), nodes=2)
    module.angle.copy_(torch.asin(2 * torch.tensor([0.4, -0.2]))[None, :, None] / 2)
    own, logs = numbers()
    (made,) = module(own, logs)
    covariance = torch.cov(made).reshape(*SHAPE, *SHAPE)
    own = torch.diagonal(torch.diagonal(covariance, dim1=0, dim2=2), dim1=0, dim2=1)
    torch.testing.assert_close(own, torch.ones_like(own), rtol=0, atol=0.05)
    expected = {(0, 0): 1.0, (1, 0): 0.4, (2, 0): 0.0, (0, 1): -0.2, (0, 2): 0.0, (1, 1): -0.08}
    for (i, j), value in expected.items():
        found = covariance[2, 2, 2 + i, 2 + j]
        torch.testing.assert_close(found, torch.tensor(value), rtol=0, atol=0.04)


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_kernel_does_what_torch_does(axis, wrap):
    rng = torch.Generator().manual_seed(3)
    image, (cosine, sine) = torch.randn(4, 3, 37, generator=rng), torch.randn(2, 37, generator=rng)
    plain = _averaged(image.double(), cosine.double(), sine.double(), axis, wrap=wrap)
    compiled = _averaged(image, cosine, sine, axis, wrap=wrap)
    torch.testing.assert_close(compiled.double(), plain, rtol=1e-6, atol=1e-6)
    expected = cosine * image + sine * image.roll(-1, axis)
    if not wrap:
        expected.select(axis, -1).copy_(image.select(axis, -1))
    torch.testing.assert_close(compiled, expected)


@pytest.mark.parametrize("threshold", [-9.0, 1.0])
def test_fit_finds_the_correlations_of_events_in_full_and_in_sparse_layers(threshold):
    truth = Neighbours(calorimeter(), nodes=2)
    own, logs = numbers(seed=1)
    truth.nodes.fit(logs)
    wanted = torch.tensor([[[0.4, 0.1], [0.2, 0.3]]])
    truth.angle.copy_(torch.asin(2 * wanted) / 2)
    excess = torch.relu(truth(own, logs)[0] - threshold)
    found = Neighbours(calorimeter(), nodes=2)
    other, other_logs = numbers(seed=2)

    def start():
        return other_logs, torch.relu(found(other, other_logs)[0] - threshold)

    found.fit(logs, excess, torch.ones(EVENTS), start)
    torch.testing.assert_close(torch.sin(2 * found.angle) / 2, wanted, rtol=0, atol=0.06)


def test_events_that_are_too_few_leave_the_numbers_independent():
    module = Neighbours(calorimeter())
    own, logs = (x[:, :50] for x in numbers())
    module.fit(logs, torch.relu(own), torch.ones(50), lambda: (logs, torch.relu(own)))
    assert (module.angle == 0).all()
