"""Objectives: hand-computed losses and penalties."""

import math

import pytest
import torch

from hepgan.objectives import OBJECTIVES, energy_distance, energy_score, expectation, gradient_penalty


def test_expectation_with_doubled_event_equals_weight_two():
    values = torch.tensor([1.0, 4.0, 4.0])
    weights = torch.tensor([1.0, 2.0])
    assert expectation(values[:2], weights / weights.mean()).item() == pytest.approx(values.mean().item())


@pytest.mark.parametrize("slope", [0.0, 1.0, 3.0])
def test_penalty_of_a_linear_critic(slope):
    direction = torch.tensor([0.6, 0.8])
    real, fake = torch.randn(16, 2), torch.randn(16, 2)
    value = gradient_penalty(
        lambda x: slope * x @ direction,
        real,
        fake,
        torch.ones(16),
        generator=torch.Generator().manual_seed(0),
    )
    assert value.item() == pytest.approx((slope - 1) ** 2, abs=1e-5)


def test_penalty_mixes_uniformly_on_the_line_between_the_events_of_a_row():
    seen = []
    real, fake = torch.ones(4000, 1), torch.zeros(4000, 1)

    def critic(x):
        seen.append(x.detach())
        return x[:, 0]

    gradient_penalty(critic, real, fake, torch.ones(4000), generator=torch.Generator().manual_seed(0))
    u = seen[0]
    assert 0 <= u.min() < 0.01
    assert 0.99 < u.max() <= 1
    assert u.mean().item() == pytest.approx(0.5, abs=4 / (12 * 4000) ** 0.5)
    assert u.var().item() == pytest.approx(1 / 12, rel=0.1)


def test_penalty_honours_weights_and_has_a_gradient_for_the_critic():
    # |grad| is |2 x|: the event at x = 0 pays 1, the one at x = 1 pays 1, the one at 0.5 nothing
    real = torch.tensor([[0.0], [0.5], [1.0]])
    scale = torch.tensor(1.0, requires_grad=True)
    weights = torch.tensor([0.0, 3.0, 0.0])
    value = gradient_penalty(
        lambda x: scale * (x**2)[:, 0], real, real, weights, generator=torch.Generator().manual_seed(0)
    )
    assert value.item() == pytest.approx(0, abs=1e-6)
    value = gradient_penalty(
        lambda x: scale * (x**2)[:, 0], real, real, torch.ones(3), generator=torch.Generator().manual_seed(0)
    )
    assert value.item() == pytest.approx(2 / 3, abs=1e-6)
    value.backward()
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx((2 * (2 - 1) * 2) / 3, abs=1e-5)


def test_negative_weights_do_not_reward_a_steep_critic():
    x = torch.randn(8, 2)
    arguments = (x, x, -torch.ones(8))
    value = gradient_penalty(lambda x: 5 * x[:, 0], *arguments, generator=torch.Generator().manual_seed(0))
    assert value.item() == pytest.approx(16, abs=1e-4)


def test_energy_distance_has_its_closed_form_for_shifted_gaussians():
    """E|X - X'| = 2 / sqrt(pi) for standard normal numbers, and 2 E|X - Y| - E|X - X'| - E|Y - Y'| is zero at home."""
    rng = torch.Generator().manual_seed(0)
    x, g, other = (torch.randn(200_000, 1, generator=rng) for _ in range(3))
    ones = torch.ones(200_000)
    own = 2 / math.sqrt(math.pi)
    assert energy_distance(x, g, other, ones).item() == pytest.approx(own, abs=0.01)
    # E|N(m, 2)| = 2/sqrt(pi) exp(-m^2/4) + m erf(m/2)
    shifted = 2 * (own * math.exp(-1 / 4) + math.erf(1 / 2)) - own
    assert energy_distance(x, g + 1, other + 1, ones).item() == pytest.approx(shifted, abs=0.01)
    assert energy_distance(x, 0.5 * g, 0.5 * other, ones).item() > own  # too narrow costs as well
    assert energy_distance(x, 2 * g, 2 * other, ones).item() > own


def test_energy_score_counts_each_coordinate_once_more():
    rng = torch.Generator().manual_seed(0)
    x, g, other = (torch.randn(64, 3, generator=rng) for _ in range(3))
    weights = torch.rand(64, generator=rng) - 0.2
    each = [energy_distance(*(t[:, k : k + 1] for t in (x, g, other)), weights) for k in range(3)]
    total = energy_distance(x, g, other, weights) + sum(each)
    assert energy_score(x, g, other, weights).item() == pytest.approx(float(total), rel=1e-4)
