"""Point masses among continuous observables: sentinels, exact zeros, and observables that are exactly equal.

A detector's observables are not all continuous: a track outside the acceptance has -999, and hypotheses below threshold
share one likelihood. A continuous generator smears such values. Here each event belongs to a *pattern*: which targets
sit on which exact value (atom), which are equal to which other (tie), and which are free. The generator draws the
pattern first (a classifier knows the probabilities at each condition), then the free targets, and `Patterns.assemble`
puts exact values where the pattern says so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import torch
from torch import Tensor, nn

from hepgan.transforms.quantiles import differences

__all__ = ["Patterns", "draw"]

logger = logging.getLogger(__name__)

_RAREST = 1e-4  # share of the events below which a pattern is left out
_FEWEST = 10  # events, likewise


def draw(probabilities: Tensor, normal: Tensor) -> Tensor:
    """Choose one of K with an event's probabilities (B, K) and a normal number (B, 1): exact zeros and ones (B, K)."""
    n = int(probabilities.shape[1])
    # uniform > p_1 + ... + p_k, as 2 uniform - 1 > p_1 + ... + p_k - p_(k+1) - ... - p_n: fewer operations
    sides = 2 * probabilities.new_ones(n, n - 1).triu() - 1
    passed = (torch.erf(normal / math.sqrt(2)) > probabilities @ sides).to(probabilities.dtype)
    weight, bias = differences(n - 1, device=normal.device)
    return nn.functional.linear(passed, weight.to(passed.dtype), bias.to(passed.dtype))


class Patterns(nn.Module):
    """Which exact values and equalities occur together in the targets.

    Args:
        atoms: For each of V targets, by name, the values that are point masses.
        ties: Whether targets that are exactly equal stay so.
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
        """Number K of patterns; the first is the most frequent one."""
        return len(self.code)

    def codes(self, targets: Tensor) -> Tensor:
        """Pattern of (N, V) targets, (N, V): for an atom -1 - its number, else the first target of the same value."""
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
        """Find the patterns of (N, V) targets under (N,) weights.

        Raises:
            ValueError: If a target is the same in all events.
        """
        codes = self.codes(targets)
        for v, column in enumerate(targets.T):
            if bool((column == column[0]).all()):
                raise ValueError(
                    f"target {self.names[v]!r}: expected values that vary, got {float(column[0]):g} in all "
                    f"{len(column)} events; leave the target out, or loosen the cut"
                )
        found, member, counts = torch.unique(codes, dim=0, return_inverse=True, return_counts=True)
        total = torch.zeros(len(found), dtype=torch.float64, device=weights.device)
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
        self.code = found[order]

    def which(self, targets: Tensor) -> Tensor:
        """Pattern of (B, V) targets as zeros and ones (B, K); all zero for a combination that is not known."""
        same: Tensor = (self.codes(targets)[:, None] == self.code).all(2)
        return same.to(targets.dtype)

    @property
    def free(self) -> Tensor:
        """(K, V) ones where a pattern's target is generated: no atom, and not equal to one before it."""
        own = torch.arange(self.code.shape[1], device=self.code.device)
        return (self.code == own).float()

    @property
    def continuous(self) -> Tensor:
        """(K, V) ones where a pattern's target has no atom."""
        return (self.code >= 0).float()

    def assemble(self, values: Tensor, pattern: Tensor) -> Tensor:
        """Targets (B, V) from continuous values (B, V) and the pattern as zeros and ones (B, K)."""
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
