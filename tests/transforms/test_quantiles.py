"""Weighted quantiles, and the quantile transform of targets: invertible, normal, and periodic for angles."""

import numpy as np
import pytest
import torch

from hepgan.errors import DataError
from hepgan.transforms.angles import TURN, from_periodic, wrapped
from hepgan.transforms.quantiles import QuantileScaling, weighted_quantiles


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
    with pytest.raises(DataError, match=r"weights: expected a positive sum, got -60000"):
        weighted_quantiles(signal, -torch.ones(60_000), torch.tensor([0.5]))


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
    assert scaling.periodic_targets == [0, 1, 0]
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
    back = from_periodic(longer, scaling.angles, scaling.winding)
    torch.testing.assert_close(scaling.periodic(back), numbers, atol=1e-4, rtol=0)
    torch.testing.assert_close(back[:, 1], z[:, 1])
    plain = QuantileScaling(["quantile", "log"])
    z = torch.randn(5, 2)
    assert plain.periodic(z) is z


@pytest.mark.parametrize("values", [[0.0, 90.0, 359.0], [-1.0, 3.0, 6.0]])
def test_angles_of_more_than_a_turn_are_refused(values):
    column = torch.tensor(values)[:, None]
    scaling = QuantileScaling(["angle"])
    with pytest.raises(
        DataError, match=r"target 1: expected angles from 0 to 2 pi, or .* got .* such as 0\.0174533"
    ):
        scaling.fit(column, torch.ones(3), torch.ones(3, 1, dtype=torch.bool))
