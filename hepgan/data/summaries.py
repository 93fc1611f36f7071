"""Summaries of ROOT files: ranges, NaN counts and exact values of each branch.

`hepgan.data.inspection` makes them; the layouts of `hepgan.data.branches` recognise themselves in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SENTINELS", "Branch", "Report", "Tree", "numbered"]

SENTINELS = (-99.0, -999.0, -9999.0, -99999.0)
"""Values that mean "not measured" in many ntuples."""


@dataclass(frozen=True)
class Branch:
    """Summary of one branch.

    Args:
        name: Full name.
        type: Type as ROOT or C++ calls it.
        shape: Fixed shape in an event, ``()`` for a scalar; ``None`` if the length varies.
        lengths: Smallest and largest number of values in an event.
        minimum: Smallest finite value (NaN if there is none, or if the branch holds no numbers).
        maximum: Largest finite value.
        mean: Mean of the finite values.
        n_nan: Number of NaN and infinite values.
        exact: Each value of `SENTINELS` and each other point mass in the branch, with its number of occurrences.
        few: The different values of an integer branch, if there are only a few in the first chunk.
        integer: Whether the values are integers.
        numeric: Whether the branch holds numbers.
        problem: Why it cannot be read, such as "unsupported" or "damaged"; empty if it can.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None = ()
    lengths: tuple[int, int] = (1, 1)
    minimum: float = float("nan")
    maximum: float = float("nan")
    mean: float = float("nan")
    n_nan: int = 0
    exact: tuple[tuple[float, int], ...] = ()
    few: tuple[float, ...] = ()
    integer: bool = False
    numeric: bool = True
    problem: str = ""


@dataclass(frozen=True)
class Tree:
    """Summary of one TTree or RNTuple.

    Args:
        name: Name with the folder.
        kind: ``TTree`` or ``RNTuple``.
        title: Title.
        entries: Number of entries.
        branches: Summaries of the branches.
        ties: Pairs of continuous branches that are often exactly equal, other than at an exact value, with the share
            of the first entries in which they are.
        friends: Friend trees, which are not read.
    """

    name: str
    kind: str
    title: str
    entries: int
    branches: tuple[Branch, ...]
    ties: tuple[tuple[str, str, float], ...] = ()
    friends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Summary of one file.

    Args:
        path: The file.
        trees: Summaries of its trees.
    """

    path: str
    trees: tuple[Tree, ...]


def numbered(branches: Sequence[Branch]) -> dict[str, list[Branch]]:
    """Series of scalar branches ``cell_0``, ``cell_1``, ... or ``cell_000``, ``cell_001``, ... without a gap, in order.

    Returns:
        The branches by the pattern of their names, ``cell_{}`` or ``cell_{:03d}``.
    """
    series: dict[str, dict[int, Branch]] = {}
    for branch in branches:
        match = re.fullmatch(r"(.*?)([0-9]+)", branch.name)
        if match and branch.numeric and branch.shape == ():
            prefix, digits = match.groups()
            members = series.setdefault(prefix.replace("{", "{{").replace("}", "}}") + "{}", {})
            members.setdefault(int(digits), branch)
    found = {}
    for plain, members in series.items():
        ordered = [members.get(k) for k in range(len(members))]
        width = 0 if ordered[0] is None else len(ordered[0].name) - len(plain.format(""))
        pattern = plain if width <= 1 else f"{plain[:-2]}{{:0{width}d}}"
        if all(b is not None and b.name == pattern.format(k) for k, b in enumerate(ordered)):
            found[pattern] = [b for b in ordered if b is not None]
    return found
