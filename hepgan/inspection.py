"""What is in a ROOT file, and a configuration to start from.

`inspect` reads every branch once and keeps ranges, NaN and sentinel counts; `starting_config` recognises the
layout of the showers (`hepgan.readers` describes them) and writes the TOML text that trains on them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from hepgan.config import TrainingConfig
from hepgan.rootfiles import chunks, find_trees, open_file, open_tree

__all__ = ["SENTINELS", "Branch", "Report", "Tree", "inspect", "render", "starting_config"]

SENTINELS = (-99.0, -999.0, -9999.0, -99999.0)  # values that stand for "not measured" in many ntuples
_CHUNK = "64 MB"
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
        sentinels: Number of values equal to each of `SENTINELS` that occurs.
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
    sentinels: tuple[tuple[float, int], ...] = ()
    numeric: bool = True


@dataclass(frozen=True)
class Tree:
    """One TTree or RNTuple."""

    name: str
    kind: str
    title: str
    entries: int
    branches: tuple[Branch, ...]


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
        self.sentinels: Counter[float] = Counter()

    def add(self, values: Any) -> None:
        try:
            shape = ak.to_numpy(values[:1]).shape[1:] if "var" not in str(values.type) else None
            flat = np.ma.filled(ak.to_numpy(ak.flatten(values, axis=None)), np.nan)
        except (ValueError, TypeError):
            flat = np.empty(0, object)
        if flat.dtype.kind not in "biuf":
            self.numeric = False
            return
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
            if finite.dtype.kind != "b" and self.ranges[-1][0] <= max(SENTINELS):
                self.sentinels.update({s: n for s in SENTINELS if (n := int(np.count_nonzero(finite == s)))})

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
            sentinels=tuple(sorted(self.sentinels.items())),
        )


def _tree(tree: Any, name: str, kind: str) -> Tree:
    found = dict(tree.items())
    summaries = {key: _Summary() for key in found}
    if tree.num_entries:
        for chunk in chunks(tree, found, chunk=_CHUNK):
            fields = set(chunk.fields)
            for key in found:
                if key in fields:
                    summaries[key].add(chunk[key])
                else:  # the parent of split branches
                    summaries[key].numeric = False
    title = str(getattr(tree, "title", "") or "")
    branches = tuple(summaries[key].branch(key, str(found[key].typename)) for key in found)
    return Tree(name, "RNTuple" if "RNTuple" in kind else "TTree", title, int(tree.num_entries), branches)


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
    tables = []
    for tree in report.trees:
        table = Table(title=escape(f"{tree.name}: {tree.kind}, {tree.entries} entries"))
        table.caption = escape(tree.title) or None
        table.add_column("branch", overflow="fold")
        table.add_column("type")
        for heading in ("values", "min", "max", "NaN/inf", "sentinels"):
            table.add_column(heading, justify="right")
        for names, branch in _grouped(tree.branches):
            names_type = (escape(names), escape(branch.type))
            if not branch.numeric:
                table.add_row(*names_type, "no numbers")
                continue
            low, high = branch.lengths
            shape = "x".join(map(str, branch.shape)) if branch.shape else "1"
            values = shape if branch.shape is not None else f"{low} to {high}"
            marks = ", ".join(f"{count} x {value:g}" for value, count in branch.sentinels)
            nan = f"[red]{branch.n_nan}[/red]" if branch.n_nan else "0"
            low_high = (_number(branch.minimum), _number(branch.maximum))
            table.add_row(*names_type, values, *low_high, nan, marks)
        tables.append(table)
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
                sentinels=tuple(
                    sorted(sum((Counter(dict(m.sentinels)) for m in members), Counter()).items())
                ),
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


def starting_config(path: str) -> str:
    """A configuration for the showers of a file.

    Args:
        path: ``FILE.root`` or ``FILE.root:TREE``.

    Returns:
        TOML text that `hepgan.config.parse` accepts; guesses are marked by comments.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no tree holds showers in a layout that hepgan reads and an incident energy.
    """
    report = inspect(path)
    for tree in sorted(report.trees, key=lambda t: -t.entries):
        showers = _arrays(tree) or _hits(tree, report.path) or _cells(tree)
        energy = _incident_energy(tree)
        if showers is not None and energy is not None:
            break
    else:
        names = ", ".join(f"{tree.name!r}" for tree in report.trees)
        raise ValueError(
            f"{path}: expected a tree with an incident energy (a scalar named like {_ENERGY_NAMES[0]}) "
            "and showers: 2-d array branches (one a layer), numbered scalar branches (one a cell) or "
            f"variable-length hit branches (layer, ix, iy, energy); got none in {names}; write [data] by hand"
        )
    unit = "GeV" if showers.visible > _GEV_RATIO * energy.mean else "MeV"
    lines = [
        f"# Written by hepgan inspect --config from {tree.entries} entries; complete as it is. All other",
        "# keys have defaults: the config.toml of a run folder lists them.",
        "[data]",
        f"files = {_toml([Path(report.path).as_posix()])}  # more files and globs may follow",
        f"tree = {_toml(tree.name)}",
    ]
    if energy.minimum <= 0 or energy.n_nan:
        lines.append(f"cut = {_toml(f'{energy.name} > 0')}  # some values are not")
    lines += [
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
    return "\n".join(lines)
