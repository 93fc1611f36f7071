"""Tables in the incident energy: interpolation, moments, quantiles."""

import numpy as np
import pytest
import torch

from hepgan.errors import DataError
from hepgan.transforms.energy import ConditionalMoments, ConditionalQuantile, EnergyNodes


def test_energy_nodes_sum_to_one_and_interpolate_linearly_in_log_energy():
    nodes = EnergyNodes(4)
    nodes.fit(torch.logspace(0, 3, 50))
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
    monkeypatch.setattr("hepgan.transforms.energy.is_exporting", lambda: True)
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


def test_few_energies_are_met_exactly():
    """The energies of the CaloChallenge: a width that differs from one to the next is not smeared by the table."""
    rng = torch.Generator().manual_seed(0)
    energies = 2.0 ** torch.arange(8, 23)
    energy = energies.repeat_interleave(1000)
    width = 1 + (torch.arange(15) % 2).repeat_interleave(1000)
    x = 20 + 3 * torch.log(energy)[:, None] + (width * torch.randn(15_000, generator=rng))[:, None]
    quantile = ConditionalQuantile(1)
    quantile.fit(x, energy, torch.ones(15_000))
    assert quantile.nodes.position(energies).tolist() == list(range(15))
    made = quantile.from_normal(torch.randn(15_000, 1, generator=rng), energy)
    for k, value in enumerate(energies):
        there, here = x[energy == value], made[energy == value]
        assert here.mean().item() == pytest.approx(there.mean().item(), abs=0.2)
        assert here.std().item() == pytest.approx(there.std().item(), rel=0.1), k


def test_nothing_lies_between_the_floor_and_the_smallest_deposit():
    rng = torch.Generator().manual_seed(0)
    n = 40_000
    energy = torch.exp(torch.rand(n, generator=rng) * 3)
    deposit = 0.7 + torch.exp(torch.randn(n, 2, generator=rng))  # a spectrum with an edge at 0.7
    hit = torch.rand(n, 2, generator=rng) < torch.stack(
        [energy / 30, torch.zeros(n)], 1
    )  # the second cell is dead
    x = torch.where(hit, deposit, 0.0)
    quantile = ConditionalQuantile(2)
    quantile.fit(x, energy, torch.ones(n))
    made = quantile.from_normal(torch.randn(n, 2, generator=rng), energy)
    assert (made[:, 1] < 0).all()
    assert not ((made > 0) & (made < 0.699)).any()
    for low, high in ((1, 2), (4, 6), (15, 20)):
        near = (energy > low) & (energy < high)
        data, share = (values[near, 0] > 0 for values in (x, made))
        assert share.float().mean().item() == pytest.approx(data.float().mean().item(), abs=0.03)
        for level in (0.02, 0.5, 0.9):
            data, got = (values[near, 0][values[near, 0] > 0].quantile(level).item() for values in (x, made))
            assert got == pytest.approx(data, rel=0.1)
    z = quantile.to_normal(x, energy)
    back = quantile.from_normal(z + 1e-5, energy)
    inside = hit & (z < 3)
    torch.testing.assert_close(back[inside], x[inside], rtol=2e-2, atol=1e-2)


def test_the_derivative_counts_events_that_cross_the_edge():
    """A shift of all normal numbers changes the mean as its derivative says, although most of it is a step."""
    n = 200_000
    rng = torch.Generator().manual_seed(0)
    energy = torch.full((n,), 10.0)
    x = torch.where(torch.rand(n, 1, generator=rng) < 0.3, 5 + torch.rand(n, 1, generator=rng), 0.0)
    quantile = ConditionalQuantile(1)
    quantile.fit(x[:20_000], energy[:20_000], torch.ones(20_000))
    z = torch.randn(n, 1, generator=rng).requires_grad_()
    deposits = torch.relu(quantile.from_normal(z, energy))
    (slope,) = torch.autograd.grad(deposits.mean() * n, z)
    with torch.no_grad():
        more, less = (torch.relu(quantile.from_normal(z + d, energy)).mean() for d in (0.05, -0.05))
    assert slope.mean().item() == pytest.approx((more - less).item() / 0.1, rel=0.15)


def test_entries_without_events_lie_between_their_neighbours():
    nodes = EnergyNodes(5)
    table = torch.tensor([[9.0], [1.0], [9.0], [3.0], [9.0]])
    assert nodes.filled(table, [1, 3])[:, 0].tolist() == [1, 1, 2, 3, 3]
    assert nodes.filled(table, [2])[:, 0].tolist() == [9] * 5


def test_too_few_events_are_named():
    energy = torch.linspace(1, 1000, 20)
    with pytest.raises(DataError, match=r"expected at least 30 of similar energy, got 20 spread over 16"):
        ConditionalQuantile(1).fit(torch.randn(20, 1), energy, torch.ones(20))
