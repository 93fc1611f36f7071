"""Energies of a shower to dimensionless variables and back."""

import numpy as np
import pytest
import torch

from hepgan.errors import DataError
from hepgan.geometry import Calorimeter
from hepgan.transforms.showers import ShowerScaling


@pytest.fixture
def calorimeter():
    layer = {"x": (-1.0, 1.0), "y": (-1.0, 1.0)}
    return Calorimeter.from_dicts(
        [
            {**layer, "shape": (2, 3), "z": (0.0, 1.0)},
            {**layer, "shape": (3, 2), "z": (1.0, 2.0)},
            {**layer, "shape": (1, 2), "z": (2.0, 3.0)},
        ]
    )


def showers(calorimeter, n=400, *, seed=0):
    """Showers with empty cells, empty layers and overflow; (cells, overflow, incident energy)."""
    rng = torch.Generator().manual_seed(seed)
    energy = torch.exp(torch.rand(n, generator=rng) * 3 + 6)
    cells = torch.rand(n, calorimeter.n_cells, generator=rng) ** 6 * energy[:, None] / 5
    cells[torch.rand(cells.shape, generator=rng) < 0.3] = 0
    cells[:20, calorimeter.slices()[2]] = 0
    overflow = torch.relu(torch.randn(n, calorimeter.n_layers, generator=rng))
    return cells, overflow, energy


@pytest.mark.parametrize("with_overflow", [True, False])
def test_shower_scaling_inverts(calorimeter, with_overflow):
    cells, overflow, energy = showers(calorimeter)
    overflow = overflow if with_overflow else overflow[:, :0]
    scaling = ShowerScaling(calorimeter, n_overflow=overflow.shape[1])
    scaling.fit(cells, overflow, torch.ones(len(cells)))
    back, over = scaling.inverse(scaling(cells, overflow, energy), energy)
    torch.testing.assert_close(back, cells, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(over, overflow, rtol=1e-3, atol=1e-3)
    assert scaling(cells, overflow, energy).shape[1] == scaling.n_variables
    # the main layer, which is the remainder, is the one with the most energy
    sums = torch.stack([cells[:, s].mean(0).sum() for s in calorimeter.slices()])
    assert scaling.order[-1] == int(sums.argmax())


def test_any_network_output_is_a_shower_with_the_right_sum(calorimeter):
    cells, overflow, energy = showers(calorimeter)
    scaling = ShowerScaling(calorimeter, n_overflow=3)
    scaling.fit(cells, overflow, torch.ones(len(cells)))
    rng = torch.Generator().manual_seed(5)
    variables = 3 * torch.randn(2000, scaling.n_variables, generator=rng)
    energy = torch.rand(2000, generator=rng) * 1e4 + 1
    cells, overflow = scaling.inverse(variables, energy)
    assert cells.min() >= 0
    assert overflow.min() >= 0
    assert (cells == 0).any()
    total = cells.double().sum(1) + overflow.double().sum(1)
    expected = torch.relu(variables[:, 0]).double() * energy.double()
    np.testing.assert_allclose(total.numpy(), expected.numpy(), rtol=1e-4, atol=1e-3)


def test_shower_scaling_state_keeps_the_order_of_layers(calorimeter):
    cells, overflow, energy = showers(calorimeter)
    scaling = ShowerScaling(calorimeter, n_overflow=3)
    scaling.fit(cells, overflow, torch.ones(len(cells)))
    restored = ShowerScaling(calorimeter, n_overflow=3)
    restored.load_state_dict(scaling.state_dict())
    assert restored.order == scaling.order
    torch.testing.assert_close(restored(cells, overflow, energy), scaling(cells, overflow, energy))


def test_only_empty_cells_are_an_error(calorimeter):
    zero = torch.zeros(10, calorimeter.n_cells)
    with pytest.raises(DataError, match="expected deposits, got only zeros"):
        ShowerScaling(calorimeter, n_overflow=0).fit(zero, zero[:, :0], torch.ones(10))
