"""A configuration to start from: the TOML text that trains on the showers or tracks of a ROOT file.

Showers are recognised by their layout (`hepgan.data.recognition`), tracks by the names that ntuples give to
observables. Both are guesses, and the text says so; numbers that may be conditions too are there as commented-out
tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tomli_w

from hepgan.config import SHOWERS, TRACKS, load
from hepgan.config.geometry import NOTE, carried, layers_text
from hepgan.data.branches import LAYOUTS, TRACK_LAYOUTS
from hepgan.data.expressions import quoted
from hepgan.data.inspection import inspect
from hepgan.data.recognition import Suggestion, positions
from hepgan.data.root import open_file
from hepgan.data.summaries import SENTINELS, Branch, Tree, numbered
from hepgan.errors import DataError
from hepgan.files import PACKAGE, is_url
from hepgan.geometry import CALOGAN, Calorimeter

__all__ = ["starting_config"]

_MOST_CANDIDATES = 12  # conditions that are listed as tables; more are named only
_SERIES = 8  # numbered branches from which on they are the cells of something, not conditions
_WIDE = 10.0  # ratio of the largest to the smallest value from which on a condition is taken in its logarithm
_ENERGETIC = r"energy|mom|(^|[_.])(e|p_?t?)$"
_BOOKKEEPING = (
    r"(^|[_.])(n_?(hit|cell)\w*|n?(event|run|entry|job|seed|evt)\w*|number|index|id|cpu\w*|time|\w*weights?|sw\w*)"
    "($|[_.])"
)
_UNIT = re.compile("(?<![A-Za-z])([MGT]eV)(?![A-Za-z])")
_GEV_RATIO = 10.0  # cells above this multiple of the incident energy are in MeV, the incident energy in GeV

_ENERGY_NAMES = (  # of the incident particle, best first
    "incident_energy", "incident_energies", "totalenergy", "true_energy", "particle_energy", "beam_energy",
    "gun_energy", "mc_energy", "einc", "e_inc", "energy", "e",
)  # fmt: skip
_SOURCE = r"(inc?|init|true|truth|gen|mc|beam|gun|kin|prim\w*|part\w*)"
_ENERGY = re.compile(
    rf"(^|[^a-z])(e_?({_SOURCE}|0)|{_SOURCE}_?e)([^a-z0-9]|$)"
)  # E_in, mcE, E0, in lower case

# Observables of tracks, by the names that ntuples give them; best first, case does not matter
_TARGETS = "dll|(?<!ra)pid|probnn"  # rapidity is none
_MOMENTUM = (r"(^|[_.])p$", "momentum", r"(^|[_.])ptot")
_ETA = (r"(^|[_.])eta($|[_.])", "pseudorapidity", "eta$")
_OCCUPANCY = ("ntracks", "nspdhits", "nvelotracks", r"(^|[_.])n\w*(tracks|hits|clusters|pvs)")
_WEIGHTS = ("sweight", r"(^|[_.])sw($|[_.])", "weight")
_MEV_MEAN = 500.0  # a mean momentum above this is in MeV/c, below in GeV/c
_PDG = {11: "e", 13: "mu", 22: "gamma", 211: "pi", 321: "K", 2212: "p"}  # Particle Data Group


def _toml(value: str | Sequence[str] | Mapping[str, str]) -> str:
    """A text, list or table as TOML on one line."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(entry)}' for key, entry in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)  # for these TOML has the notation of JSON


