"""Summaries of the branches of a ROOT file, and their rendering for the terminal.

`inspect` reads every branch once and keeps ranges, NaN counts, and exact values that are far more frequent than their
neighbours; `hepgan.data.starting` makes a configuration from them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.segment import Segment, Segments
from rich.table import Table
from scipy.ndimage import median_filter

from hepgan.data.columns import Column, Streams, columns
from hepgan.data.failures import cause_of, reason_of
from hepgan.data.friends import friends
from hepgan.data.root import entry_steps, find_trees, open_file, open_tree, tree_name
from hepgan.data.summaries import SENTINELS, Branch, Report, Tree, numbered
from hepgan.files import is_url, location
from hepgan.progress import event_bar

__all__ = ["inspect", "render"]

_STEP = 64 * 10**6  # bytes of all branches of a tree in one step; the first is compared between branches
_SAMPLE = 100_000  # values of each branch in which exact values and equalities are searched
# An exact value is a point mass if it is at least _OFTEN of the values, occurs at least _FEWEST times, and _EXCESS
# times more often than its _AROUND neighbours (median). Branches with fewer distinct values count as discrete.
_OFTEN = 1e-3
_FEWEST = 10
_EXCESS = 10.0
_AROUND = 21
_MOST = 8  # largest number of exact values; a branch with more of them is digitised
_EQUAL = 0.01  # share of the entries from which two branches count as equal
_COMPARED = 4_000_000  # values compared with each other at once
_HEADINGS = ("branch", "type", "values", "min", "max", "NaN/inf", "exact values")
_TEXTS = 2  # columns that are no numbers
_MOST_ROWS = 1000  # of a table with a frame
_SHARED_LINE = 8  # numbered branches from which a series takes one line of the table


def _split(path: str | Path) -> tuple[str, str]:
    """Split FILE.root[:TREE] into the file and the tree ("" for all); a URL may have a port."""
    name = location(path)
    if Path(name).is_file():
        return name, ""
    scheme, mark, rest = name.partition("://") if is_url(name) else ("", "", name)
    host, slash, rest = rest.partition("/") if mark else ("", "", rest)
    head, colon, tail = rest.rpartition(":")
    return (
        (f"{scheme}{mark}{host}{slash}{head}", tail) if colon and not tail.endswith(".root") else (name, "")
    )


def _flat(values: Any) -> tuple[NDArray[Any], tuple[int, ...], NDArray[Any] | None]:
    """All numbers of some entries, their shape in an entry, and their number in each if that varies."""
    layout = values.layout
    if layout.is_numpy:  # the last case covers this and the next, but takes many times as long
        return np.asarray(layout.data).ravel(), layout.data.shape[1:], None
    if layout.is_list and not layout.is_regular and layout.content.is_numpy and layout.content.data.ndim == 1:
        lists = layout.to_ListOffsetArray64(True)
        offsets = np.asarray(lists.offsets.data)
        return np.asarray(lists.content.data)[: offsets[-1]], (), np.diff(offsets)
    flat = np.ma.filled(ak.to_numpy(ak.flatten(values, axis=None)), np.nan)
    if "var" not in str(values.type):
        return flat, ak.to_numpy(values[:1]).shape[1:], None
    per_event = ak.from_regular(values, axis=None)
    while per_event.ndim > 2:
        per_event = ak.flatten(per_event, axis=2)
    return flat, (), ak.to_numpy(ak.num(per_event))


class _Summary:
    """Running range and counts of one branch."""

    def __init__(self) -> None:
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
        self.counts: bytes | None = None  # number of values in each entry of the sample
        self.problem = ""

    def add(self, values: Any) -> None:
        """Include the values of the branch in the next entries."""
        flat, shape, counts = _flat(values)
        first, self.shape = not self.lengths, shape if counts is None else None
        self.lengths += (
            [int(counts.min()), int(counts.max())] if counts is not None else [int(np.prod(shape))]
        )
        if first:
            self._look(flat[:_SAMPLE], scalar=shape in ((), None))
            if self.sample.size and counts is not None:
                self.counts = counts.tobytes()
        finite = flat[np.isfinite(flat)]
        self.n_nan += flat.size - finite.size
        if finite.size:
            self.ranges.append((float(finite.min()), float(finite.max())))
            with np.errstate(over="ignore"):
                self.total += float(finite.sum(dtype=np.float64))
            self.n_finite += finite.size
            low, high = self.ranges[-1]
            inside = [value for value in self.masses if low <= value <= high and finite.dtype.kind != "b"]
            self.exact.update({v: n for v in inside if (n := int(np.count_nonzero(finite == v)))})

    def _look(self, values: NDArray[Any], *, scalar: bool) -> None:
        """Find exact values in the first chunk: values that are far more frequent than their neighbours."""
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
            masses = [value for value in map(float, distinct[often]) if value not in SENTINELS]
            self.masses += masses if len(masses) <= _MOST else []

    def branch(self, column: Column) -> Branch:
        """The summary, with the name and the type of a column."""
        name, kind = column.name, column.type
        if self.problem or not column.numeric:
            return Branch(name, kind, numeric=False, problem=self.problem)
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


def _ties(summaries: Mapping[str, _Summary]) -> tuple[tuple[str, str, float], ...]:
    """Pairs of continuous branches that are exactly equal in many of the first entries, most frequent first."""
    alike: dict[Any, list[str]] = {}  # one number an event, or as many tracks in each event
    for name, summary in summaries.items():
        if summary.sample.size:
            alike.setdefault((summary.counts, summary.sample.size), []).append(name)
    ties = []
    for names in alike.values():
        values = np.stack([summaries[name].sample[: _COMPARED // len(names)] for name in names], axis=1)
        for column, name in zip(values.T, names, strict=True):
            column[np.isin(column, summaries[name].masses)] = np.nan
        order = np.argsort(values, axis=1, kind="stable")
        values = np.take_along_axis(values, order, axis=1)
        row, k = np.nonzero(values[:, 1:] == values[:, :-1])  # equal values are neighbours now
        pairs, counts = np.unique([order[row, k], order[row, k + 1]], axis=1, return_counts=True)
        shares = zip(counts / len(values), pairs.T, strict=True)
        ties += [(float(share), names[a], names[b]) for share, (a, b) in shares if share >= _EQUAL]
    return tuple((a, b, share) for share, a, b in sorted(ties, key=lambda tie: -tie[0]))


def _tree(tree: Any, name: str, kind: str, done: Callable[[], None]) -> Tree:
    """Summarise one tree, one branch after the other, so that memory holds no more than one."""
    known = columns(tree).values()
    summaries = {column.name: _Summary() for column in known}
    numeric = [column for column in known if column.numeric]
    stops = entry_steps(tree, numeric, size=_STEP)
    branches: dict[int, list[Column]] = {}
    for column in known:
        if column.error is not None:
            summaries[column.name].problem = _problem(column, column.error)
        elif column.numeric:
            branches.setdefault(id(column.branch), []).append(column)
    for read in branches.values():
        streams = Streams(read)
        for stop in stops:
            for column, values in streams.take(stop):
                if isinstance(values, Exception):
                    summaries[column.name].problem = _problem(column, values)
                else:
                    summaries[column.name].add(ak.Array(values))
        done()
    title = str(getattr(tree, "title", "") or "")
    rows = tuple(summaries[column.name].branch(column) for column in known)
    readable = {name: summary for name, summary in summaries.items() if not summary.problem}
    kind = "RNTuple" if "RNTuple" in kind else "TTree"
    return Tree(name, kind, title, int(tree.num_entries), rows, _ties(readable), tuple(friends(tree)))


def _problem(column: Column, error: Exception) -> str:
    return f"{cause_of(error, of=column.kind).word}: {reason_of(error)}"


def inspect(path: str | Path, *, progress: bool = False) -> Report:
    """Summarise the trees of a file; every branch is read once, in chunks.

    Args:
        path: ``FILE.root`` or ``FILE.root:TREE``; the file may be a URL.
        progress: Show a progress bar.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is not a readable ROOT file with trees, or has no such tree.
    """
    place, name = _split(path)
    with open_file(place) as file:
        kinds = find_trees(file)
        if name or not kinds:
            trees = {tree_name(name): open_tree(file, name)}
        else:
            trees = {key: open_tree(file, key) for key in kinds}
        total = sum(len(tree.keys()) for tree in trees.values())
        with event_bar("reading branches", total=total, show=progress) as bar:
            count = itertools.count(1)
            summaries = [
                _tree(tree, key, kinds[key], lambda: bar(next(count))) for key, tree in trees.items()
            ]
        return Report(place, tuple(summaries))


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def render(report: Report) -> Group:
    """Tables of the report for the terminal; numbered branches (``cell_0``, ``cell_1``, ...) share a line."""
    tables: list[RenderableType] = []
    for tree in report.trees:
        title = f"{tree.name}: {tree.kind}, {tree.entries} entries"
        unread = f"friend trees, which are not read: {', '.join(tree.friends)}" if tree.friends else ""
        caption = "\n".join(filter(None, (tree.title, unread)))
        rows = [_row(name, branch) for name, branch in _grouped(tree.branches)]
        tables.append((_table if len(rows) <= _MOST_ROWS else _lines)(title, caption, rows))
        problems = [
            f"{branch.name} ({branch.type}): {branch.problem}" for branch in tree.branches if branch.problem
        ]
        tables += [escape(problem) for problem in problems[:_MOST]]
        if len(problems) > _MOST:
            tables.append(f"and {len(problems) - _MOST} more branches that cannot be read")
        if tree.ties:
            pairs = [f"{a} = {b} in {share:.0%}" for a, b, share in tree.ties[:_MOST]]
            more = f", and {len(tree.ties) - _MOST} more" if len(tree.ties) > _MOST else ""
            tables.append(escape(f"exactly equal, not at exact values: {', '.join(pairs)}{more}"))
    return Group(escape(report.path), *tables)


def _row(name: str, branch: Branch) -> tuple[str, ...]:
    """Cells of the line of a branch."""
    if not branch.numeric:
        return (name, branch.type, branch.problem.partition(":")[0] or "no numbers", "", "", "", "")
    low, high = branch.lengths
    shape = "x".join(map(str, branch.shape)) if branch.shape else "1"
    values = shape if branch.shape is not None else f"{low} to {high}"
    marks = ", ".join(f"{count} x {value:g}" for value, count in branch.exact)
    return (
        name,
        branch.type,
        values,
        _number(branch.minimum),
        _number(branch.maximum),
        str(branch.n_nan),
        marks,
    )


def _table(title: str, caption: str, rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(title=escape(title), caption=escape(caption) or None)
    for k, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="left" if k < _TEXTS else "right", overflow="fold")
    for name, kind, values, low, high, nan, marks in rows:
        bad = not low and values[:1].isalpha() and values != "no numbers"
        cells = (f"[red]{values}[/red]" if bad else values, low, high)
        table.add_row(
            escape(name), escape(kind), *cells, f"[red]{nan}[/red]" if nan.strip("0") else nan, marks
        )
    return table


def _lines(title: str, caption: str, rows: Sequence[tuple[str, ...]]) -> Segments:
    """The same as aligned text: for thousands of rows a table takes longer than the reading of the file."""
    cells = [_HEADINGS, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(_aligned, row, widths, range(len(row)))).rstrip() for row in cells]
    return Segments(map(Segment, filter(None, (title, *lines, caption))), new_lines=True)


def _aligned(text: str, width: int, k: int) -> str:
    return text.ljust(width) if k < _TEXTS else text.rjust(width)


def _grouped(branches: Sequence[Branch]) -> list[tuple[str, Branch]]:
    """Lines of the table, label and summary; a long series of numbered scalars becomes one line."""
    series = {b.name: members for members in numbered(branches).values() for b in members}
    lines: list[tuple[str, Branch]] = []
    for branch in branches:
        members = series.get(branch.name, [])
        if len(members) < _SHARED_LINE:
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
            lines.append((f"{members[0].name} ... {members[-1].name}", whole))
    return lines
