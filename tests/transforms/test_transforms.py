"""Transforms: invertible, conserving, and normal where they promise it."""

import numpy as np
import pytest
import torch

from hepgan.config import ConditionConfig
from hepgan.geometry import Calorimeter
from hepgan.transforms.conditions import ConditionScaling
from hepgan.transforms.energy import ConditionalMoments, ConditionalQuantile, EnergyNodes
from hepgan.transforms.quantiles import (
    QuantileScaling,
    weighted_quantiles,
    wound,
    wrapped,
)
from hepgan.transforms.showers import ShowerScaling

TURN = 2 * np.pi


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


def test_weighted_quantiles_of_a_normal():
    x = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(1))
    p = torch.special.ndtr(torch.tensor([-2.0, -1, 0, 1, 2]))
    q = weighted_quantiles(x, torch.ones(len(x)), p)[:, 0]
    torch.testing.assert_close(q, torch.tensor([-2.0, -1, 0, 1, 2]), atol=0.03, rtol=0)


def test_weight_two_equals_two_events():
    x = torch.arange(50.0)[:, None] ** 1.5
    weights = 1 + (torch.arange(50) % 2).float()
    p = torch.linspace(0.1, 0.9, 9)
    doubled = torch.cat([x, x[1::2]])
    a, b = weighted_quantiles(x, weights, p), weighted_quantiles(doubled, torch.ones(75), p)
    assert (a - b).abs().max() < 8  # steps of the sample are up to 10 wide at the top; the value is over 300
    assert weighted_quantiles(x, weights, torch.tensor([0.5]))[0, 0] == pytest.approx(
        float(b[4, 0]), rel=0.03
    )


def test_negative_weights_subtract():
    rng = torch.Generator().manual_seed(2)
    signal, background = torch.randn(60_000, 1, generator=rng), 3 + torch.randn(30_000, 1, generator=rng)
    x = torch.cat([signal, background, 3 + torch.randn(30_000, 1, generator=rng)])
    weights = torch.cat([torch.ones(90_000), -torch.ones(30_000)])
    q = weighted_quantiles(x, weights, torch.tensor([0.16, 0.5, 0.84]))[:, 0]
    torch.testing.assert_close(q, torch.tensor([-1.0, 0, 1]), atol=0.1, rtol=0)
    with pytest.raises(ValueError, match=r"weights: expected a positive sum, got -60000"):
        weighted_quantiles(signal, -torch.ones(60_000), torch.tensor([0.5]))


def test_condition_scaling_standardises():
    rng = torch.Generator().manual_seed(0)
    condition = torch.stack(
        [torch.exp(torch.randn(5000, generator=rng) * 2), torch.randn(5000, generator=rng) * 7], 1
    )
    scaling = ConditionScaling(
        [ConditionConfig(name="p", transform="log"), ConditionConfig(name="eta", transform="linear")]
    )
    scaling.fit(condition, torch.ones(5000))
    x = scaling(condition)
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(2), atol=1e-3, rtol=0)


