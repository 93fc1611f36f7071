"""The factor copula against covariances that are known."""

import pytest
import torch

from hepgan.models import copula as module
from hepgan.models.copula import FactorCopula, censored_factor_model, factor_model


def truth(variables=10, factors=2, *, seed=0):
    """Loadings and noise of variables of variance one."""
    rng = torch.Generator().manual_seed(seed)
    loadings, noise = (
        torch.randn(variables, factors, generator=rng),
        0.5 + torch.rand(variables, generator=rng),
    )
    scale = (loadings.square().sum(1) + noise**2).sqrt()
    return loadings / scale[:, None], noise / scale


def sample(loadings, noise, n, *, seed=1):
    rng = torch.Generator().manual_seed(seed)
    g = torch.randn(n, loadings.shape[1], generator=rng)
    return g @ loadings.T + torch.randn(n, len(noise), generator=rng) * noise


def covariance(loadings, noise):
    return loadings @ loadings.T + torch.diag(noise**2)


def test_factor_model_recovers_its_own_covariance():
    expected = truth()
    result = factor_model(sample(*expected, 100_000), 2)
    torch.testing.assert_close(covariance(*result), covariance(*expected), atol=0.02, rtol=0)
    torch.testing.assert_close(result[1], expected[1], atol=0.03, rtol=0)


def test_more_factors_than_variables_are_zero():
    loadings, noise = factor_model(sample(*truth(3, 1), 5000), 6)
    assert loadings.shape == (3, 6)
    assert (loadings[:, 3:] == 0).all()
    assert noise.isfinite().all()


def test_censored_values_do_not_dilute_the_correlations():
    expected = truth()
    z = sample(*expected, 20_000)
    threshold = torch.linspace(-1, 1.5, 10)  # from 16 % to 93 % empty
    censored = z < threshold
    rng = torch.Generator().manual_seed(2)
    result = censored_factor_model(torch.maximum(z, threshold), censored, 2, rng=rng, sweeps=20)
    naive = censored_factor_model(torch.maximum(z, threshold), censored, 2, rng=rng, sweeps=0)
    off = ~torch.eye(10, dtype=torch.bool)

    def error(fit):
        return (covariance(*fit) - covariance(*expected))[off].abs().mean().item()

    assert error(result) < 0.03
    assert error(result) < 0.3 * error(naive)
    torch.testing.assert_close(covariance(*result).diagonal(), torch.ones(10))


def test_correlations_follow_the_energy_and_stay_normal_between():
    n = 30_000
    rng = torch.Generator().manual_seed(0)
    energy = torch.exp(torch.rand(n, generator=rng) * 4)
    rho = torch.log(energy) / 4  # two variables, correlated more and more
    a, b = torch.randn(n, generator=rng), torch.randn(n, generator=rng)
    z = torch.stack([a, rho * a + (1 - rho**2).sqrt() * b], 1)
    copula = FactorCopula(2, 1, nodes=5)
    copula.fit(z, torch.zeros(n, 2, dtype=torch.bool), energy, torch.ones(n), rng=rng)
    for middle in (0.15, 0.5, 0.8):  # also between two nodes
        at = torch.full((50_000,), 4 * middle).exp()
        own = torch.randn(2, 50_000, generator=rng)
        with torch.no_grad():
            x = copula(torch.randn(50_000, 1, generator=rng), own, at)
        assert torch.corrcoef(x)[0, 1].item() == pytest.approx(middle, abs=0.06)
        assert x.std(1).tolist() == pytest.approx([1, 1], abs=0.06)


def test_weights_choose_the_events():
    rng = torch.Generator().manual_seed(0)
    n = 20_000
    energy = torch.exp(torch.rand(n, generator=rng) * 4)
    z = torch.randn(n, 2, generator=rng)
    z[: n // 2, 1] = z[: n // 2, 0]  # wholly correlated, without weight
    weights = (torch.arange(n) >= n // 2).float()
    copula = FactorCopula(2, 1)
    copula.fit(z, torch.zeros(n, 2, dtype=torch.bool), energy, weights, rng=rng)
    with torch.no_grad():
        own = torch.randn(2, n, generator=rng)
        x = copula(torch.randn(n, 1, generator=rng), own, energy)
    assert abs(torch.corrcoef(x)[0, 1].item()) < 0.05


def by_full_decomposition(z, factors, *, iterations=10):
    """The textbook iteration: all eigenvectors of the (V, V) covariance."""
    covariance = torch.cov(z.double().T)
    variance = 0.5 * covariance.diagonal()
    for _ in range(iterations):
        scale = variance.sqrt()
        values, vectors = torch.linalg.eigh(covariance / scale / scale[:, None])
        loadings = scale[:, None] * vectors[:, -factors:] * (values[-factors:] - 1).clamp(min=0).sqrt()
        variance = (covariance.diagonal() - loadings.square().sum(1)).clamp(min=0.01)
    return loadings.float(), variance.sqrt().float()


@pytest.mark.parametrize("events", [40, 300])
def test_fewer_events_than_variables_and_many_variables_give_the_same_model(events, monkeypatch):
    z = sample(*truth(120, 3), events)
    monkeypatch.setattr(module, "_MANY", 60)  # the leading eigenvectors alone
    torch.testing.assert_close(
        covariance(*factor_model(z, 3)), covariance(*by_full_decomposition(z, 3)), atol=2e-5, rtol=0
    )
    loadings, _ = factor_model(z[:10], 20)
    assert (loadings[:, 10:] == 0).all(), "ten events know at most ten directions"


def test_a_long_fit_is_announced_with_what_shortens_it(monkeypatch, caplog):
    module._announce([160, 7000], 500)
    assert caplog.text == ""
    with caplog.at_level("INFO", logger="hepgan"):
        module._announce([7000, 7000, 7000], 40_000)
    assert "correlations of 40000 variables at 3 energies: about " in caplog.text
    assert ' GB; model.statistics = "layers" starts without them, data.max_events takes fewer' in caplog.text
