"""Ranks of targets at their conditions, alone and given the targets before them."""

import pytest
import torch

from hepgan.models.rosenblatt import Rosenblatt

EVENTS, STEPS = 512, 300


def drawn(n, rng, *, width=0.02):
    """Contexts (n, 2), and numbers (n, 4): a target, and one on two ridges, steep or flat; plain, then whitened."""
    side = (torch.rand(n, 1, generator=rng) < 0.5).float()
    context = torch.cat([side, 1 - side], 1)
    first, noise = torch.randn(2, n, generator=rng)
    slope = torch.where(torch.rand(n, generator=rng) < 0.5, 1.0, -1.0) * (1 + side[:, 0])
    second = slope * first + width * noise
    numbers = torch.stack([first, second], 1)
    return torch.cat([numbers, numbers / torch.tensor([1.0, 1.6])], 1), context


@pytest.fixture(scope="module")
def learnt():
    rng = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Rosenblatt(2, 2)

    def draw():
        return *drawn(EVENTS, rng), torch.ones(EVENTS, 2), torch.ones(EVENTS)

    done = []
    made.fit(draw, steps=STEPS, update=done.append)
    assert done == list(range(1, STEPS + 1))
    return made


@pytest.fixture
def untrained():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        made = Rosenblatt(3, 2)
        for name, array in made.named_buffers():
            if name != "before":
                array += 0.1 * torch.randn(array.shape)
    return made


def test_a_ridge_too_wide_stands_out_in_ranks(learnt):
    rng = torch.Generator().manual_seed(2)

    def spreads(width):
        x, context = drawn(20_000, rng, width=width)
        return learnt.at(context, torch.ones(20_000, 2))(x).std(0)

    real, wide = spreads(0.02), spreads(0.2)
    assert real.tolist() == pytest.approx([1.05] * 4, abs=0.1)
    assert wide[:3].tolist() == pytest.approx(real[:3].tolist(), abs=0.05)
    assert wide[3] > 2 * real[3]


def test_it_learns_nothing_that_a_game_could_change(learnt):
    assert not list(learnt.parameters())
    assert not any(array.requires_grad for array in learnt.buffers())


def test_ranks_are_those_of_the_density(untrained):
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(50, 6, generator=rng).double().requires_grad_()
    context = torch.rand(50, 2, generator=rng).double()
    free = torch.tensor([[1.0, 0.0, 1.0]]).double().expand(50, 3)
    ranks = untrained.double().at(context, free)(x)
    assert ranks.abs().max() < 6
    assert ranks[:, [1, 4]].count_nonzero() == 0
    density = torch.ones(50).double()
    for k in (0, 2, 3, 5):
        share = torch.sigmoid(1.7 * ranks[:, k])
        (slope,) = torch.autograd.grad(share.sum(), x, retain_graph=True)
        density *= slope[:, k]
    torch.testing.assert_close(untrained.surprise(x, context, free), -density.log())


def test_a_rank_knows_the_targets_before_it_only(untrained):
    rng = torch.Generator().manual_seed(4)
    x, context, free = (
        torch.randn(5, 6, generator=rng),
        torch.rand(5, 2, generator=rng),
        torch.ones(5, 3),
    )
    x.requires_grad_()
    ranks = untrained.at(context, free)(x)
    for k in range(6):
        (slope,) = torch.autograd.grad(ranks[:, k].sum(), x, retain_graph=True)
        seen = {k} if k < 3 else {k, *range(k - 3), *range(3, k)}
        assert set(slope.abs().sum(0).nonzero()[:, 0].tolist()) == seen
