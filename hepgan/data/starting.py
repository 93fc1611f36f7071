"""A configuration to start from: the TOML text that trains on the showers or tracks of a ROOT file.

Showers are recognised by their layout (`hepgan.data.branches`), tracks by the names that ntuples give to observables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tomli_w

from hepgan.config import SHOWERS, TRACKS, TrainingConfig, load
from hepgan.data.branches import LAYOUTS, TRACK_LAYOUTS, Suggestion
from hepgan.data.inspection import inspect
from hepgan.data.summaries import SENTINELS, Branch, Tree
from hepgan.errors import DataError
from hepgan.files import PACKAGE, is_url
from hepgan.geometry import CALOGAN

__all__ = ["starting_config"]

_GEV_RATIO = 10.0  # cells above this multiple of the incident energy are in MeV, the incident energy in GeV

_ENERGY_NAMES = (  # of the incident particle, best first
    "incident_energy", "incident_energies", "totalenergy", "true_energy", "particle_energy", "beam_energy",
    "gun_energy", "mc_energy", "einc", "e_inc", "energy", "e",
)  # fmt: skip

# Observables of tracks, by the names that ntuples give them; best first, case does not matter
_TARGETS = "dll|pid|probnn"
_MOMENTUM = (r"(^|[_.])p$", "momentum", r"(^|[_.])ptot")
_ETA = (r"(^|[_.])eta($|[_.])", "pseudorapidity", "eta$")
_OCCUPANCY = ("ntracks", "nspdhits", "nvelotracks", r"(^|[_.])n\w*(tracks|hits|clusters|pvs)")
_WEIGHTS = ("sweight", r"(^|[_.])sw($|[_.])", "weight")
_MEV_MEAN = 500.0  # a mean momentum above this is in MeV/c, below in GeV/c
_PDG = {11: "e", 13: "mu", 211: "pi", 321: "K", 2212: "p"}  # Particle Data Group


def _toml(value: str | Sequence[str] | Mapping[str, str]) -> str:
    """A text, list or table as TOML on one line."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(entry)}' for key, entry in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)  # for these TOML has the notation of JSON


def _showers(tree: Tree, path: str) -> list[str] | None:
    """Lines that follow the tree in ``[data]`` and the training, if a tree holds showers and an incident energy."""
    suggestions = (layout.suggest(tree, path) for layout in LAYOUTS.values())
    calorimeter = next((suggestion for suggestion in suggestions if suggestion is not None), None)
    energy = _incident_energy(tree)
    if calorimeter is None or energy is None:
        return None
    unit = "GeV" if calorimeter.visible > _GEV_RATIO * energy.mean else "MeV"
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
        *_calorimeter_lines(calorimeter),
        'unit = "MeV"  # of the cells; a ROOT file does not say it: check',
        "",
        *_layer_lines(calorimeter.shapes),
        "[training]",
        f"steps = {TrainingConfig().steps}",
        f"seed = {TrainingConfig().seed}",
        "",
    ]


def _incident_energy(tree: Tree) -> Branch | None:
    """The branch whose name fits the energy of the incident particle best."""
    scalars = [b for b in tree.branches if b.numeric and b.shape in ((), (1,)) and np.isfinite(b.maximum)]
    by_name = {b.name.lower().rpartition("/")[2]: b for b in scalars}
    for name in _ENERGY_NAMES:
        if name in by_name:
            return by_name[name]
    return next((b for b in scalars if "energy" in b.name.lower()), None)


def _calorimeter_lines(calorimeter: Suggestion) -> list[str]:
    place = "the last branches: " if calorimeter.settings.get("overflow") == "tail" else ""
    comments = {"overflow": f"  # {place}one number a layer"}
    return [f"{key} = {_toml(value)}{comments.get(key, '')}" for key, value in calorimeter.settings.items()]