def _showers(tree: Tree, path: str) -> tuple[list[str], list[str]] | None:
    """Read a tree as showers, if it holds them and an incident energy.

    Returns:
        Lines that follow the tree in ``[data]`` and the training; other layouts in which the showers can be read.
    """
    found = {
        name: suggestion for name, layout in LAYOUTS.items() if (suggestion := layout.suggest(tree, path))
    }
    energy = _incident_energy(tree)
    if not found or energy is None:
        return None
    chosen, *others = found
    calorimeter = found[chosen]
    with open_file(path) as file:
        geometry = carried(file, source=path)
    if geometry is not None:
        calorimeter = _fitting(calorimeter, geometry)
    unit, why = (
        "GeV" if calorimeter.visible > _GEV_RATIO * energy.mean else "MeV",
        "from the energy in the cells, taken as MeV",
    )
    if named := _UNIT.search(energy.name):
        unit, why = named[1], "by its name"
    lines = []
    if energy.minimum <= 0 or energy.n_nan:
        lines.append(f"cut = {_toml(f'{quoted(energy.name)} > 0')}  # some values are not")
    known = energy.name.lower().rpartition("/")[2] in _ENERGY_NAMES[:2]
    scalars = [b for b in tree.branches if TRACK_LAYOUTS["scalars"].holds(b) and b is not energy]
    return [
        *lines,
        "",
        "[[data.conditions]]",
        'name = "incident_energy"',
        f"branch = {_toml(energy.name)}{'' if known else '  # guess: by its name'}",
        f"unit = {_toml(unit)}  # guess: {why}",
        'transform = "log"',
        *_candidates(scalars, tree, "shower"),
        "",
        "[data.calorimeter]",
        *_calorimeter_lines(calorimeter),
        'unit = "MeV"  # guess: a ROOT file does not say the unit of the cells',
        "",
        *(_layer_lines(calorimeter.shapes) if geometry is None else _carried_lines(geometry)),
        *_recipe("eplus.toml"),
    ], [f"layout = {_toml(name)}: {', '.join(_calorimeter_lines(found[name])[1:])}" for name in others]


def _candidates(branches: Sequence[Branch], tree: Tree, row: str) -> list[str]:
    """Commented-out conditions: numbers that are not used, apart from constants, bookkeeping, counters and series."""
    series = {
        b.name for members in numbered(tree.branches).values() if len(members) >= _SERIES for b in members
    }
    counters = {f"n{b.name}" for b in tree.branches if b.shape is None}
    fitting = [
        b
        for b in branches
        if b.numeric
        and b.minimum < b.maximum
        and b.name not in series | counters
        and not re.search(_BOOKKEEPING, b.name.lower().rpartition("/")[2])
    ]
    if not fitting:
        return []
    lines = [
        "",
        f"# Other numbers of a {row}. Uncomment those that it depends on (angle, position, particle, ...) and that",
    ]
    lines += ["# are known before the simulation; leave results of the simulation out."]
    for b in fitting[:_MOST_CANDIDATES]:
        codes = {code: name for code, name in _PDG.items() if {code, -code} & set(b.few)}
        if len(b.few) > 1 and {abs(v) for v in b.few} <= set(_PDG):
            table = [
                *([f"branch = {_toml(f'abs({b.name})')}"] if min(b.few) < 0 else []),
                'transform = "category"',
            ]
            table.append(
                f"categories = {{ {', '.join(f'{name} = {code}' for code, name in codes.items())} }}"
            )
        else:
            wide = re.search(_ENERGETIC, b.name.lower()) and 0 < _WIDE * b.minimum < b.maximum
            table = [
                f"transform = {_toml('log' if wide else 'linear')}",
                *(["integer = true"] if b.integer else []),
            ]
        lines += [f"# {line}".rstrip() for line in _table("conditions", b, *table)]
    if rest := fitting[_MOST_CANDIDATES:]:
        lines += [f"# and {', '.join(b.name for b in rest)}"]
    return lines


def _incident_energy(tree: Tree) -> Branch | None:
    """The branch whose name fits the energy of the incident particle best."""
    scalars = [b for b in tree.branches if b.numeric and b.shape in ((), (1,)) and np.isfinite(b.maximum)]
    by_name = {b.name.lower().rpartition("/")[2]: b for b in scalars}
    for name in _ENERGY_NAMES:
        if name in by_name:
            return by_name[name]
    likely = (
        b for fits in (_ENERGY.search, re.compile("energy").search) for b in scalars if fits(b.name.lower())
    )
    return next(likely, None)


