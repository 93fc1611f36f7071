"""Tables of several particles: each meets its own, and they do not mix."""

import pytest
import torch

from hepgan.errors import ConfigError
from hepgan.transforms.energy import ConditionalQuantile, EnergyNodes
from hepgan.transforms.separate import Separate


def test_tables_of_several_particles_do_not_mix():
    """Three tables with other distributions, one of them with few energies: each meets its own."""
    rng = torch.Generator().manual_seed(0)
    energy = torch.exp(torch.rand(6000, generator=rng) * 4)
    code = torch.arange(6000) % 3
    energy[code == 1] = torch.tensor([1.0, 5.0, 50.0])[torch.randint(3, (2000,), generator=rng)]
    separate = Separate([3])
    separate.fit(energy)
    tabled = separate(energy, [torch.nn.functional.one_hot(code, 3).float()])
    torch.testing.assert_close(tabled[code == 0], energy[code == 0] / energy.min())
    x = (100.0 * code + torch.log(energy) + torch.randn(6000, generator=rng))[:, None] + 50
    quantile = ConditionalQuantile(1, tables=3, nodes=5)
    quantile.fit(x, tabled, torch.ones(6000))
    z = quantile.to_normal(x, tabled)[:, 0]
    for k in range(3):
        for low, high in ((0.9, 2), (3, 10), (20, 60)):
            part = z[(code == k) & (energy > low) & (energy < high)]
            assert abs(part.mean()) < 0.2, (k, low)
            assert part.std() == pytest.approx(1, abs=0.15), (k, low)
    apart = (quantile.from_normal(z[:, None], tabled) - x).abs()
    assert apart.mean() < 0.02
    assert apart.max() < 4  # the tails beyond the table's ends; another particle's are 100 away
    # between the tables lies nothing: an entry without events copies its own table
    nodes = EnergyNodes(2, 2)
    assert nodes.filled(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), [0, 3])[:, 0].tolist() == [1, 1, 4, 4]
    assert not nodes.near(torch.tensor([1.0]), 2, 2.0).any()


def test_too_many_tables_for_single_precision_are_refused():
    with pytest.raises(ConfigError, match=r"at most 5 combinations of categories at energies .* got 6"):
        Separate([2, 3]).fit(torch.tensor([1.0, 1000.0]))
