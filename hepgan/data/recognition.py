"""Recognise the calorimeter in a tree, in each layout that `hepgan.data.branches` reads.

Names and values are all there is to go by, so everything that is found is a guess, and said to be one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import awkward as ak
import numpy as np

from hepgan.data.expressions import quoted
from hepgan.data.root import chunks, open_file, open_tree
from hepgan.data.summaries import Branch, Tree, numbered
from hepgan.geometry import CALOGAN

__all__ = ["Suggestion", "arrays", "cells", "hits", "positions"]

_MIN_CELLS = (
    8  # shorter series of numbered branches, and shorter arrays, are not taken for the cells of a calorimeter
)
_MOST_CELLS = 1_000_000  # larger cell numbers are identifiers with the bits of a detector, not numbers from 0
_NOISE = (
    0.1  # energies below zero are noise if they are smaller than this fraction of the largest, else positions
)
_MATCH = 0.8  # hits that reach this fraction of CaloGAN's cells along each axis are taken for its calorimeter

_LAYER = re.compile(r"layer|cell|calo|ecal|hcal|image|shower|energ|edep|pixel|tower|sampling|plane")
_NO_ENERGY = re.compile(
    r"(^|[^a-z])(pos\w*|coord\w*|cent(er|re)s?|dir\w*|mom\w*|time|t|x|y|z|eta|phi|id|index)\d*$"
)
_NUMBER = re.compile(
    r"(layer|plane|sampling|cell|module|sector|row|col(umn)?)$"
)  # of a layer or cell, if whole
_COORDINATE = re.compile(r"(^|[^a-z])(x|y|z)$")
_OVERFLOW = re.compile("overflow|outside|leak")


@dataclass(frozen=True)
class Suggestion:
    """A calorimeter recognised in a tree.

    Args:
        settings: Keys of ``[data.calorimeter]``.
        shapes: Shape of each layer.
        visible: Mean energy in the cells of an event, in the unit of the branches.
        notes: What else the branches may mean, and what is to be checked.
    """

    settings: Mapping[str, str | list[str] | dict[str, str]]
    shapes: tuple[tuple[int, int], ...]
    visible: float
    notes: tuple[str, ...] = ()


def _natural(name: str) -> tuple[int | str, ...]:
    """Sorting key that puts ``layer_10`` behind ``layer_9``."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))


def _short(name: str) -> str:
    """Name without the parents of split objects, in lower case."""
    return name.rpartition("/")[2].lower()


def _prefix(name: str) -> str:
    """What the names of a series of branches share."""
    return re.sub(r"\d+$", "", name)


def _size(branch: Branch) -> int:
    """Number of values in each event, if it is always the same; else 0."""
    low, high = branch.lengths
    return high if low == high else 0