def _calorimeter_lines(calorimeter: Suggestion) -> list[str]:
    place = "the last branches, " if calorimeter.settings.get("overflow") == "tail" else ""
    guess = "  # guess: by names and values"
    comments = {
        "overflow": f"  # guess: {place}one number a layer",
        **dict.fromkeys(("branches", "cells", "hits"), guess),
    }
    lines = [f"{key} = {_toml(value)}{comments.get(key, '')}" for key, value in calorimeter.settings.items()]
    return [*lines, *(f"# {note}" for note in calorimeter.notes)]


def _fitting(calorimeter: Suggestion, geometry: Calorimeter) -> Suggestion:
    """What is recognised, given the geometry that the file carries.

    Raises:
        DataError: If the file has other cells.
    """
    recognised = sum(nx * ny for nx, ny in calorimeter.shapes)
    settings = dict(calorimeter.settings)
    if settings["layout"] == "hits":  # the last cells may have no hit
        fits = recognised <= geometry.n_cells
    elif settings["layout"] == "cells" and recognised == geometry.n_cells + geometry.n_layers:
        fits, settings["overflow"] = True, "tail"
    else:
        fits = recognised == geometry.n_cells
    if not fits:
        raise DataError(
            f"text {NOTE!r}: expected the geometry of {recognised} cells, as the branches have, got one of "
            f"{geometry.n_cells} cells in {geometry.n_layers} layers; make the file again"
        )
    return replace(calorimeter, settings=settings, shapes=tuple(geometry.shapes), notes=())


def _carried_lines(geometry: Calorimeter) -> list[str]:
    return [
        "# The geometry that the file carries. To share it between configurations: hepgan convert FILE.root calo.toml,",
        '# and geometry = "calo.toml" in place of the layers.',
        *layers_text(geometry).splitlines(),
        "",
    ]


def _layer_lines(shapes: tuple[tuple[int, int], ...]) -> list[str]:
    known = shapes == tuple(CALOGAN.shapes)
    if known:
        lines = [
            "# guess: the shapes are those of the CaloGAN calorimeter (arXiv:1705.02355), so its positions are",
            "# filled in; replace them if your detector is another.",
        ]
    else:
        lines = [
            "# Positions are not in the file: these are cells of 1 mm x 1 mm in layers of 1 mm. Replace",
            "# x, y (range or edges) and z (front, back), and check the shapes.",
        ]
    mark = "" if known else "  # replace"
    for k, (nx, ny) in enumerate(shapes):
        x, y, z = [-nx / 2, nx / 2], [-ny / 2, ny / 2], [float(k), float(k + 1)]
        if known:
            layer = CALOGAN.layers[k]
            x, y, z = ([axis[0], axis[-1]] for axis in (layer.x, layer.y, layer.z))
        lines += [
            "[[data.calorimeter.layers]]",
            f"shape = [{nx}, {ny}]",
            f"x = {x}{mark}",
            f"y = {y}{mark}",
            f"z = {z}{mark}",
            "",
        ]
    return lines


