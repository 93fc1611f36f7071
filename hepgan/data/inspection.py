"""What is in a ROOT file, and a configuration to start from.

`inspect` reads every branch once and keeps ranges, NaN counts, and values that occur exactly again and again;
`starting_config` recognises the layout of the showers (`hepgan.data.reading` describes them), or the observables of
tracks by their names, and writes the TOML text that trains on them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import tomli_w
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from scipy.ndimage import median_filter

from hepgan.config import TrainingConfig, load
from hepgan.data.root import chunks, find_trees, open_file, open_tree
from hepgan.files import PACKAGE

__all__ = ["SENTINELS", "Branch", "Report", "Tree", "inspect", "render", "starting_config"]

SENTINELS = (-99.0, -999.0, -9999.0, -99999.0)  # values that stand for "not measured" in many ntuples
_CHUNK = "64 MB"
_SAMPLE = 100_000  # values of each branch in which exact values and equalities are looked for
_OFTEN = 1e-3  # share of the values from which an exact value is a point mass, ...
_FEWEST = 10  # ... if there are that many, ...
_EXCESS = 10.0  # ... and that many times more than of the values around it,
_AROUND = 21  # of which there are so many; a branch with fewer different ones is not continuous
_MOST = 8  # exact values: with more of them a branch is rather digitised
_EQUAL = 0.01  # share of the entries from which two branches count as equal
_COMPARED = 4_000_000  # values compared with each other at once
_MIN_CELLS = 8  # fewer numbered branches than this are not taken for the cells of a calorimeter
_GEV_RATIO = 10.0  # cells above this multiple of the incident energy are in MeV, the incident energy in GeV

_ENERGY_NAMES = (  # of the incident particle, best first
    "incident_energy", "incident_energies", "totalenergy", "true_energy", "particle_energy", "beam_energy",
    "gun_energy", "mc_energy", "einc", "e_inc", "energy", "e",
)  # fmt: skip

# The geometry of CaloGAN (arXiv:1705.02355, section 2 and the code release): (shape, z in mm) of each layer.
_CALOGAN = (((3, 96), (-240.0, -150.0)), ((12, 12), (-150.0, 197.0)), ((12, 6), (197.0, 240.0)))
_CALOGAN_WINDOW = (-240.0, 240.0)  # mm, in x and y
_CALOGAN_CELLS = sum(nx * ny for (nx, ny), _ in _CALOGAN)
_MATCH = 0.8  # hits must reach this fraction of CaloGAN's cells along each axis to be taken for it


@dataclass(frozen=True)
class Branch:
    """One branch.

    Args:
        name: Full name.
        type: Type as ROOT or C++ calls it.
        shape: Fixed shape of an event, ``()`` for a scalar; ``None`` where the length varies.
        lengths: Least and largest number of values in an event.
        minimum: Least finite value (NaN if there is none, or if the branch holds no numbers).
        maximum: Largest finite value.
        mean: Mean of the finite values.
        n_nan: Number of NaN and infinite values.
        exact: Number of values equal to each of `SENTINELS` that occurs, and to each other point mass.
        few: The different values of integers, if these are no more than `_MOST` in the first chunk.
        integer: Whether these are integers.
        numeric: Whether it holds numbers at all.
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


@dataclass(frozen=True)
class Tree:
    """One TTree or RNTuple.

    Args:
        name: Its name, with the folder.
        kind: ``TTree`` or ``RNTuple``.
        title: Its title.
        entries: Their number.
        branches: The branches.
        ties: Pairs of continuous branches that are exactly equal, not at an exact value, and in which share of
            the first entries.
    """

    name: str
    kind: str
    title: str
    entries: int
    branches: tuple[Branch, ...]
    ties: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True)
class Report:
    """What is in a file."""

    path: str
    trees: tuple[Tree, ...]


def _split(path: str) -> tuple[str, str]:
    """FILE.root[:TREE] -> file, tree ("" for all)."""
    if Path(path).is_file():
        return path, ""
    head, colon, tail = path.rpartition(":")
    return (head, tail) if colon and not tail.startswith("//") and not tail.endswith(".root") else (path, "")