def test_energy_nodes_sum_to_one_and_interpolate_linearly_in_log_energy():
    nodes = EnergyNodes(4)
    nodes.fit(torch.tensor([1.0, 1000.0]))
    energy = torch.tensor([0.1, 1.0, 10.0, 31.6228, 1000.0, 5000.0])
    weights = nodes(energy)
    torch.testing.assert_close(weights.sum(1), torch.ones(6))
    torch.testing.assert_close(weights[2], torch.tensor([0.0, 1, 0, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(weights[3], torch.tensor([0.0, 0.5, 0.5, 0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(weights[0], weights[1])  # beyond the range the edge's entry is used
    torch.testing.assert_close(weights[5], weights[4])


def test_conditional_moments_remove_energy_dependence():
    rng = torch.Generator().manual_seed(0)
    energy = torch.exp(torch.rand(40_000, generator=rng) * 4)
    x = torch.log(energy)[:, None] * 3 + torch.randn(40_000, 1, generator=rng) * energy[:, None].sqrt()
    moments = ConditionalMoments(1)
    moments.fit(x, energy, torch.ones(40_000))
    for low, high in ((1, 3), (3, 12), (12, 54)):
        residual = moments(x, energy)[(energy > low) & (energy < high)]
        assert residual.mean().abs() < 0.05
        assert residual.std() == pytest.approx(1, abs=0.05)


def test_a_constant_variable_keeps_its_unit():
    energy = torch.linspace(1, 50, 1000)
    x = torch.cat([torch.ones(1000, 1), torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))], 1)
    moments = ConditionalMoments(2)
    moments.fit(x, energy, torch.ones(1000))
    assert moments(x, energy)[:, 0].abs().max() < 1e-3
    assert moments(x - 0.2, energy)[:, 0].mean().item() == pytest.approx(-0.2, abs=1e-3)


def test_conditional_quantile_is_normal_at_every_energy_and_inverts():
    rng = torch.Generator().manual_seed(0)
    n = 60_000
    energy = torch.exp(torch.rand(n, generator=rng) * 3)
    noise = torch.randn(n, generator=rng)
    x = (torch.log(energy) + torch.exp(0.5 * noise))[:, None]  # lognormal whose place follows the energy
    quantile = ConditionalQuantile(1)
    quantile.fit(x, energy, torch.ones(n))
    z = quantile.to_normal(x, energy)
    for low, high in ((1, 2), (5, 8), (15, 20)):
        near = (energy > low) & (energy < high)
        assert z[near].mean().abs() < 0.05
        assert z[near].std() == pytest.approx(1, abs=0.05)
    inside = z[:, 0].abs() < 3
    torch.testing.assert_close(quantile.from_normal(z, energy)[inside], x[inside], rtol=1e-3, atol=1e-3)
    ordered = quantile.from_normal(torch.linspace(-4, 4, 100)[:, None], torch.full((100,), 7.0))
    assert (ordered.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("empty", [0.0, 0.2, 0.95, 1.0])
def test_conditional_quantile_keeps_the_share_of_empty_cells(empty):
    rng = torch.Generator().manual_seed(0)
    n = 60_000
    energy = torch.exp(torch.rand(n, generator=rng) * 3)
    x = torch.exp(torch.randn(n, 1, generator=rng))
    x[torch.rand(n, generator=rng) < empty] = 0
    quantile = ConditionalQuantile(1)
    quantile.fit(x, energy, torch.ones(n))
    generated = torch.relu(quantile.from_normal(torch.randn(n, 1, generator=rng), energy))
    assert (generated == 0).float().mean().item() == pytest.approx(empty, abs=0.006)
    if empty < 1:
        kept, made = x[x > 0], generated[generated > 0]
        assert made.median().item() == pytest.approx(kept.median().item(), rel=0.1)


def test_exported_interpolation_is_the_same(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    energy = torch.exp(torch.rand(3000, generator=rng) * 3)
    quantile = ConditionalQuantile(2)
    quantile.fit(torch.randn(3000, 2, generator=rng), energy, torch.ones(3000))
    z = 1.6 * torch.randn(500, 2, generator=rng)
    expected = quantile.from_normal(z, energy[:500])
    monkeypatch.setattr("hepgan.transforms.quantiles.exporting", lambda: True)
    torch.testing.assert_close(quantile.from_normal(z, energy[:500]), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("energies", [[50.0], [1.0, 1000.0]])
def test_test_beams_of_one_and_two_energies(energies):
    rng = torch.Generator().manual_seed(0)
    energy = torch.tensor(energies).repeat_interleave(2000)
    x = 9 + 3 * torch.log(energy)[:, None] + torch.randn(len(energy), 1, generator=rng)
    quantile = ConditionalQuantile(1)
    quantile.fit(x, energy, torch.ones(len(energy)))
    for value in energies:
        at = torch.full((20_000,), value)
        made = quantile.from_normal(torch.randn(20_000, 1, generator=rng), at)
        assert made.mean().item() == pytest.approx(9 + 3 * np.log(value), abs=0.15)
        assert made.std().item() == pytest.approx(1, abs=0.1)


def test_entries_without_events_lie_between_their_neighbours():
    nodes = EnergyNodes(5)
    table = torch.tensor([[9.0], [1.0], [9.0], [3.0], [9.0]])
    assert nodes.filled(table, [1, 3])[:, 0].tolist() == [1, 1, 2, 3, 3]
    assert nodes.filled(table, [2])[:, 0].tolist() == [9] * 5


def test_too_few_events_are_named():
    energy = torch.linspace(1, 1000, 20)
    with pytest.raises(ValueError, match=r"expected at least 30 of similar energy, got 20 spread over 9"):
        ConditionalQuantile(1).fit(torch.randn(20, 1), energy, torch.ones(20))


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
    with pytest.raises(ValueError, match="expected deposits, got only zeros"):
        ShowerScaling(calorimeter, n_overflow=0).fit(zero, zero[:, :0], torch.ones(10))


def directions(n=20_000, *, seed=0):
    """Angles from 0 to 2 pi, dense on both sides of the seam, and a number that is no angle: (n, 2)."""
    rng = np.random.default_rng(seed)
    angle = rng.vonmises(0, 4, n) % TURN
    return torch.from_numpy(np.stack([np.minimum(angle, 6.2831), rng.normal(3, 2, n)], 1)).float()


def fitted_to(values):
    scaling = QuantileScaling(["angle", "quantile"])
    scaling.fit(values, torch.ones(len(values)), torch.ones_like(values, dtype=torch.bool))
    return scaling


@pytest.mark.parametrize("start", [0.0, -np.pi])
def test_angles_come_back_in_the_turn_of_the_data(start):
    values = directions()
    values[:, 0] = wrapped(values[:, 0], start)
    scaling = fitted_to(values)
    z = scaling.to_normal(values)
    assert z.std(0).numpy() == pytest.approx(1, abs=0.02)  # one peak, not two halves of one
    torch.testing.assert_close(scaling.from_normal(z), values, atol=2e-5, rtol=0)
    anywhere = 50 * torch.randn(100_000, 2, generator=torch.Generator().manual_seed(1))
    angle = scaling.from_normal(anywhere)[:, 0].double()
    assert start - 1e-6 < float(angle.min()) < start + 0.01
    assert start + TURN - 0.01 < float(angle.max()) < start + TURN
    again = QuantileScaling(["angle", "quantile"])
    again.load_state_dict(scaling.state_dict())
    assert torch.equal(again.from_normal(anywhere), scaling.from_normal(anywhere))


def test_periodic_numbers_have_no_seam():
    scaling = fitted_to(directions())
    assert scaling.seen == [0, 1, 0]
    angle = torch.linspace(0, TURN, 1001)[:-1]
    numbers = scaling.periodic(scaling.to_normal(torch.stack([angle, torch.full_like(angle, 3.0)], 1)))
    step = np.sqrt(2) * TURN / 1000  # on a circle of radius sqrt(2)
    ways = torch.linalg.vector_norm(
        numbers - numbers.roll(1, 0), dim=1
    )  # from the last angle to the first as well
    torch.testing.assert_close(ways, torch.full_like(ways, step), rtol=0.01, atol=0)
    lengths = torch.linspace(0.1, 9, 1000)[:, None]
    z = scaling.to_normal(torch.stack([angle, torch.full_like(angle, 3.0)], 1))
    longer = torch.cat([lengths, torch.ones_like(lengths), lengths], 1) * numbers
    back = wound(longer, scaling.angles, scaling.winding)
    torch.testing.assert_close(scaling.periodic(back), numbers, atol=1e-4, rtol=0)
    torch.testing.assert_close(back[:, 1], z[:, 1])
    plain = QuantileScaling(["quantile", "log"])
    z = torch.randn(5, 2)
    assert plain.periodic(z) is z


def test_a_turn_does_not_contain_its_end():
    angles = torch.tensor([-1e-9, 0.0, TURN, 2 * TURN, -TURN, -1e-3, 3.0])
    for start in (0.0, -np.pi, 1.0):
        found = wrapped(angles, start).double()
        assert ((found >= start - 1e-6) & (found < start + TURN)).all()
        torch.testing.assert_close(torch.cos(found), torch.cos(angles.double()), atol=2e-6, rtol=0)


@pytest.mark.parametrize("values", [[0.0, 90.0, 359.0], [-1.0, 3.0, 6.0]])
def test_angles_of_more_than_a_turn_are_refused(values):
    column = torch.tensor(values)[:, None]
    scaling = QuantileScaling(["angle"])
    with pytest.raises(
        ValueError, match=r"target 1: expected angles from 0 to 2 pi, or .* got .* such as 0\.0174533"
    ):
        scaling.fit(column, torch.ones(3), torch.ones(3, 1, dtype=torch.bool))
