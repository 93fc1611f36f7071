"""Tables that compiled functions read: a network as lists of sums of weights times numbers.

`tables` makes the lists of ``cpp/network.cpp`` from a drawn network (`hepgan.models.wiring`): of the network itself, of
its derivatives by numbers, and of those by weights. All three follow from the same list of products (number that is
computed, number that it takes, weight), grouped in three ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hepgan.models.wiring import FIRST, ONE, ZERO, Average, Layer, Numbers, Product, Products, Wiring

__all__ = ["Tables", "tables"]

_LANES, _VECTORS = 16, 4  # numbers of a vector, and vectors, of a sum over events

STEP = np.dtype([(n, np.int32) for n in ("kind", "to", "numbers", "run", "runs", "weight", "bias", "plain")]
                + [("slope", np.float32)])  # fmt: skip
RUN = np.dtype([("first", np.int32), ("count", np.int32)])
OUTER = np.dtype([(n, np.int32) for n in ("g", "numbers", "vectors", "to")] + [("x", np.int32, _VECTORS)])
FILLED = np.dtype([("row", np.int32), ("part", np.int32, 2), ("feature", np.int32, 2)])
"""The structs of these names in ``cpp/network.cpp``."""

_LINEAR, _SIGMOID, _AVERAGE, _PRODUCT, _PRODUCT_SLOPE = range(5)
_SIZES = (6, 4, 3, 2, 1)  # numbers that are computed at once
_GAP = 6  # unused numbers between two used ones in a vector; more begin a new one


class _Group(NamedTuple):
    """Neighbouring numbers that are computed at once: the first, how many, and the curve behind the sum."""

    first: int
    size: int
    slope: float = 1.0
    kind: int = _LINEAR
    bias: int = -1
    plain: int = -1


def _chunks(numbers: Numbers) -> list[tuple[int, int, int]]:
    """Split places (..., C) into groups of neighbours: (position in the flat array, first number, how many)."""
    made = []
    flat = numbers.reshape(-1, numbers.shape[-1])
    for row, place in enumerate(flat):
        ends = [*np.flatnonzero(np.diff(place) != 1) + 1, len(place)]
        at = 0
        for end in ends:
            while at < end:
                size = next(s for s in _SIZES if s <= end - at)
                made.append((row * flat.shape[1] + at, int(place[at]), size))
                at += size
    return made


@dataclass
class Tables:
    """Tables of a network in one precision.

    Attributes:
        per: Numbers of a word.
        rows: Words of an event, a multiple of the number of rows that are turned at once.
        forward: Steps of the network.
        backward: Steps of the derivatives by all numbers, those by its inputs last.
        inner: Number of steps of `backward` before those by its inputs.
        runs, index, factors: Of both: `index` are places among the weights, for each number of each word.
        bias_index: Places of the biases among the weights.
        outer: Sums over events.
        x_tiles, g_tiles: Tiles of rows with inputs, and with outputs, of layers.
        made: Numbers of the sums over events, without those of the biases, which follow for each number.
        gradient_index: Place of the derivative by each weight among these numbers.
        inputs, seeds: What fills the inputs, and the derivatives by the outputs.
        wanted: Slice of rows of the results of `backward`, for each part of the input; None: not computed.
    """

    per: int
    rows: int
    forward: NDArray[Any]
    backward: NDArray[Any]
    inner: int
    runs: NDArray[Any]
    index: NDArray[np.int32]
    factors: NDArray[np.float32]
    bias_index: NDArray[np.int32]
    outer: NDArray[Any]
    x_tiles: NDArray[np.int32]
    g_tiles: NDArray[np.int32]
    made: int
    gradient_index: NDArray[np.int32]
    inputs: NDArray[Any]
    seeds: NDArray[Any]
    wanted: list[slice | None]


def tables(wiring: Wiring) -> Tables:
    """The tables of a network that was drawn."""
    return _Maker(wiring).tables()


class _Maker:
    """Makes the tables of a wiring."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring, self.per = wiring, wiring.per
        self.runs: list[NDArray[Any]] = []
        self.index: list[NDArray[np.int32]] = []
        self.factors: list[float] = []
        self.bias_index: list[int] = []
        self.n_runs, self.n_words = 0, 0

    def tables(self) -> Tables:
        wiring, per = self.wiring, self.per
        groups, products = self._groups(), []
        steps = []
        for step in wiring.steps:
            if isinstance(step, Layer):
                products.append(step.products())
                steps.append(self._sums(groups[id(step)], products[-1]))
            else:
                steps.append(self._fixed(step))
        backward, inner, wanted = self._backward(products)
        outer, made, gradient_index = self._outer(groups, products)
        return Tables(
            per,
            -(-wiring.n_numbers // (per * _LANES)) * _LANES,
            np.concatenate(steps),
            backward,
            inner,
            np.concatenate(self.runs),
            np.concatenate(self.index),
            np.array([*self.factors, 0], np.float32),
            np.array(self.bias_index, np.int32),
            outer,
            self._tiles([product.source for product in products]),
            self._tiles([product.to for product in products]),
            made,
            gradient_index,
            self._filled([numbers for numbers, _ in wiring.inputs]),
            self._filled([wiring.outputs]),
            wanted,
        )

    def _groups(self) -> dict[int, list[_Group]]:
        """What each layer computes, by its id."""
        plain = {int(n): k for k, n in enumerate(self.wiring.outputs)}
        made: dict[int, list[_Group]] = {}
        for step in self.wiring.steps:
            if not isinstance(step, Layer):
                continue
            bias = step.first + step.layer.weight.numel()
            made[id(step)] = []
            for at, first, size in _chunks(step.to):
                kind = _SIGMOID if step.sigmoid else _LINEAR
                group = _Group(first, size, step.slope, kind, len(self.bias_index), plain.get(first, -1))
                made[id(step)].append(group)
                self.bias_index += range(bias + at, bias + at + size)
        return made

    def _grouped(self, groups: list[_Group], to: Numbers) -> tuple[Numbers, Numbers]:
        """Group of each number, and its place there."""
        number = np.full(self.wiring.n_numbers, -1)
        place = np.zeros(self.wiring.n_numbers, np.int64)
        for k, group in enumerate(groups):
            number[group.first : group.first + group.size] = k
            place[group.first : group.first + group.size] = np.arange(group.size)
        return number[to], place[to]

    def _sums(self, groups: list[_Group], products: Products) -> NDArray[Any]:
        """Steps that compute groups of numbers, each with all its products; weights in the order of reading."""
        rows, per = self.wiring.n_numbers, self.per
        group, place = self._grouped(groups, products.to)
        sizes = np.array([g.size for g in groups])
        keys, which = np.unique(group * rows + products.source // per, return_inverse=True)
        owner, row = keys // rows, keys % rows
        offset = np.concatenate([[0], np.cumsum(sizes[owner])])
        index = np.full(offset[-1] * per, ZERO, np.int32)
        index[(offset[which] + place) * per + products.source % per] = products.weight
        begins = np.ones(len(keys), bool)
        begins[1:] = (owner[1:] != owner[:-1]) | (row[1:] != row[:-1] + 1)
        starts = np.flatnonzero(begins)
        runs = np.zeros(len(starts), RUN)
        runs["first"], runs["count"] = row[starts], np.diff(np.append(starts, len(keys)))
        steps = np.zeros(len(groups), STEP)
        steps["kind"] = [g.kind for g in groups]
        steps["to"] = [g.first // per for g in groups]
        steps["numbers"] = sizes
        first = np.searchsorted(owner[starts], np.arange(len(groups)))
        steps["run"] = self.n_runs + first
        steps["runs"] = np.diff(np.append(first, len(starts)))
        steps["weight"] = self.n_words + offset[np.searchsorted(owner, np.arange(len(groups)))]
        steps["bias"] = [g.bias for g in groups]
        steps["plain"] = [g.plain for g in groups]
        steps["slope"] = [g.slope for g in groups]
        self._keep(runs, index)
        return steps

    def _keep(self, runs: NDArray[Any], index: NDArray[np.int32] | None = None) -> int:
        """Append runs and weights; return the place of the first run."""
        first = self.n_runs
        self.runs.append(runs)
        self.n_runs += len(runs)
        if index is not None:
            self.index.append(index)
            self.n_words += len(index) // self.per
        return first

    def _rows(self, numbers: Sequence[int] | Numbers) -> NDArray[Any]:
        """Runs of one row each."""
        runs = np.zeros(len(numbers), RUN)
        runs["first"], runs["count"] = np.asarray(numbers, np.int64) // self.per, 1
        return runs

    def _step(
        self, kind: int, to: int, channels: int, sources: Sequence[int], *, weight: int = 0
    ) -> NDArray[Any]:
        """A step on all rows of some channels, from the rows of the sources on."""
        step = np.zeros(1, STEP)
        step["kind"], step["to"], step["numbers"] = kind, to // self.per, -(-channels // self.per)
        step["run"], step["runs"], step["plain"] = self._keep(self._rows(sources)), len(sources), -1
        step["weight"] = weight
        return step

    def _fixed(self, step: Average | Product) -> NDArray[Any]:
        """Steps of an average or a product."""
        if isinstance(step, Average):
            return self._averages(step.to, step.source, step.factors)
        return self._each(_PRODUCT, step.to, step.sigmoid, step.other)

    def _each(self, kind: int, to: Numbers, *sources: Numbers) -> NDArray[Any]:
        """A step for each place of numbers (P, C), from the same places of the sources."""
        places = zip(to, *sources, strict=True)
        return np.concatenate(
            [
                self._step(kind, int(to[0]), len(to), [int(source[0]) for source in sources])
                for to, *sources in places
            ]
        )

    def _averages(self, to: Numbers, source: Numbers, factors: list[tuple[int, int, float]]) -> NDArray[Any]:
        """Steps of averages; a place without factors gets zero."""
        by: list[list[tuple[int, float]]] = [[] for _ in to]
        for p, q, factor in factors:
            by[p].append((q, factor))
        made = []
        for place, terms in zip(to, by, strict=True):
            weight = len(self.factors)
            self.factors += [factor for _, factor in terms]
            sources = [int(source[q, 0]) for q, _ in terms]
            made.append(self._step(_AVERAGE, int(place[0]), len(place), sources, weight=weight))
        return np.concatenate(made)

    def _backward(self, products: list[Products]) -> tuple[NDArray[Any], int, list[slice | None]]:
        """Steps of the derivatives, their number before those by inputs, and the rows of these."""
        wiring, made = self.wiring, []
        extra = [self._copies(step) for step in wiring.steps if not isinstance(step, Layer)]
        everything = Products.joined([*products, *extra])
        turned = Products(everything.source, everything.to, everything.weight)
        skipped = set(wiring.outputs.tolist())
        for step in wiring.steps:
            if isinstance(step, Product):  # the derivatives by a sigmoid follow from the step that reads it
                skipped |= set(step.sigmoid.ravel().tolist())
        for step in reversed(wiring.steps):
            slope = step.slope if isinstance(step, Layer) else 1.0
            groups = [
                _Group(first, size, slope) for _, first, size in _chunks(step.to) if first not in skipped
            ]
            if groups:
                made.append(self._slopes(groups, turned))
            if isinstance(step, Average):
                back = sorted((q, p, factor) for p, q, factor in step.factors)
                made.append(self._averages(step.back, step.to, back))
            elif isinstance(step, Product):
                made.append(self._each(_PRODUCT_SLOPE, step.to, step.sigmoid, step.other, step.back))
        inner, wanted, rows = sum(map(len, made)), [], 0
        for numbers, want in wiring.inputs:
            wanted.append(slice(rows, rows + len(numbers)) if want else None)
            if want:
                plain = {int(n): rows + k for k, n in enumerate(numbers)}
                groups = [_Group(first, size, plain=plain[first]) for _, first, size in _chunks(numbers)]
                made.append(self._slopes(groups, turned))
                rows += len(numbers)
        return np.concatenate(made) if made else np.zeros(0, STEP), inner, wanted

    def _slopes(self, groups: list[_Group], turned: Products) -> NDArray[Any]:
        """Steps of derivatives by groups of numbers."""
        mine = np.zeros(self.wiring.n_numbers, bool)
        for group in groups:
            mine[group.first : group.first + group.size] = True
        chosen = mine[turned.to]
        return self._sums(groups, Products(*(column[chosen] for column in turned)))

    def _copies(self, step: Average | Product) -> Products:
        """Products with one, that pass on the derivatives which a step leaves in rows of their own."""
        source = step.source if isinstance(step, Average) else step.other
        return Products(step.back.ravel(), source.ravel(), np.full(step.back.size, ONE))

    def _outer(
        self, groups: dict[int, list[_Group]], products: list[Products]
    ) -> tuple[NDArray[Any], int, NDArray[np.int32]]:
        """Sums over events, how many numbers they have, and the place of the derivative by each weight among them."""
        wiring, tables, made = self.wiring, [], 0
        index = np.full(
            wiring.n_weights - FIRST, -1, np.int32
        )  # -1: a place of a window outside of the image
        biases = []
        layers = [step for step in wiring.steps if isinstance(step, Layer)]
        for step, product in zip(layers, products, strict=True):
            own = groups[id(step)]
            group, place = self._grouped(own, product.to)
            sizes, firsts = (
                np.array(column) for column in zip(*((g.size, g.first) for g in own), strict=True)
            )
            keys, which = np.unique(group * wiring.n_numbers + product.source, return_inverse=True)
            owner, number = keys // wiring.n_numbers, keys % wiring.n_numbers
            begins = np.ones(len(keys), bool)
            begins[1:] = (owner[1:] != owner[:-1]) | (number[1:] > number[:-1] + 1 + _GAP)
            offset = number - number[begins][np.cumsum(begins) - 1]
            begins[1:] |= offset[1:] // _LANES != offset[:-1] // _LANES
            vector = np.cumsum(begins) - 1  # of each product
            x = number[begins] - offset[begins] % _LANES
            # vectors of a group are shared out to tasks of at most _VECTORS
            of = owner[begins]
            many = np.bincount(of, minlength=len(own))
            each = -(-many // np.maximum(1, -(-many // _VECTORS)))
            within = np.arange(len(of)) - np.searchsorted(of, of)
            starts = np.flatnonzero(within % each[of] == 0)
            task = np.cumsum(within % each[of] == 0) - 1  # of each vector
            slot = within % each[of]
            vectors = np.diff(np.append(starts, len(of)))
            length = sizes[of[starts]] * vectors * _LANES
            to = made + np.concatenate([[0], np.cumsum(length)])
            table = np.zeros(len(starts), OUTER)
            table["g"], table["numbers"] = firsts[of[starts]], sizes[of[starts]]
            table["vectors"], table["to"] = vectors, to[:-1]
            table["x"][task, slot] = x
            tables.append(table)
            made = int(to[-1])
            v = vector[which]
            t = task[v]
            at = to[t] + (place * vectors[t] + slot[v]) * _LANES + number[which] - x[v]
            index[product.weight - FIRST] = at
            begin = step.first + step.layer.weight.numel() - FIRST
            biases.append((begin, step.to.ravel()))
        for begin, numbers in biases:
            index[begin : begin + len(numbers)] = made + numbers
        return np.concatenate(tables), made, index

    def _tiles(self, numbers: list[Numbers]) -> NDArray[np.int32]:
        """Tiles of rows that have any of these numbers."""
        return np.unique(np.concatenate(numbers) // (self.per * _LANES)).astype(np.int32)

    def _filled(self, parts: list[Numbers]) -> NDArray[Any]:
        """What fills rows with parts (F, B)."""
        where = {int(n): (k, f) for k, part in enumerate(parts) for f, n in enumerate(part)}
        rows = sorted({n // self.per for n in where})
        table = np.zeros(len(rows), FILLED)
        for entry, row in zip(table, rows, strict=True):
            entry["row"] = row
            found = [where.get(row * self.per + m, (-1, 0)) for m in range(self.per)]
            found += [(-1, 0)] * (2 - len(found))
            entry["part"], entry["feature"] = zip(*found, strict=True)
        return table