class _Summary:
    """Running range and counts of one branch."""

    def __init__(self) -> None:
        self.numeric = True
        self.shape: tuple[int, ...] | None = None
        self.lengths: list[int] = []
        self.ranges: list[tuple[float, float]] = []
        self.total = 0.0
        self.n_finite = 0
        self.n_nan = 0
        self.exact: Counter[float] = Counter()
        self.masses = list(SENTINELS)
        self.few: tuple[float, ...] = ()
        self.integer = False
        self.sample: NDArray[Any] = np.empty(0)

    def add(self, values: Any) -> None:
        try:
            shape = ak.to_numpy(values[:1]).shape[1:] if "var" not in str(values.type) else None
            flat = np.ma.filled(ak.to_numpy(ak.flatten(values, axis=None)), np.nan)
        except (ValueError, TypeError):
            flat = np.empty(0, object)
        if flat.dtype.kind not in "biuf":
            self.numeric = False
            return
        if not self.lengths:
            self._look(flat[:_SAMPLE], scalar=shape in ((), None))
        self.shape = shape
        if shape is None:
            per_event = values
            while per_event.ndim > 2:
                per_event = ak.flatten(per_event, axis=2)
            counts = ak.to_numpy(ak.num(per_event))
            self.lengths += [int(counts.min()), int(counts.max())]
        else:
            self.lengths.append(int(np.prod(shape)))
        finite = flat[np.isfinite(flat)]
        self.n_nan += flat.size - finite.size
        if finite.size:
            self.ranges.append((float(finite.min()), float(finite.max())))
            self.total += float(finite.sum(dtype=np.float64))
            self.n_finite += finite.size
            low, high = self.ranges[-1]
            inside = [value for value in self.masses if low <= value <= high and finite.dtype.kind != "b"]
            self.exact.update({v: n for v in inside if (n := int(np.count_nonzero(finite == v)))})

    def _look(self, values: NDArray[Any], *, scalar: bool) -> None:
        """Find exact values in the first chunk: those that are far more frequent than the ones around them."""
        self.integer = values.dtype.kind in "iu"
        if not scalar or values.dtype.kind == "b":
            return
        distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
        if self.integer:
            self.few = tuple(map(float, distinct)) if len(distinct) <= _MOST else ()
        elif len(distinct) >= _AROUND:
            self.sample = values
            usual = _EXCESS * median_filter(counts, _AROUND, mode="mirror")
            often = (counts > usual) & (counts >= max(_FEWEST, _OFTEN * len(values)))
            found = [value for value in map(float, distinct[often]) if value not in SENTINELS]
            self.masses += found if len(found) <= _MOST else []

    def branch(self, name: str, kind: str) -> Branch:
        if not self.numeric:
            return Branch(name, kind, numeric=False)
        nan = float("nan")
        return Branch(
            name,
            kind,
            shape=self.shape if self.lengths else (),
            lengths=(min(self.lengths, default=0), max(self.lengths, default=0)),
            minimum=min((low for low, _ in self.ranges), default=nan),
            maximum=max((high for _, high in self.ranges), default=nan),
            mean=self.total / self.n_finite if self.n_finite else nan,
            n_nan=self.n_nan,
            exact=tuple(sorted(self.exact.items())),
            few=self.few,
            integer=self.integer,
        )