def _tracks(tree: Tree, path: str) -> tuple[list[str], list[str]] | None:
    """Read a tree as tracks, if it holds observables and their conditions; returns as `_showers`."""
    branches = [replace(b, name=b.name.rpartition("/")[2]) for b in tree.branches if b.minimum < b.maximum]
    scalars, jagged = (
        [b for b in branches if TRACK_LAYOUTS[layout].holds(b)] for layout in ("scalars", "jagged")
    )
    targets = _observables(jagged)
    others = [b for b in (*jagged, *scalars) if b not in targets]
    if not targets:
        targets = _observables(scalars)
        others = [b for b in scalars if b not in targets]
    if not targets:
        return None
    targets, particles = _of_one_particle(targets)
    floats = [b for b in others if not b.integer]
    like = targets[0].name
    weight = _named(floats, _WEIGHTS, like=like)
    momentum, eta = _named(floats, _MOMENTUM, like=like), _named(floats, _ETA, like=like)
    occupancy, species = _named(others, _OCCUPANCY, like=like), _species(others)
    if not (momentum or eta or occupancy):
        return None

    needed = [f"{quoted(b.name)} > 0" for b in momentum if b.minimum <= 0 or b.n_nan]
    needed += [f"isfinite({quoted(b.name)})" for b in (*eta, *occupancy, *weight, *targets) if b.n_nan]
    needed += [f"{quoted(b.name)} != {v:g}" for b in (*eta, *occupancy) for v, _ in b.exact if v in SENTINELS]
    lines = [f"cut = {_toml(' and '.join(needed))}  # some values are not"] if needed else []
    lines += [f"weight = {_toml(b.name)}" for b in weight]
    names = {b.name for b in targets}
    if any({a.rpartition("/")[2], b.rpartition("/")[2]} <= names for a, b, _ in tree.ties):
        lines.append("ties = true  # some targets are often exactly equal")
    lines += ["", "# guess: the conditions, by their names"]
    for b in momentum:
        unit = "MeV/c" if b.mean > _MEV_MEAN else "GeV/c"
        lines += _table("conditions", b, f"unit = {_toml(unit)}  # guess: from its size", 'transform = "log"')
    for b in (*eta, *occupancy):
        count = ["integer = true  # a count"] if b.integer else []
        lines += _table("conditions", b, 'transform = "linear"', *count)
    lines += _species_lines(species) if species is not None else []
    lines += ["", "# guess: the observables to generate, by their names"]
    if particles:
        lines.append(
            f"# Those of {particles[0]}: a row is one track. The tree has the same of {', '.join(particles[1:])}."
        )
    for b in targets:
        counts = ", ".join(f"{n}" for _, n in b.exact)
        atoms = [f"atoms = {[v for v, _ in b.exact]}  # found {counts} times"] if b.exact else []
        lines += _table("targets", b, *atoms)
    used = (*momentum, *eta, *occupancy, *weight, *targets, *([species] if species else []))
    return [
        *lines,
        *_candidates([b for b in others if b not in used], tree, "track"),
        *_recipe("rich.toml"),
    ], []


def _observables(branches: Sequence[Branch]) -> list[Branch]:
    """Branches with names of observables; not weights, which may be named after them, and not integers."""
    weights = re.compile("|".join(_WEIGHTS), re.IGNORECASE)
    fitting = [b for b in branches if re.search(_TARGETS, b.name, re.IGNORECASE)]
    return [b for b in fitting if not b.integer and not weights.search(b.name)]


def _of_one_particle(targets: Sequence[Branch]) -> tuple[list[Branch], list[str]]:
    """Observables of the first of several particles, and their names: ``Kplus_PIDK`` and ``piminus_PIDK`` are two."""
    of = {b.name: b.name.partition("_") for b in targets}
    kinds = [kind for _, _, kind in of.values()]
    particles = list(dict.fromkeys(particle for particle, _, _ in of.values()))
    if len(particles) < 2 or len(set(kinds)) == len(kinds) or "" in kinds:
        return list(targets), []
    return [b for b in targets if of[b.name][0] == particles[0]], particles


def _named(branches: Sequence[Branch], patterns: Sequence[str], *, like: str) -> list[Branch]:
    """At most one branch, for the first pattern that any name matches: the one that shares most words with `like`."""
    words = set(re.split("[_.]", like))
    for pattern in patterns:
        fitting = [b for b in branches if re.search(pattern, b.name, re.IGNORECASE)]
        if fitting:
            return [max(fitting, key=lambda b: len(words.intersection(re.split("[_.]", b.name))))]
    return []


def _species(branches: Sequence[Branch]) -> Branch | None:
    """The first branch with PDG codes of two or more particles that DLLs tell apart."""
    return next((b for b in branches if len(b.few) > 1 and {abs(v) for v in b.few} <= set(_PDG)), None)


def _species_lines(species: Branch) -> list[str]:
    signed = min(species.few) < 0
    categories = [f"{name} = {code}" for code, name in _PDG.items() if {code, -code} & set(species.few)]
    return [
        "",
        "# One model for all species; for one of them, leave this out and add it to the cut, as in "
        f"{quoted(species.name)} == {species.few[0]:g}",
        *_table("conditions", species)[1:],
        *([f"branch = {_toml(f'abs({quoted(species.name)})')}"] if signed else []),
        'transform = "category"',
        f"categories = {{ {', '.join(categories)} }}",
    ]


