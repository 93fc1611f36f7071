import numpy as np
import pytest
import torch

from hepgan.metrics.critic import wasserstein_critic

QUICK = {"steps": 150, "batch_size": 256, "width": 64, "depth": 2, "learning_rate": 1e-3}


@pytest.fixture
def rng():
    return np.random.default_rng(43)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_shifted_gaussians(rng, shift):
    """The distance of equal Gaussians is their shift; in units of the reference's spread, here 4."""
    x, y = rng.normal(10, 4, (20000, 5)), rng.normal(10, 4, (20000, 5))
    y[:, 2] += 4 * shift
    result = wasserstein_critic(y, x, rng=rng, **{**QUICK, "steps": 400, "batch_size": 512})
    assert result.value == pytest.approx(shift, rel=0.1)
    assert result.value > 8 * result.uncertainty
    # the penalty is paid for a slope of 1 + shift / (2 lambda)
    assert result.excess == pytest.approx(1 + shift / 20, abs=0.04)
    assert result.gradient_norm <= result.excess < result.steepest
    assert 0.7 * shift < result.bound[0] < shift
    assert result.measurement == (result.value, result.uncertainty)


def test_parallel_lines(rng):
    """Example 1 of arXiv:1701.07875: two lines at a distance, on which f-divergences see nothing but difference."""
    for distance in (0.5, 1.0):
        x = np.column_stack([np.zeros(2000), rng.uniform(size=2000)])
        y = np.column_stack([np.full(2000, distance), rng.uniform(size=2000)])
        result = wasserstein_critic(y, x, rng=rng, **QUICK)
        assert result.value == pytest.approx(distance, rel=0.1)


def test_a_sample_that_is_wider(rng):
    # equal means: no linear function sees it; the distance of radii |x| and 1.5 |x|
    x, y = rng.normal(size=(6000, 2)), rng.normal(0, 1.5, (6000, 2))
    result = wasserstein_critic(y, x, rng=rng, **{**QUICK, "steps": 300})
    assert result.value == pytest.approx(0.5 * np.sqrt(np.pi / 2), rel=0.1)


def test_halves_of_a_sample_agree(rng):
    """Zero of either sign, within the uncertainty: there is no floor."""
    results = [
        wasserstein_critic(
            rng.normal(size=(600, 3)), rng.normal(size=(600, 3)), rng=rng, **{**QUICK, "steps": 40}
        )
        for _ in range(12)
    ]
    pulls = np.array([r.value / r.uncertainty for r in results])
    assert (np.abs(pulls) < 3).all()
    assert np.std(pulls) > 0.3
    assert min(pulls) < 0 < max(pulls)
    values, uncertainties = np.array([r.measurement for r in results]).T
    assert 0.6 < uncertainties.mean() / np.sqrt(np.mean(values**2)) < 2  # the larger of two estimates
    # no function of slope 1 spreads more than the events do along its steepest way
    assert uncertainties.mean() < np.sqrt(2 / 600)


def test_weight_two_is_an_event_twice_on_average(rng):
    x, y = rng.normal(size=(3000, 2)), rng.normal(size=(3000, 2))
    y[:1000] += 1.5
    weights = np.where(np.arange(3000) < 1000, 2.0, 1.0)
    weighted = wasserstein_critic(y, x, rng=rng, sample_weights=weights, **QUICK)
    doubled = wasserstein_critic(np.concatenate([y, y[:1000]]), x, rng=rng, **QUICK)
    ignored = wasserstein_critic(y, x, rng=rng, **QUICK)
    difference = 3 * np.hypot(weighted.uncertainty, doubled.uncertainty)
    assert weighted.value == pytest.approx(doubled.value, abs=difference)
    assert weighted.value - ignored.value > difference  # half of the sample is shifted, not a third
    assert wasserstein_critic(
        y, x, rng=np.random.default_rng(2), sample_weights=2 * weights, **QUICK
    ).value == pytest.approx(
        wasserstein_critic(y, x, rng=np.random.default_rng(2), sample_weights=weights, **QUICK).value,
        rel=1e-3,
    )


def test_negative_weights_subtract(rng):
    signal, background = rng.normal(size=(4000, 2)), rng.normal(2, 1, (4000, 2))
    polluted = np.concatenate([signal, rng.normal(2, 1, (4000, 2)), background])
    weights = np.concatenate([np.ones(8000), -np.ones(4000)])
    reference = rng.normal(size=(4000, 2))
    result = wasserstein_critic(polluted, reference, rng=rng, sample_weights=weights, **QUICK)
    assert abs(result.value) < 4 * result.uncertainty < 0.5
    assert wasserstein_critic(polluted[:8000], reference, rng=rng, **QUICK).value > 1


def test_same_seed_same_numbers_and_no_global_seed(rng):
    x, y = rng.normal(size=(100, 2)), rng.normal(size=(100, 2))
    quick = {**QUICK, "steps": 10}
    state = torch.get_rng_state()
    first, second = (wasserstein_critic(y, x, rng=np.random.default_rng(5), **quick) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)  # whatever else draws from torch does not matter
    assert first == second == wasserstein_critic(y, x, rng=np.random.default_rng(5), **quick)
    assert first != wasserstein_critic(y, x, rng=np.random.default_rng(6), **quick)


def test_progress_reaches_the_end(rng):
    seen = []
    x = rng.normal(size=(50, 2))
    quick = {**QUICK, "steps": 5}
    wasserstein_critic(x, x, rng=rng, progress=lambda done, total: seen.append((done, total)), **quick)
    assert seen == [(n, 10) for n in range(1, 11)]


def test_bad_samples(rng):
    x = rng.normal(size=(50, 2))
    with pytest.raises(ValueError, match="got 1 columns in the sample and 2 in the reference; select"):
        wasserstein_critic(x[:, :1], x, rng=rng)
    with pytest.raises(ValueError, match=r"sample: expected at least 20 events.*got 19; take more events"):
        wasserstein_critic(x[:19], x, rng=rng)
    with pytest.raises(ValueError, match="reference: expected weights with a positive sum, got -50"):
        wasserstein_critic(x, x, rng=rng, reference_weights=-np.ones(50))
    weights = np.where(np.arange(50) == 0, 100.0, -1.0)  # the half without the large one is negative
    with pytest.raises(ValueError, match="half of the sample: expected weights with a positive sum"):
        wasserstein_critic(x, x, rng=rng, sample_weights=weights)