def arrays(tree: Tree, path: str) -> Suggestion | None:
    """One array a layer: of two axes, or of one axis or nested vectors that always have the same length."""
    energies = [
        b
        for b in tree.branches
        if b.numeric and b.minimum > -_NOISE * b.maximum and not _NO_ENERGY.search(_short(b.name))
        if not (b.integer and _NUMBER.search(_short(b.name)))
    ]
    flat = [
        b
        for b in energies
        if (b.shape is None or len(b.shape) == 1)
        and _size(b) >= _MIN_CELLS
        and _LAYER.search(_short(b.name))
        and not _OVERFLOW.search(_short(b.name))
    ]
    nested = {b.name: shape for b in flat if b.shape is None and (shape := _nested(tree, path, b.name))}
    layers = [(b, (b.shape[0], b.shape[1])) for b in energies if b.shape is not None and len(b.shape) == 2]
    layers += [(b, nested[b.name]) for b in flat if b.name in nested]
    flat = [b for b in flat if b.name not in nested]
    series = {_prefix(b.name) for b, _ in layers}
    if not layers and flat and not hits(tree, path):
        series = {max((_prefix(b.name) for b in flat), key=[_prefix(b.name) for b in flat].count)}
    members = [b for b in flat if _prefix(b.name) in series]
    others = [b.name for b in flat if b not in members]
    layers += [(b, (1, _size(b))) for b in members]
    if not layers:
        return None
    layers.sort(key=lambda layer: _natural(layer[0].name))
    shapes = tuple(shape for _, shape in layers)
    calogan = tuple(CALOGAN.shapes)
    notes = []
    if members and [nx * ny for nx, ny in shapes] == [nx * ny for nx, ny in calogan]:
        shapes = calogan
    elif members:
        notes.append(
            "shape = [1, n] is a list of n cells: replace it by the cells along each axis, in C order"
        )
    if others:
        notes.append(f"other arrays of this kind are {', '.join(map(repr, others))}")
    names = {b.name: b.name for b, _ in layers}
    if noisy := [b.name for b, _ in layers if b.minimum < 0]:
        names |= {name: f"max({quoted(name)}, 0)" for name in noisy}
        notes.append(f"{', '.join(map(repr, noisy))}: some energies are negative, which are taken as 0")
    overflow = [b.name for b in tree.branches if _size(b) == len(layers) and _OVERFLOW.search(_short(b.name))]
    return Suggestion(
        {
            "layout": "arrays",
            "branches": [names[b.name] for b, _ in layers],
            **({"overflow": overflow[0]} if overflow else {}),
        },
        shapes,
        sum(b.mean * nx * ny for (b, _), (nx, ny) in zip(layers, shapes, strict=True)),
        tuple(notes),
    )


def _nested(tree: Tree, path: str, name: str) -> tuple[int, int] | None:
    """Shape of vectors of vectors that always have the same lengths (in the first chunk)."""
    with open_file(path) as file:
        part = next(chunks(open_tree(file, tree.name), [name]))
    try:
        shape = ak.to_numpy(part[name]).shape[1:]
    except ValueError:
        return None
    return (shape[0], shape[1]) if len(shape) == 2 else None


def cells(tree: Tree, path: str) -> Suggestion | None:
    """One scalar branch a cell."""
    series = numbered(tree.branches).items()
    pattern, members = max(series, key=lambda item: len(item[1]), default=("", []))
    if len(members) < _MIN_CELLS:
        return None
    settings: dict[str, str | list[str] | dict[str, str]] = {"layout": "cells", "cells": pattern}
    shapes = tuple(CALOGAN.shapes)
    if len(members) == CALOGAN.n_cells + CALOGAN.n_layers:
        settings["overflow"] = "tail"
    elif len(members) != CALOGAN.n_cells:
        shapes = ((1, len(members)),)
    return Suggestion(settings, shapes, sum(b.mean for b in members))


def hits(tree: Tree, path: str) -> Suggestion | None:
    """Variable-length branches: the energy of each hit, and its cell as whole numbers from 0."""
    jagged = [b for b in tree.branches if b.numeric and b.shape is None]

    def named(branches: Sequence[Branch], *patterns: str) -> list[Branch]:
        """Branches whose name fits, those of the best pattern first."""
        found = [b for p in patterns for b in branches if re.search(p, _short(b.name))]
        return list(dict.fromkeys(found))

    for energy in named(jagged, "energy", "edep", r"(^|[_.])e$"):
        first = re.split("[_.]", _short(energy.name))[0]
        alike = [b for b in jagged if b.lengths == energy.lengths and b is not energy]
        alike.sort(key=lambda b: re.split("[_.]", _short(b.name))[0] != first)  # of the same collection first
        index = [b for b in alike if _is_index(tree, path, b)]
        layer, cell = (
            named(index, *p)
            for p in (
                (r"layer|plane", r"(^|[_.])i[_.]?z$", r"(^|[_.])k$"),
                (r"cell[_.]?(id|index|idx|i|no|nr|num|number)?$",),
            )
        )
        i, j = (
            named(index, rf"(^|[_.])i[_.]?{axis}$", rf"(^|[_.])({letter}|{word})$", rf"(^|[_.]){axis}$")
            for axis, letter, word in (("x", "i", "row"), ("y", "j", "col(umn)?"))
        )
        layer = [b for b in layer if b not in (*i[:1], *j[:1])]
        if layer and i and j:
            address = {"layer": layer[0].name, "i": i[0].name, "j": j[0].name}
            shapes = _shapes_of_hits(path, tree, *address.values())
        elif cell:
            address = {"cell": cell[0].name}
            n_cells = int(cell[0].maximum) + 1
            close = _MATCH * CALOGAN.n_cells <= n_cells <= CALOGAN.n_cells
            shapes = tuple(CALOGAN.shapes) if close else ((1, n_cells),)
        else:
            continue
        used = {b.name: b for b in index}
        notes = [
            f"{name!r} starts at 1, so {what} 0 is empty: write {quoted(name)} - 1 and drop it"
            for what, name in address.items()
            if used[name].minimum == 1
        ]
        notes += [
            f"{address[axis]!r} may be a position in whole numbers: then there is no cell number, and this is wrong"
            for axis in ("i", "j")
            if axis in address and _COORDINATE.search(_short(address[axis]))
        ]
        others = [b.name for b in named(jagged, "energy", "edep", r"(^|[_.])e$") if b is not energy]
        if others:
            notes.append(f"other energies of hits are {', '.join(map(repr, others))}")
        visible = energy.mean * _mean_hits(path, tree, energy.name)
        return Suggestion(
            {"layout": "hits", "hits": {**address, "energy": energy.name}}, shapes, visible, tuple(notes)
        )
    return None


