"""Conditions as network inputs: standardised numbers, one-hot categories, tent functions."""

import math

import pytest
import torch

from hepgan.config import ConditionConfig
from hepgan.transforms.conditions import ConditionScaling, Tents


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


def test_categories_become_zeros_and_ones_behind_the_numbers():
    scaling = ConditionScaling(
        [
            ConditionConfig(
                name="species", transform="category", categories={"pi": 211, "K": 321, "p": 2212}
            ),
            ConditionConfig(name="eta", transform="linear"),
        ]
    )
    condition = torch.tensor([[321.0, 3.0], [2212.0, 4.0], [211.0, 5.0]])
    scaling.fit(condition, torch.ones(3))
    x = scaling(condition)
    assert x.shape == (3, scaling.n_features) == (3, 4)
    torch.testing.assert_close(x[:, :1], scaling.numbers(condition))
    assert x[:, 1:].tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_tents_interpolate_between_quantiles():
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(20_000, 2, generator=rng) ** 2
    tents = Tents(2, nodes=5)
    tents.fit(x, torch.ones(20_000))
    torch.testing.assert_close(tents.place, (torch.linspace(0, 1, 5) ** 2).repeat(2, 1), atol=0.02, rtol=0)
    at_nodes = tents(tents.place.T.contiguous())
    torch.testing.assert_close(at_nodes, torch.eye(5).repeat(1, 2), atol=1e-5, rtol=0)
    between = tents((0.25 * tents.place[:, 2] + 0.75 * tents.place[:, 3])[None])[0].reshape(2, 5)
    torch.testing.assert_close(between, torch.tensor([0, 0, 0.25, 0.75, 0]).repeat(2, 1), atol=1e-5, rtol=0)
    outside = tents(torch.tensor([[-9.0, 9.0]]))[0].reshape(2, 5)
    torch.testing.assert_close(outside, torch.eye(5)[[0, 4]])
    torch.testing.assert_close(tents(x).reshape(-1, 2, 5).sum(2), torch.ones(20_000, 2))


def test_a_threshold_that_the_weights_hide_is_no_node():
    x = torch.linspace(0, 1, 1001)[:, None]
    tents = Tents(1, nodes=3)
    tents.fit(x, (x[:, 0] > 0.5).float())
    assert tents.place[0, 1].item() == pytest.approx(0.75, abs=0.01)


def test_nodes_beside_a_gap_stand_at_its_edges():
    x = torch.cat([torch.linspace(0, 1, 1000), torch.linspace(3, 4, 1000)])[:, None]
    tents = Tents(1, nodes=6)
    tents.fit(x, torch.ones(2000))
    assert tents.place[0].tolist() == pytest.approx([0, 0.4, 1, 3, 3.6, 4], abs=2e-3)
    without = Tents(1, nodes=6)
    without.fit(x[:1000], torch.ones(1000))
    assert without.place[0].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1], abs=2e-3)


def test_angles_of_showers_enter_as_cosine_and_sine():
    conditions = [
        ConditionConfig(name="phi", unit="rad", transform="linear"),
        ConditionConfig(name="incident_energy", unit="GeV", transform="log"),
    ]
    scaling = ConditionScaling(conditions, periodic=True)
    rng = torch.Generator().manual_seed(0)
    phi = math.pi * (2 * torch.rand(5000, generator=rng) - 1)
    condition = torch.stack([phi, torch.exp(torch.rand(5000, generator=rng))], 1)
    scaling.fit(condition, torch.ones(5000))
    features = scaling(condition)
    assert features.shape == (5000, scaling.n_features) == (5000, 3)
    torch.testing.assert_close(features.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(3), atol=1e-3, rtol=0)
    a_turn_more = scaling(condition + torch.tensor([2 * math.pi, 0]))
    torch.testing.assert_close(a_turn_more, features, atol=1e-4, rtol=0)
    assert ConditionScaling(conditions).n_features == 2  # of tracks, whose tents follow an angle as it is