def _table(name: str, branch: Branch, *lines: str) -> list[str]:
    return ["", f"[[data.{name}]]", f"name = {_toml(branch.name)}", *lines]


def _recipe(name: str) -> list[str]:
    """Model, objective and training of a shipped recipe."""
    shipped = load(PACKAGE / "configs" / name)
    values = shipped.model_dump(
        mode="json", exclude_defaults=True, include={"model", "objective", "training"}
    )
    values["model"].pop("name", None)
    return ["", f"# as in hepgan/configs/{name}", tomli_w.dumps({k: v for k, v in values.items() if v})]


_SUGGESTIONS: dict[str, Callable[[Tree, str], tuple[list[str], list[str]] | None]] = {
    SHOWERS.rows: _showers,
    TRACKS.rows: _tracks,
}


def starting_config(path: str, *, kind: str | None = None) -> str:
    """A configuration for the showers or the observables of a file.

    Args:
        path: ``FILE.root`` or ``FILE.root:TREE``.
        kind: ``showers`` or ``tracks``: read the file as these; default: as what fits, showers first.

    Returns:
        TOML text that `hepgan.config.parse` accepts; guesses and other readings of the file are marked by comments.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If no tree holds showers in a layout that hepgan reads and an incident energy, or observables and
            conditions with names that are known.
    """
    report = inspect(path)
    trees = sorted(report.trees, key=lambda t: -t.entries)
    readings = [
        (name, tree, found)
        for name, suggest in _SUGGESTIONS.items()
        for tree in trees
        if (found := suggest(tree, report.path)) is not None
    ]
    asked = [reading for reading in readings if kind in (None, reading[0])]
    if asked:
        name, tree, (lines, layouts) = asked[0]
        location = report.path if is_url(report.path) else Path(report.path).as_posix()
        others = [f"{kind_} of tree {t.name!r}" for kind_, t, _ in readings if (kind_, t) != (name, tree)]
        ways = [f"--kind {k}" for k in _SUGGESTIONS if k != name and any(k == r[0] for r in readings)]
        ways += [f"{location}:TREE"] if len({t.name for _, t, _ in readings}) > 1 else []
        header = [
            f"# Written by hepgan inspect --config from {tree.entries} entries: {name} of tree {tree.name!r}, as their",
            '# names and values look. Check each "guess"; all other keys have defaults, see docs/config.md.',
        ]
        if others:
            header.append(
                f"# The file can also be read as {', '.join(others)}: choose with {' or '.join(ways)}."
            )
        header += [f"# The showers can also be read with {layout}" for layout in layouts]
        return "\n".join(
            [
                *header,
                "[data]",
                f"files = {_toml([location])}  # more files and globs may follow",
                f"tree = {_toml(tree.name)}",
                *lines,
            ]
        )
    names = ", ".join(f"{tree.name!r}" for tree in report.trees)
    for tree in trees:
        if layouts := [name for name, layout in LAYOUTS.items() if layout.suggest(tree, report.path)]:
            scalars = [b.name for b in tree.branches if b.numeric and b.shape in ((), (1,))]
            names += (
                f" (showers in layout {layouts[0]!r} of tree {tree.name!r}, but no energy among its numbers: "
            )
            names += f"{', '.join(scalars[:_MOST_CANDIDATES]) or 'there are none'})"
    if hits := [name for tree in trees for name in positions(tree)]:
        names += f" ({', '.join(hits)} are positions: add a branch with the number of each hit's cell)"
    raise DataError(
        f"{path}: expected a tree with an incident energy (a scalar named like {_ENERGY_NAMES[0]}) "
        "and showers: array or vector branches (one a layer, always of the same length), numbered scalar branches "
        "(one a cell) or variable-length hit branches (layer, ix, iy, energy, where the first three are whole numbers "
        "from 0, not positions); or one with observables of tracks (numbers "
        "named like DLL, PID or ProbNN) and momentum, pseudorapidity or occupancy (P, ETA, nTracks); "
        f"got none in {names}; write [data] by hand: name, branch, unit and transform of each input in "
        "[[data.conditions]] and of each output in [[data.targets]]"
    )