def positions(tree: Tree) -> list[str]:
    """Variable-length branches named like coordinates of hits."""
    jagged = [b for b in tree.branches if b.numeric and b.shape is None and b.minimum < b.maximum]
    if not any(re.search("energy|edep|hit|cell", _short(b.name)) for b in jagged):
        return []
    return [b.name for b in jagged if _COORDINATE.search(_short(b.name))]


def _is_index(tree: Tree, path: str, branch: Branch) -> bool:
    """Whether all values are whole numbers from 0 on, as those of a cell or layer.

    Positions are not, and neither are multiples of a number: those are positions of cells of that size.
    """
    if not 0 <= branch.minimum <= branch.maximum < _MOST_CELLS or branch.n_nan:
        return False
    if branch.maximum % 1 or branch.minimum % 1:
        return False
    step = 0
    with open_file(path) as file:
        for part in chunks(open_tree(file, tree.name), [branch.name]):
            values = np.ma.filled(ak.to_numpy(ak.flatten(part[branch.name], axis=None)), np.nan)
            if (values != np.rint(values)).any():
                return False
            step = int(np.gcd.reduce(values.astype(np.int64) - int(branch.minimum), initial=step))
            if branch.integer and step == 1:
                return True
    return branch.maximum - branch.minimum <= step or step == 1


def _mean_hits(path: str, tree: Tree, name: str) -> float:
    """Mean number of hits in an event, from one of their branches."""
    with open_file(path) as file:
        parts = chunks(open_tree(file, tree.name), [name])
        return sum(int(ak.count(part[name])) for part in parts) / max(1, tree.entries)


def _shapes_of_hits(path: str, tree: Tree, layer: str, i: str, j: str) -> tuple[tuple[int, int], ...]:
    """Shape of each layer: as far as its hits reach, or that of CaloGAN if it is close to that."""
    reach: dict[int, tuple[int, int]] = {}
    with open_file(path) as file:
        for part in chunks(open_tree(file, tree.name), [layer, i, j]):
            number, *index = (ak.to_numpy(ak.flatten(part[name])).astype(np.int64) for name in (layer, i, j))
            for k in np.unique(number):
                n_i, n_j = (int(values[number == k].max()) + 1 for values in index)
                known = reach.get(int(k), (1, 1))
                reach[int(k)] = (max(known[0], n_i), max(known[1], n_j))
    shapes = tuple(reach.get(k, (1, 1)) for k in range(max(reach, default=0) + 1))
    calogan = tuple(CALOGAN.shapes)
    if len(shapes) == len(calogan) and all(
        _MATCH * full <= got <= full
        for shape, whole in zip(shapes, calogan, strict=True)
        for got, full in zip(shape, whole, strict=True)
    ):
        return calogan
    return shapes
