"""Point masses among continuous observables: sentinels, exact zeros, and observables that are exactly equal.

Some values of a detector's observables are exact: a track outside the acceptance has -999, and hypotheses below
threshold share one likelihood. A continuous generator would smear them. Here each event has a *pattern*, which says for
each target whether it has an exact value (atom), equals another target (tie), or is free. The generator draws the
pattern first, with probabilities that a classifier gives at each condition, then the free targets; `Patterns.assemble`
puts in the exact values.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import torch
from torch import Tensor, nn

from hepgan.errors import DataError
from hepgan.transforms.quantiles import differences

__all__ = ["Patterns", "draw"]

logger = logging.getLogger(__name__)

_RAREST = 1e-4  # smallest share of the weights of a pattern that is generated
_FEWEST = 10  # smallest number of training events of a pattern that is generated


def draw(probabilities: Tensor, normal: Tensor) -> Tensor:
    r"""Choose one of K patterns for each event by inverting the cumulative probability.

    Args:
        probabilities: (B, K), each row with sum 1.
        normal: (B, 1) standard normal number, whose :math:`u = \Phi(z)` chooses.

    Returns:
        (B, K) one-hot code: exact zeros and ones.
    """
    n = int(probabilities.shape[1])
    # u > p_1 + ... + p_k is written as 2 u - 1 > p_1 + ... + p_k - p_(k+1) - ... - p_n, which takes fewer operations
    sides = 2 * probabilities.new_ones(n, n - 1).triu() - 1
    passed = (torch.erf(normal / math.sqrt(2)) > probabilities @ sides).to(probabilities.dtype)
    weight, bias = differences(n - 1, device=normal.device)
    return nn.functional.linear(passed, weight.to(passed.dtype), bias.to(passed.dtype))


class Patterns(nn.Module):
    """Table of the K combinations of exact values and equalities (patterns) that occur in V targets.

    Args:
        atoms: Exact values (point masses) of each of V targets, by the name of the target.
        ties: Whether targets that are exactly equal form a pattern.

    Attributes:
        code: (K, V) integers, one row for each pattern, the most frequent first. -1 - n stands for the n-th atom of the
            target; a number v >= 0 for "equal to target v", which is the target's own index if it is free.
    """

    code: Tensor

    def __init__(self, atoms: Mapping[str, Sequence[float]], *, ties: bool) -> None:
        super().__init__()
        self.names = list(atoms)
        self.atoms = [tuple(values) for values in atoms.values()]
        self.ties = ties
        self.register_buffer("code", torch.arange(len(self.atoms))[None])

    @property
    def n_patterns(self) -> int:
        """Number K of patterns."""
        return len(self.code)

    def codes(self, targets: Tensor) -> Tensor:
        """Code (N, V) of the pattern of each event, from (N, V) targets; see the attribute `code`."""
        code = torch.arange(targets.shape[1], device=targets.device).expand_as(targets).clone()
        for v, values in enumerate(self.atoms):
            for number, value in enumerate(values):
                code[:, v] = torch.where(targets[:, v] == value, -1 - number, code[:, v])
        if self.ties:
            for v in range(targets.shape[1]):
                for u in range(v):
                    equal = (targets[:, u] == targets[:, v]) & (code[:, u] >= 0) & (code[:, v] >= 0)
                    code[:, v] = torch.where(equal, code[:, v].clamp(max=u), code[:, v])
        return code

    def fit(self, targets: Tensor, weights: Tensor) -> None:
        """List the patterns of (N, V) targets with (N,) weights.

        Raises:
            DataError: If a target has the same value in all events.
        """
        codes = self.codes(targets)
        for v, column in enumerate(targets.T):
            if bool((column == column[0]).all()):
                raise DataError(
                    f"target {self.names[v]!r}: expected values that vary, got {float(column[0]):g} in all "
                    f"{len(column)} events; leave the target out, or loosen the cut; if it varies by less than single "
                    "precision tells apart, subtract a constant from it"
                )
        patterns, member, counts = torch.unique(codes, dim=0, return_inverse=True, return_counts=True)
        total = torch.zeros(len(patterns), dtype=torch.float64, device=weights.device)
        total.index_add_(0, member, weights.double())
        share = total / total.sum()
        kept = (share >= _RAREST) & (counts >= _FEWEST)
        order = torch.argsort(torch.where(kept, share, -torch.inf), descending=True)[: int(kept.sum())]
        if left := int(counts[~kept].sum()):
            logger.warning(
                "%d events have atoms or ties in a combination rarer than %g: it is not generated",
                left,
                _RAREST,
            )
        self.code = patterns[order]

    def one_hot(self, targets: Tensor) -> Tensor:
        """One-hot pattern (B, K) of (B, V) targets; all zero for a combination that is not in the table."""
        same: Tensor = (self.codes(targets)[:, None] == self.code).all(2)
        return same.to(targets.dtype)

    @property
    def free(self) -> Tensor:
        """(K, V) ones for targets that are generated: neither an atom nor equal to an earlier target."""
        own = torch.arange(self.code.shape[1], device=self.code.device)
        return (self.code == own).float()

    @property
    def continuous(self) -> Tensor:
        """(K, V) ones for targets that are not an atom."""
        return (self.code >= 0).float()

    def assemble(self, values: Tensor, pattern: Tensor) -> Tensor:
        """Put exact values into the targets.

        Args:
            values: (B, V) continuous values in physical units; those of targets that are not free are ignored.
            pattern: (B, K) one-hot pattern.

        Returns:
            (B, V) targets in physical units.
        """
        k, v = self.code.shape
        if k == 1 and bool((self.free == 1).all()):
            return values
        exact = values.new_zeros(k, v)
        for number, atoms in enumerate(zip_longest(*self.atoms, fillvalue=0.0)):
            exact = torch.where(self.code == -1 - number, values.new_tensor(atoms), exact)
        own = torch.arange(v, device=self.code.device)
        taken = (self.code[:, None] == own[:, None]).to(values.dtype)  # (K, source, target)
        gate = (pattern @ taken.flatten(1)).reshape(-1, v, v)
        return (values[:, :, None] * gate).sum(1) + pattern @ exact
