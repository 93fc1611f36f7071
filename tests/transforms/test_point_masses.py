"""Point masses: patterns of exact values and equalities, and drawing them."""

import logging

import pytest
import torch

from hepgan.errors import DataError
from hepgan.transforms.point_masses import Patterns, draw

ATOMS = {"e": [-999.0], "k": [-999.0, 0.0], "p": [-999.0, 0.0]}


def tracks(n=4000):
    """Three targets: both hypotheses below threshold (equal), one (free), outside the acceptance (sentinel)."""
    rng = torch.Generator().manual_seed(0)
    targets = torch.randn(n, 3, generator=rng) * 10
    kind = torch.rand(n, generator=rng)
    equal, outside = kind < 0.3, kind > 0.9
    targets[equal, 2] = targets[equal, 1]
    targets[outside] = -999.0
    targets[kind > 0.98] = torch.tensor([-999.0, 0.0, 0.0])
    return targets


def test_patterns_are_found_and_ordered_by_their_share():
    patterns = Patterns(ATOMS, ties=True)
    targets = tracks()
    patterns.fit(targets, torch.ones(len(targets)))
    assert patterns.code.tolist() == [[0, 1, 2], [0, 1, 1], [-1, -1, -1], [-1, -2, -2]]
    share = patterns.one_hot(targets).mean(0)
    torch.testing.assert_close(share, torch.tensor([0.6, 0.3, 0.08, 0.02]), atol=0.03, rtol=0)
    assert patterns.free.tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert patterns.continuous.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_assembling_the_own_pattern_gives_the_targets_back_exactly():
    patterns = Patterns(ATOMS, ties=True)
    targets = tracks()
    patterns.fit(targets, torch.ones(len(targets)))
    pattern = patterns.one_hot(targets)
    free = pattern @ patterns.free
    other = torch.where(free > 0, targets, torch.full_like(targets, 1e6))  # whatever the network says there
    assert torch.equal(patterns.assemble(other, pattern), targets)


def test_without_ties_equal_targets_are_free():
    patterns = Patterns(ATOMS, ties=False)
    targets = tracks()
    patterns.fit(targets, torch.ones(len(targets)))
    assert [0, 1, 1] not in patterns.code.tolist()
    assert patterns.n_patterns == 3


def test_rare_combinations_are_left_out_and_said(caplog):
    targets = tracks()
    targets[0] = torch.tensor([-999.0, 3.0, 4.0])
    patterns = Patterns(ATOMS, ties=True)
    with caplog.at_level(logging.WARNING):
        patterns.fit(targets, torch.ones(len(targets)))
    assert "1 events have atoms or ties in a combination rarer than 0.0001" in caplog.text
    assert patterns.one_hot(targets[:1]).sum() == 0


def test_weights_of_either_sign_count_in_the_share():
    """A pattern that the weights subtract completely is not generated."""
    targets = tracks()
    weights = torch.ones(len(targets))
    equal = (targets[:, 1] == targets[:, 2]) & (targets[:, 0] > -900)
    weights[equal] = torch.tensor([1.0, -1.0]).repeat(int(equal.sum()))[: int(equal.sum())]
    weights[equal.nonzero()[-1]] -= 1.0  # their sum is zero or less
    patterns = Patterns(ATOMS, ties=True)
    patterns.fit(targets, weights)
    assert [0, 1, 1] not in patterns.code.tolist()


def test_constant_target_is_refused():
    patterns = Patterns({"a": [], "b": []}, ties=False)
    targets = torch.stack([torch.randn(100), torch.full((100,), 3.0)], 1)
    with pytest.raises(DataError, match=r"target 'b': expected values that vary, got 3 in all 100 events"):
        patterns.fit(targets, torch.ones(100))


def test_draw_gives_exact_choices_with_the_probabilities():
    probabilities = torch.tensor([[0.5, 0.2, 0.3]]).expand(60_000, 3)
    u = (torch.arange(60_000) + 0.5)[:, None] / 60_000
    chosen = draw(probabilities, torch.special.ndtri(u.double()).float())
    assert set(chosen.flatten().tolist()) == {0.0, 1.0}
    assert (chosen.sum(1) == 1).all()
    torch.testing.assert_close(chosen.mean(0), probabilities[0], atol=1e-4, rtol=0)
    certain = torch.tensor([[0.0, 1.0, 0.0]])
    for edge in (-5.0, 0.0, 5.0):
        assert draw(certain, torch.tensor([[edge]])).tolist() == [[0.0, 1.0, 0.0]]