def _layer_lines(shapes: tuple[tuple[int, int], ...]) -> list[str]:
    known = shapes == tuple(CALOGAN.shapes)
    if known:
        lines = [
            "# The shapes are those of the CaloGAN calorimeter (arXiv:1705.02355), so its positions are",
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


def _tracks(tree: Tree, path: str) -> list[str] | None:
    """Lines that follow the tree in ``[data]`` and the training, if a tree holds observables and their conditions."""
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
        count = ["integer = true  # a count"] if b.integer else []
        lines += _table("conditions", b, 'transform = "linear"', *count)
    lines += _species_lines(species) if species is not None else []
    for b in targets:
        counts = ", ".join(f"{n}" for _, n in b.exact)
        atoms = [f"atoms = {[v for v, _ in b.exact]}  # found {counts} times"] if b.exact else []
        lines += _table("targets", b, *atoms)
    return [*lines, *_recipe()]


def _observables(branches: Sequence[Branch]) -> list[Branch]:
    """Branches with names of observables; not weights, which may be named after them, and not integers."""
    weights = re.compile("|".join(_WEIGHTS), re.IGNORECASE)
    fitting = [b for b in branches if re.search(_TARGETS, b.name, re.IGNORECASE)]
    return [b for b in fitting if not b.integer and not weights.search(b.name)]


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
        f"{species.name} == {species.few[0]:g}",
        *_table("conditions", species)[1:],
        *([f"branch = {_toml(f'abs({species.name})')}"] if signed else []),
        'transform = "category"',
        f"categories = {{ {', '.join(categories)} }}",
    ]


def _table(name: str, branch: Branch, *lines: str) -> list[str]:
    return ["", f"[[data.{name}]]", f"name = {_toml(branch.name)}", *lines]


def _recipe() -> list[str]:
    """Objective and training of the shipped recipe for observables."""
    shipped = load(PACKAGE / "configs" / "rich.toml")
    values = shipped.model_dump(mode="json", exclude_defaults=True, include={"objective", "training"})
    return ["", "# as in hepgan/configs/rich.toml", tomli_w.dumps({k: v for k, v in values.items() if v})]


_SUGGESTIONS: dict[str, Callable[[Tree, str], list[str] | None]] = {
    SHOWERS.name: _showers,
    TRACKS.name: _tracks,
}


def starting_config(path: str) -> str:
    """A configuration for the showers or the observables of a file.

    Args:
        path: ``FILE.root`` or ``FILE.root:TREE``.

    Returns:
        TOML text that `hepgan.config.parse` accepts; guesses are marked by comments.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If no tree holds showers in a layout that hepgan reads and an incident energy, or observables and
            conditions with names that are known.
    """
    report = inspect(path)
    trees = sorted(report.trees, key=lambda t: -t.entries)
    for suggest in _SUGGESTIONS.values():
        for tree in trees:
            if (lines := suggest(tree, report.path)) is not None:
                file = report.path if is_url(report.path) else Path(report.path).as_posix()
                header = [
                    f"# Written by hepgan inspect --config from {tree.entries} entries; complete as it is. All other",
                    "# keys have defaults: the config.toml of a run folder lists them.",
                    "[data]",
                    f"files = {_toml([file])}  # more files and globs may follow",
                    f"tree = {_toml(tree.name)}",
                ]
                return "\n".join([*header, *lines])
    names = ", ".join(f"{tree.name!r}" for tree in report.trees)
    raise DataError(
        f"{path}: expected a tree with an incident energy (a scalar named like {_ENERGY_NAMES[0]}) "
        "and showers: 2-d array branches (one a layer), numbered scalar branches (one a cell) or "
        "variable-length hit branches (layer, ix, iy, energy); or one with observables of tracks (numbers "
        "named like DLL, PID or ProbNN) and momentum, pseudorapidity or occupancy (P, ETA, nTracks); "
        f"got none in {names}; write [data] by hand: name, branch, unit and transform of each input in "
        "[[data.conditions]] and of each output in [[data.targets]]"
    )
