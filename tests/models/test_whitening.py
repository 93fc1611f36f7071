"""Whitening: unit spreads and no linear correlations at each condition."""

import torch

from hepgan.models.whitening import Whitening
from hepgan.transforms.conditions import Tents


def sample(n=20_000):
    """Three targets whose mean, spread and correlation follow a condition; the second is a thin ridge on the first."""
    rng = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(n, 1, generator=rng) - 1
    noise = torch.randn(n, 3, generator=rng)
    first = 3 * x[:, 0] + torch.exp(x[:, 0]) * noise[:, 0]
    second = (1 + x[:, 0]) * first + 0.003 * noise[:, 1]
    third = noise[:, 2] - first
    tents = Tents(1, nodes=17)
    tents.fit(x, torch.ones(n))
    return tents(x), torch.stack([first, second, third], 1)


def test_ridges_become_as_wide_as_everything_else():
    context, z = sample()
    whitening, ones = Whitening(3, context.shape[1]), torch.ones(len(z))
    whitening.fit(z, context, torch.ones_like(z), ones)
    y = whitening.at(context, torch.ones_like(z))(z)
    torch.testing.assert_close(y.std(0), torch.ones(3), atol=0.15, rtol=0)
    torch.testing.assert_close(torch.corrcoef(y.T), torch.eye(3), atol=0.05, rtol=0)
    wider = z.clone()
    wider[:, 1] += 0.03 * torch.randn(len(z), generator=torch.Generator().manual_seed(1))
    whitened = whitening.at(context, torch.ones_like(z))(wider)
    assert whitened[:, 1].std() > 5  # 1 % of the range, and plain to see


def test_targets_that_are_not_free_are_zero_and_do_not_count():
    context, z = sample()
    free = torch.ones_like(z)
    free[::2, 1] = 0
    spoiled = torch.where(free > 0, z, torch.full_like(z, 1e3))
    whitening = Whitening(3, context.shape[1])
    whitening.fit(spoiled, context, free, torch.ones(len(z)))
    y = whitening.at(context, free)(spoiled)
    assert (y[::2, 1] == 0).all()
    torch.testing.assert_close(y[1::2].std(0), torch.ones(3), atol=0.2, rtol=0)


def test_negative_weights_subtract():
    """Signal plus background with weights that cancel the background, against the signal alone."""
    context, z = sample()
    background = z.flip(0) * 0.5 + 1
    both, contexts = torch.cat([z, background, background]), torch.cat([context, context, context])
    weights = torch.cat([torch.ones(len(z)), torch.ones(len(z)), -torch.ones(len(z))])
    pure, weighted = Whitening(3, context.shape[1]), Whitening(3, context.shape[1])
    pure.fit(z, context, torch.ones_like(z), torch.ones(len(z)))
    weighted.fit(both, contexts, torch.ones_like(both), weights)
    mean = slice(0, 3)  # rows of the table
    torch.testing.assert_close(weighted.table[mean], pure.table[mean], atol=0.01, rtol=0.01)


def test_a_target_that_is_never_free_has_no_regression():
    context, z = sample(500)
    free = torch.tensor([1.0, 0.0, 1.0]).expand_as(z)
    whitening = Whitening(3, context.shape[1])
    whitening.fit(z, context, free, torch.ones(len(z)))
    y = whitening.at(context, free)(z)
    assert y[:, 1].eq(0).all()
    torch.testing.assert_close(y[:, [0, 2]].std(0), torch.ones(2), atol=0.15, rtol=0)