def _ties(chunk: Any, summaries: Mapping[str, _Summary]) -> tuple[tuple[str, str, float], ...]:
    """Pairs of continuous branches that are exactly equal in many of the first entries, most frequent first."""
    alike: dict[Any, list[str]] = {}  # one number an event, or as many tracks in each event
    for name, summary in summaries.items():
        if summary.sample.size:
            counts = None if summary.shape is not None else ak.to_numpy(ak.num(chunk[name])).tobytes()
            alike.setdefault((counts, summary.sample.size), []).append(name)
    ties = []
    for names in alike.values():
        values = np.stack([summaries[name].sample[: _COMPARED // len(names)] for name in names], axis=1)
        for column, name in zip(values.T, names, strict=True):
            column[np.isin(column, summaries[name].masses)] = np.nan
        order = np.argsort(values, axis=1, kind="stable")
        values = np.take_along_axis(values, order, axis=1)
        row, k = np.nonzero(values[:, 1:] == values[:, :-1])  # equal values are neighbours now
        pairs, counts = np.unique([order[row, k], order[row, k + 1]], axis=1, return_counts=True)
        found = zip(counts / len(values), pairs.T, strict=True)
        ties += [(float(share), names[a], names[b]) for share, (a, b) in found if share >= _EQUAL]
    return tuple((a, b, share) for share, a, b in sorted(ties, key=lambda tie: -tie[0]))


def _tree(tree: Any, name: str, kind: str) -> Tree:
    found = dict(tree.items())
    summaries = {key: _Summary() for key in found}
    ties: tuple[tuple[str, str, float], ...] | None = None
    if tree.num_entries:
        for chunk in chunks(tree, found, chunk=_CHUNK):
            fields = set(chunk.fields)
            for key in found:
                if key in fields:
                    summaries[key].add(chunk[key])
                else:  # the parent of split branches
                    summaries[key].numeric = False
            if ties is None:
                ties = _ties(chunk, summaries)
                for summary in summaries.values():
                    summary.sample = np.empty(0)
    title = str(getattr(tree, "title", "") or "")
    branches = tuple(summaries[key].branch(key, str(found[key].typename)) for key in found)
    return Tree(
        name, "RNTuple" if "RNTuple" in kind else "TTree", title, int(tree.num_entries), branches, ties or ()
    )


def inspect(path: str) -> Report:
    """Summarise the trees of a file; every branch is read once, in chunks.

    Args:
        path: ``FILE.root`` or ``FILE.root:TREE``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a readable ROOT file with trees, or has no such tree.
    """
    location, name = _split(path)
    with open_file(location) as file:
        kinds = find_trees(file)
        if name or not kinds:
            open_tree(file, name)  # says what is wrong
            kinds = {key: kind for key, kind in kinds.items() if key == name}
        return Report(location, tuple(_tree(open_tree(file, key), key, kind) for key, kind in kinds.items()))


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def render(report: Report) -> Group:
    """The report for the terminal; numbered branches (``cell_0``, ``cell_1``, ...) share a line."""
    tables: list[RenderableType] = []
    for tree in report.trees:
        table = Table(title=escape(f"{tree.name}: {tree.kind}, {tree.entries} entries"))
        table.caption = escape(tree.title) or None
        table.add_column("branch", overflow="fold")
        table.add_column("type")
        for heading in ("values", "min", "max", "NaN/inf", "exact values"):
            table.add_column(heading, justify="right")
        for names, branch in _grouped(tree.branches):
            names_type = (escape(names), escape(branch.type))
            if not branch.numeric:
                table.add_row(*names_type, "no numbers")
                continue
            low, high = branch.lengths
            shape = "x".join(map(str, branch.shape)) if branch.shape else "1"
            values = shape if branch.shape is not None else f"{low} to {high}"
            marks = ", ".join(f"{count} x {value:g}" for value, count in branch.exact)
            nan = f"[red]{branch.n_nan}[/red]" if branch.n_nan else "0"
            low_high = (_number(branch.minimum), _number(branch.maximum))
            table.add_row(*names_type, values, *low_high, nan, marks)
        tables.append(table)
        if tree.ties:
            pairs = [f"{a} = {b} in {share:.0%}" for a, b, share in tree.ties[:_MOST]]
            more = f", and {len(tree.ties) - _MOST} more" if len(tree.ties) > _MOST else ""
            tables.append(escape(f"exactly equal, not at exact values: {', '.join(pairs)}{more}"))
    return Group(report.path, *tables)


def _grouped(branches: Sequence[Branch]) -> list[tuple[str, Branch]]:
    """Lines of the table: a long numbered series of scalars becomes one."""
    series = _series(branches)
    lines: list[tuple[str, Branch]] = []
    for branch in branches:
        prefix = re.sub(r"\d+$", "", branch.name)
        members = series.get(prefix, [])
        if len(members) < _MIN_CELLS or branch not in members:
            lines.append((branch.name, branch))
        elif branch is members[0]:
            whole = Branch(
                branch.name,
                branch.type,
                minimum=float(np.fmin.reduce([member.minimum for member in members])),
                maximum=float(np.fmax.reduce([member.maximum for member in members])),
                n_nan=sum(member.n_nan for member in members),
                exact=tuple(sorted(sum((Counter(dict(m.exact)) for m in members), Counter()).items())),
            )
            lines.append((f"{prefix}0 ... {prefix}{len(members) - 1}", whole))
    return lines


def _series(branches: Sequence[Branch]) -> dict[str, list[Branch]]:
    """Numbered scalars: prefix -> branches 0, 1, 2, ... without a gap."""
    numbered: dict[str, dict[int, Branch]] = {}
    for branch in branches:
        match = re.fullmatch(r"(.*?)(0|[1-9]\d*)", branch.name)
        if match and branch.numeric and branch.shape == ():
            numbered.setdefault(match[1], {})[int(match[2])] = branch
    return {
        prefix: [found[k] for k in range(len(found))]
        for prefix, found in numbered.items()
        if sorted(found) == list(range(len(found)))
    }


# The starting configuration


@dataclass(frozen=True)
class _Showers:
    """A recognised layout: lines of [data.calorimeter], layer shapes, and the mean energy in the cells."""

    lines: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    visible: float


def _natural(name: str) -> tuple[Any, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))


def _toml(value: Any) -> str:
    """A string or a list of strings as TOML (JSON's notation is TOML's)."""
    return json.dumps(value, ensure_ascii=False)


def _arrays(tree: Tree) -> _Showers | None:
    layers = [b for b in tree.branches if b.numeric and b.shape is not None and len(b.shape) == 2]
    if not layers:
        return None
    layers.sort(key=lambda b: _natural(b.name))
    shapes = tuple((b.shape[0], b.shape[1]) for b in layers if b.shape is not None)
    lines = ['layout = "arrays"', f"branches = {_toml([b.name for b in layers])}"]
    overflow = [
        b.name
        for b in tree.branches
        if b.shape == (len(layers),) and re.search("overflow|outside|leak", b.name.lower())
    ]
    if overflow:
        lines.append(f"overflow = {_toml(overflow[0])}  # one number a layer")
    return _Showers(
        tuple(lines), shapes, sum(b.mean * nx * ny for b, (nx, ny) in zip(layers, shapes, strict=True))
    )


def _cells(tree: Tree) -> _Showers | None:
    prefix, cells = max(_series(tree.branches).items(), key=lambda item: len(item[1]), default=("", []))
    if len(cells) < _MIN_CELLS:
        return None
    lines = ['layout = "cells"', f"cells = {_toml(prefix + '{}')}"]
    shapes: tuple[tuple[int, int], ...] = tuple(shape for shape, _ in _CALOGAN)
    if len(cells) == _CALOGAN_CELLS + len(_CALOGAN):
        lines.append('overflow = "tail"  # the last branches: one number a layer')
    elif len(cells) != _CALOGAN_CELLS:
        shapes = ((1, len(cells)),)
    return _Showers(tuple(lines), shapes, sum(b.mean for b in cells))


def _hits(tree: Tree, path: str) -> _Showers | None:
    jagged = [b for b in tree.branches if b.numeric and b.shape is None]

    def find(*patterns: str) -> str | None:
        for pattern in patterns:
            for branch in jagged:
                if re.search(pattern, branch.name.lower()):
                    return branch.name
        return None

    energy = find("energy", "edep", r"(^|[_.])e$")
    layer, i, j = (
        find("layer"),
        find(r"(^|[_./])i?x$", r"(^|[_./])i$"),
        find(r"(^|[_./])i?y$", r"(^|[_./])j$"),
    )
    cell = find("cell")
    if energy is None or (cell is None and None in (layer, i, j)):
        return None
    by_name = {b.name: b for b in jagged}
    visible = by_name[energy].mean * _mean_hits(path, tree, energy)
    if layer is None or i is None or j is None:
        names = {"cell": cell, "energy": energy}
        n_cells = int(by_name[str(cell)].maximum) + 1
        close = _MATCH * _CALOGAN_CELLS <= n_cells <= _CALOGAN_CELLS
        shapes = tuple(shape for shape, _ in _CALOGAN) if close else ((1, n_cells),)
    else:
        names = {"layer": layer, "i": i, "j": j, "energy": energy}
        shapes = _hit_shapes(path, tree, layer, i, j)
    table = ", ".join(f"{key} = {_toml(name)}" for key, name in names.items())
    return _Showers(('layout = "hits"', f"hits = {{ {table} }}"), shapes, visible)


def _mean_hits(path: str, tree: Tree, name: str) -> float:
    """Mean number of hits in an event."""
    with open_file(path) as file:
        parts = chunks(open_tree(file, tree.name), [name], chunk=_CHUNK)
        return sum(int(ak.count(part[name])) for part in parts) / max(1, tree.entries)


def _hit_shapes(path: str, tree: Tree, layer: str, i: str, j: str) -> tuple[tuple[int, int], ...]:
    """Shape of each layer: as far as its hits reach, or CaloGAN's if that is close."""
    reach: dict[int, tuple[int, int]] = {}
    with open_file(path) as file:
        for part in chunks(open_tree(file, tree.name), [layer, i, j], chunk=_CHUNK):
            number, *index = (ak.to_numpy(ak.flatten(part[name])).astype(np.int64) for name in (layer, i, j))
            for k in np.unique(number):
                found = [int(values[number == k].max()) + 1 for values in index]
                old = reach.get(int(k), (1, 1))
                reach[int(k)] = (max(old[0], found[0]), max(old[1], found[1]))
    shapes = tuple(reach.get(k, (1, 1)) for k in range(max(reach, default=0) + 1))
    calogan = tuple(shape for shape, _ in _CALOGAN)
    if len(shapes) == len(calogan) and all(
        _MATCH * full <= got <= full
        for shape, whole in zip(shapes, calogan, strict=True)
        for got, full in zip(shape, whole, strict=True)
    ):
        return calogan
    return shapes


def _incident_energy(tree: Tree) -> Branch | None:
    scalars = [b for b in tree.branches if b.numeric and b.shape in ((), (1,)) and np.isfinite(b.maximum)]
    by_name = {b.name.lower().rpartition("/")[2]: b for b in scalars}
    for name in _ENERGY_NAMES:
        if name in by_name:
            return by_name[name]
    return next((b for b in scalars if "energy" in b.name.lower()), None)


def _layer_lines(shapes: tuple[tuple[int, int], ...]) -> list[str]:
    lines = []
    known = shapes == tuple(shape for shape, _ in _CALOGAN)
    if known:
        lines.append(
            "# The shapes are those of the CaloGAN calorimeter (arXiv:1705.02355), so its positions are"
        )
        lines.append("# filled in; replace them if your detector is another.")
    else:
        lines.append(
            "# Positions are not in the file: these are cells of 1 mm x 1 mm in layers of 1 mm. Replace"
        )
        lines.append("# x, y (range or edges) and z (front, back), and check the shapes.")
    for k, (nx, ny) in enumerate(shapes):
        x = y = list(_CALOGAN_WINDOW)
        z = list(_CALOGAN[k][1]) if known else [float(k), float(k + 1)]
        if not known:
            x, y = [-nx / 2, nx / 2], [-ny / 2, ny / 2]
        replace = "" if known else "  # replace"
        lines += [
            "[[data.calorimeter.layers]]",
            f"shape = [{nx}, {ny}]",
            f"x = {x}{replace}",
            f"y = {y}{replace}",
            f"z = {z}{replace}",
            "",
        ]
    return lines


# Observables of tracks, by the names that ntuples give them; best first, case does not matter

_TARGETS = "dll|pid|probnn"
_MOMENTUM = (r"(^|[_.])p$", "momentum", r"(^|[_.])ptot")
_ETA = (r"(^|[_.])eta($|[_.])", "pseudorapidity", "eta$")
_OCCUPANCY = ("ntracks", "nspdhits", "nvelotracks", r"(^|[_.])n\w*(tracks|hits|clusters|pvs)")
_WEIGHTS = ("sweight", r"(^|[_.])sw($|[_.])", "weight")
_MEV_MEAN = 500.0  # a mean momentum above this is in MeV/c, below in GeV/c
_PDG = {11: "e", 13: "mu", 211: "pi", 321: "K", 2212: "p"}  # Particle Data Group


def _named(branches: Sequence[Branch], patterns: Sequence[str], *, like: str) -> list[Branch]:
    """The first branch that the best pattern describes, of several one with most words of the name `like`; or none."""
    words = set(re.split("[_.]", like))
    for pattern in patterns:
        found = [b for b in branches if re.search(pattern, b.name, re.IGNORECASE)]
        if found:
            return [max(found, key=lambda b: len(words.intersection(re.split("[_.]", b.name))))]
    return []


def _species(branches: Sequence[Branch]) -> Branch | None:
    """The first branch with the PDG codes of two or more particles that are told apart by the DLLs."""
    return next((b for b in branches if len(b.few) > 1 and {abs(v) for v in b.few} <= set(_PDG)), None)


def _tracks(tree: Tree) -> list[str] | None:
    """Lines of [data] behind the tree, if it holds observables and something that they depend on."""
    branches = [replace(b, name=b.name.rpartition("/")[2]) for b in tree.branches if b.minimum < b.maximum]
    scalars = [b for b in branches if b.shape in ((), (1,))]
    jagged = [b for b in branches if b.shape is None]
    weighty = re.compile("|".join(_WEIGHTS), re.IGNORECASE)
    observables = [
        [b for b in group if re.search(_TARGETS, b.name, re.IGNORECASE)] for group in (jagged, scalars)
    ]
    observables = [
        [b for b in group if not b.integer and not weighty.search(b.name)] for group in observables
    ]
    targets = observables[0] or observables[1]
    if not targets:
        return None
    others = [b for b in (jagged if observables[0] else []) + scalars if b not in targets]
    floats = [b for b in others if not b.integer]
    like = targets[0].name
    weight = _named(floats, _WEIGHTS, like=like)
    momentum, eta = _named(floats, _MOMENTUM, like=like), _named(floats, _ETA, like=like)
    occupancy, species = _named(others, _OCCUPANCY, like=like), _species(others)
    if not (momentum or eta or occupancy):
        return None

    needed = [f"{b.name} > 0" for b in momentum if b.minimum <= 0 or b.n_nan]
    needed += [f"isfinite({b.name})" for b in (*eta, *occupancy, *weight, *targets) if b.n_nan]
    needed += [f"{b.name} != {v:g}" for b in (*eta, *occupancy) for v, _ in b.exact if v in SENTINELS]
    lines = [f"cut = {_toml(' and '.join(needed))}  # some values are not"] if needed else []
    lines += [f"weight = {_toml(b.name)}" for b in weight]
    names = {b.name for b in targets}
    if any({a.rpartition("/")[2], b.rpartition("/")[2]} <= names for a, b, _ in tree.ties):
        lines.append("ties = true  # some targets are often exactly equal")

    for b in momentum:
        unit = "MeV/c" if b.mean > _MEV_MEAN else "GeV/c"
        lines += _table(
            "conditions", b, f"unit = {_toml(unit)}  # guessed from its size", 'transform = "log"'
        )
    for b in (*eta, *occupancy):
        lines += _table(
            "conditions", b, 'transform = "linear"', *(["integer = true  # a count"] if b.integer else [])
        )
    if species is not None:
        signed = min(species.few) < 0
        known = [f"{name} = {code}" for code, name in _PDG.items() if {code, -code} & set(species.few)]
        lines += [
            "",
            "# One model for all species; for one of them, leave this out and add it to the cut, as in "
            f"{species.name} == {species.few[0]:g}",
            *_table("conditions", species)[1:],
            *([f"branch = {_toml(f'abs({species.name})')}"] if signed else []),
            'transform = "category"',
            f"categories = {{ {', '.join(known)} }}",
        ]
    for b in targets:
        counts = ", ".join(f"{n}" for _, n in b.exact)
        atoms = [f"atoms = {[v for v, _ in b.exact]}  # found {counts} times"] if b.exact else []
        lines += _table("targets", b, *atoms)
    return lines


def _table(kind: str, branch: Branch, *lines: str) -> list[str]:
    return ["", f"[[data.{kind}]]", f"name = {_toml(branch.name)}", *lines]


def _recipe() -> list[str]:
    """Objective and training of the shipped recipe for observables."""
    shipped = load(PACKAGE / "configs" / "rich.toml")
    values = shipped.model_dump(mode="json", exclude_defaults=True, include={"objective", "training"})
    return ["", "# as in hepgan/configs/rich.toml", tomli_w.dumps({k: v for k, v in values.items() if v})]


def _shower_lines(showers: _Showers, energy: Branch) -> list[str]:
    """Lines of [data] behind the tree, and the training."""
    unit = "GeV" if showers.visible > _GEV_RATIO * energy.mean else "MeV"
    lines = []
    if energy.minimum <= 0 or energy.n_nan:
        lines.append(f"cut = {_toml(f'{energy.name} > 0')}  # some values are not")
    return [
        *lines,
        "",
        "[[data.conditions]]",
        'name = "incident_energy"',
        f"branch = {_toml(energy.name)}",
        f"unit = {_toml(unit)}  # guessed from the energy in the cells, taken as MeV",
        'transform = "log"',
        "",
        "[data.calorimeter]",
        *showers.lines,
        'unit = "MeV"  # of the cells; a ROOT file does not say it: check',
        "",
        *_layer_lines(showers.shapes),
        "[training]",
        f"steps = {TrainingConfig().steps}",
        f"seed = {TrainingConfig().seed}",
        "",
    ]


def starting_config(path: str) -> str:
    """A configuration for the showers or the observables of a file.

    Args:
        path: ``FILE.root`` or ``FILE.root:TREE``.

    Returns:
        TOML text that `hepgan.config.file.parse` accepts; guesses are marked by comments.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no tree holds showers in a layout that hepgan reads and an incident energy, or observables and
            conditions with names that are known.
    """
    report = inspect(path)
    trees = sorted(report.trees, key=lambda t: -t.entries)
    for tree in trees:
        showers = _arrays(tree) or _hits(tree, report.path) or _cells(tree)
        energy = _incident_energy(tree)
        if showers is not None and energy is not None:
            lines = _shower_lines(showers, energy)
            break
    else:
        for tree in trees:
            if (found := _tracks(tree)) is not None:
                lines = [*found, *_recipe()]
                break
        else:
            names = ", ".join(f"{tree.name!r}" for tree in report.trees)
            raise ValueError(
                f"{path}: expected a tree with an incident energy (a scalar named like {_ENERGY_NAMES[0]}) "
                "and showers: 2-d array branches (one a layer), numbered scalar branches (one a cell) or "
                "variable-length hit branches (layer, ix, iy, energy); or one with observables of tracks (numbers "
                "named like DLL, PID or ProbNN) and momentum, pseudorapidity or occupancy (P, ETA, nTracks); "
                f"got none in {names}; write [data] by hand: name, branch, unit and transform of each input in "
                "[[data.conditions]] and of each output in [[data.targets]]"
            )
    return "\n".join(
        [
            f"# Written by hepgan inspect --config from {tree.entries} entries; complete as it is. All other",
            "# keys have defaults: the config.toml of a run folder lists them.",
            "[data]",
            f"files = {_toml([Path(report.path).as_posix()])}  # more files and globs may follow",
            f"tree = {_toml(tree.name)}",
            *lines,
        ]
    )
