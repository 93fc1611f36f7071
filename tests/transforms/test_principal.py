"""Principal components: no correlations, unit spread, and no rounding blown up."""

import pytest
import torch

from hepgan.transforms.principal import PrincipalComponents


@pytest.fixture
def thin():
    """Features of which the third is nearly the sum of the others, and the fourth exactly their difference."""
    x, y, noise = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(3))
    return torch.stack([x, y, x + y + 0.3 * noise, x - y], 1) + 5.0


def test_components_are_uncorrelated_with_unit_spread(thin):
    components = PrincipalComponents(4)
    components.fit(thin, torch.ones(len(thin)))
    y = components(thin)
    assert y.mean(0) == pytest.approx(torch.zeros(4), abs=1e-3)
    covariance = torch.cov(y.T)
    # the exact relation has no spread, and gets none
    assert covariance == pytest.approx(torch.diag(torch.tensor([0.0, 1.0, 1.0, 1.0])), abs=2e-3)


def test_a_sample_off_the_sheet_stands_out_in_one_component_only(thin):
    components = PrincipalComponents(4)
    components.fit(thin, torch.ones(len(thin)))
    off = thin.clone()
    off[:, 2] += 0.3  # a sixth of its spread, one spread of the sheet
    moved = (components(off) - components(thin)).mean(0).abs()
    assert moved.max() > 0.9
    assert moved.sort().values[:-1].max() < 0.3


def test_weights_count(thin):
    weights = torch.ones(len(thin))
    weights[: len(thin) // 2] = 0.0
    one, other = PrincipalComponents(4), PrincipalComponents(4)
    one.fit(thin, 2 * weights)
    other.fit(thin[len(thin) // 2 :], torch.ones(len(thin) // 2))
    assert one.mean.tolist() == pytest.approx(other.mean.tolist(), abs=1e-5)
    assert (one.matrix @ one.matrix.T).flatten().tolist() == pytest.approx(
        (other.matrix @ other.matrix.T).flatten().tolist(), rel=1e-3, abs=1e-3
    )
