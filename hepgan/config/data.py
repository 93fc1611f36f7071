"""The table ``[data]``: files, conditions, and either the cells of a calorimeter or the observables of tracks."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from hepgan.config.checking import Table, shown
from hepgan.config.geometry import LayerConfig, read_layers, stacked
from hepgan.config.kinds import SHOWERS, TRACKS, Kind
from hepgan.errors import ConfigError
from hepgan.geometry import Calorimeter

__all__ = ["CalorimeterConfig", "ConditionConfig", "DataConfig", "HitsConfig", "TargetConfig"]


def _listed(categories: dict[str, float]) -> str:
    return ", ".join(f"{name} = {value:.10g}" for name, value in categories.items())


class ConditionConfig(Table):
    """A quantity that the shower or track depends on, input of the generator."""

    name: str = Field(description="name in the exported model")
    branch: str = Field("", description="branch, or an expression of branches; default: the name")
    unit: str = Field("", description="unit of the branch")
    transform: Literal["log", "linear", "category"] = Field(
        "log",
        description="input of the network: standardised log x or x (in generators of showers, the cosine and sine of "
        "an angle in rad that is `linear`), or zeros and a one for the category",
    )
    categories: dict[str, float] = Field(
        {}, description="category: the branch's value for each name, as in `{ pi = 211, K = 321 }`"
    )
    by_file: dict[str, float | str] = Field(
        {},
        description="value, or name of the category, in all events of a file, by the file's name or pattern, as in "
        '`{ "eplus_*.root" = "e+", "gamma_*.root" = "gamma" }`; for files without the branch',
    )
    integer: bool = Field(
        False,
        description="whole numbers (a count): in training a uniform random number from -0.5 to 0.5 is added, so that "
        "the network learns a smooth dependence",
    )

    @property
    def expression(self) -> str:
        """The branch or expression to read."""
        return self.branch or self.name

    @model_validator(mode="after")
    def _categories_where_needed(self) -> ConditionConfig:
        if (self.transform == "category") != bool(self.categories):
            raise ValueError(
                'transform = "category" and categories = { name = value, ... } belong together; give both or neither'
            )
        if len(set(self.categories.values())) < len(self.categories):
            raise ValueError(f"categories: expected different values, got {self.categories}")
        single = dict.fromkeys(np.float32(value) for value in self.categories.values())
        if len(single) < len(self.categories) or not np.isfinite([*single]).all():
            codes = [
                f"{k} * ({self.expression} == {v:.17g})" for k, v in enumerate(self.categories.values(), 1)
            ]
            names = ", ".join(f"{name} = {k}" for k, name in enumerate(self.categories, 1))
            raise ValueError(
                "categories: expected values that differ in single precision, in which the generator takes them, got "
                f"{_listed(self.categories)}; give them smaller codes: branch = {' + '.join(codes)!r} and categories = "
                f"{{ {names} }}"
            )
        if self.integer and self.transform == "category":
            raise ValueError("integer = true is for counts; a category is not dithered: leave it out")
        for pattern, value in self.by_file.items():
            expected = f"one of {_listed(self.categories)}" if self.categories else "a number"
            known = [*self.categories, *self.categories.values()]
            if (isinstance(value, str) or self.categories) and value not in known:
                raise ValueError(f"by_file: {pattern!r}: expected {expected}, got {shown(value)}; correct it")
        return self

    def of_file(self, path: str) -> float | None:
        """The value that `by_file` gives to all events of a file; None if no pattern fits."""
        for pattern, value in self.by_file.items():
            if PurePath(path).match(pattern):
                return self.categories[value] if isinstance(value, str) else value
        return None


class TargetConfig(Table):
    """An observable to generate: one number for each track (or event)."""

    name: str = Field(description="name in the exported model")
    branch: str = Field("", description="branch, or an expression of branches; default: the name")
    unit: str = Field("", description="unit of the branch")
    transform: Literal["quantile", "log", "linear", "angle"] = Field(
        "quantile",
        description="output of the network: normal numbers of equal rank (`quantile`); standardised log x or x; an "
        "angle in rad from 0 to 2 pi (from -pi to pi if some are negative), where angles that differ by 2 pi are equal",
    )
    atoms: tuple[float, ...] = Field(
        (),
        description="values that occur exactly (sentinels, ties at zero): they are generated exactly, with a learned "
        "probability; `hepgan inspect` finds them",
    )

    @property
    def expression(self) -> str:
        """The branch or expression to read."""
        return self.branch or self.name


class HitsConfig(Table):
    """Names of the variable-length branches of the `hits` layout."""

    energy: str = Field(description="branch with the energy of each hit")
    layer: str | None = Field(None, description="branch with the layer number of each hit, from 0")
    i: str | None = Field(None, description="branch with the cell number along the first axis, from 0")
    j: str | None = Field(None, description="branch with the cell number along the second axis, from 0")
    cell: str | None = Field(None, description="branch with the flat cell index; instead of layer, i and j")
    count: str | None = Field(
        None,
        description="branch with the number of hits, for the files that `hepgan generate` writes; default: that of the "
        "training file, or `nhit` for `hit_energy`",
    )

    @model_validator(mode="after")
    def _one_address(self) -> HitsConfig:
        by_index = (self.layer, self.i, self.j)
        if (self.cell is None) == (by_index == (None, None, None)) or (
            self.cell is None and None in by_index
        ):
            raise ValueError("give either cell (flat index), or layer, i and j")
        return self

    @property
    def names(self) -> list[str]:
        """Branches of the address (flat cell number, or layer and indices), then the branch of the energy."""
        return [name for name in (self.cell, self.layer, self.i, self.j, self.energy) if name is not None]

    @property
    def counter(self) -> str:
        """Branch with the number of hits to write: `count`, or n before the common first word of the names."""
        words = {re.split(r"[_.]", name.rpartition("/")[2])[0] for name in self.names}
        return self.count or f"n{words.pop() if len(words) == 1 else 'hits'}"


def _numbered(pattern: str) -> bool:
    """Whether a pattern gives another name for each number."""
    try:
        return pattern.format(0) != pattern.format(1)
    except (LookupError, AttributeError, ValueError):
        return False


class CalorimeterConfig(Table):
    """Storage and position of the cells of a calorimeter."""

    layout: Literal["arrays", "cells", "hits"] = Field(
        "arrays",
        description="one array branch a layer, one scalar branch a cell, or variable-length branches of hits",
    )
    unit: Literal["eV", "keV", "MeV", "GeV", "TeV"] = Field("MeV", description="unit of the cell energies")
    incident_energy: str = Field(
        "incident_energy", description="name of the condition that is the energy of the incident particle"
    )
    branches: tuple[str, ...] = Field((), description="arrays: one branch a layer")
    cells: str = Field("cell_{}", description="cells: branch name with {} for the flat index")
    hits: HitsConfig | None = Field(None, description="hits: names of the variable-length branches")
    overflow: str | None = Field(
        None,
        description="branch with the energy outside the cells, one number a layer; cells: 'tail' if one branch a layer "
        "follows those of the cells",
    )
    geometry: str | None = Field(
        None,
        description="file with the layers instead, relative to the folder of this file, or to the working folder: TOML "
        "with `layers`, CaloChallenge binning XML, or a ROOT file that carries its geometry",
    )
    particle: str | None = Field(None, description="particle in the binning XML")
    layers: tuple[LayerConfig, ...] = Field(
        (), description="the layers, in the order in which the shower crosses them"
    )

    @property
    def has_tail(self) -> bool:
        """Whether the branches of the overflow follow those of the cells, named like them."""
        return self.layout == "cells" and self.overflow == "tail"

    @model_validator(mode="after")
    def _complete(self) -> CalorimeterConfig:
        if bool(self.layers) == bool(self.geometry):
            raise ValueError("give the layers, or a geometry file, and not both")
        if self.layout == "arrays" and not self.branches:
            raise ValueError("layout 'arrays' needs branches = [...], one a layer")
        if self.layout == "hits" and self.hits is None:
            raise ValueError("layout 'hits' needs hits = { layer, i, j, energy } or { cell, energy }")
        if self.layout == "arrays" and self.layers and len(self.layers) != len(self.branches):
            raise ValueError(
                f"{len(self.branches)} branches for {len(self.layers)} layers; list one branch a layer"
            )
        if not _numbered(self.cells):
            raise ValueError(
                "cells: expected a name with {} for the number of the cell, as in 'cell_{}', got "
                f"{shown(self.cells)}"
            )
        if self.layers:
            self.calorimeter()  # checks the edges
        return self

    def calorimeter(self, *, base: str | Path = ".") -> Calorimeter:
        """The geometry.

        Args:
            base: Folder of a relative geometry file; where it has none, the working folder.

        Raises:
            NotFoundError: If the geometry file is missing.
            ConfigError: If it does not describe a calorimeter.
            DataError: If it is no XML or ROOT file.
        """
        layers = self.layers
        if self.geometry is not None:
            path = Path(base, self.geometry)
            if not path.exists() and Path(self.geometry).exists():
                path = Path(self.geometry)
            layers = read_layers(path, particle=self.particle)
            if self.layout == "arrays" and len(layers) != len(self.branches):
                names = [layer.name or f"layer_{k}" for k, layer in enumerate(layers)]
                raise ConfigError(
                    f"data.calorimeter.branches: expected {len(names)} branches, one for each layer of {path} "
                    f"({', '.join(names)}), got {len(self.branches)}: {', '.join(self.branches)}; list one branch a "
                    "layer"
                )
        return stacked(layers, self.branches if self.layout == "arrays" else (), unit=self.unit)

    def with_layers(self, calorimeter: Calorimeter) -> CalorimeterConfig:
        """The same with the layers of a calorimeter in place of the name of a geometry file."""
        layers = tuple(LayerConfig(**layer) for layer in calorimeter.as_dicts())
        return self.model_copy(update={"geometry": None, "particle": None, "layers": layers})


class DataConfig(Table):
    """The events to read, and their split into training, validation and test."""

    files: tuple[str, ...] = Field(description="paths, globs or URLs")
    tree: str = Field("", description="TTree or RNTuple; may be empty if the file holds one")
    output_tree: str | None = Field(
        None,
        description="name of the tree in the files that `hepgan generate` writes; default: that of the training file",
    )
    cut: str | None = Field(
        None,
        description="expression of branches ([expressions.md](expressions.md)); events for which it is false are left "
        "out",
    )
    weight: str | None = Field(None, description="branch or expression with the event weight")
    conditions: tuple[ConditionConfig, ...] = Field(description="inputs of the generator")
    calorimeter: CalorimeterConfig | None = Field(None, description="the cells of showers")
    targets: tuple[TargetConfig, ...] = Field(
        (), description="the observables of tracks, instead of a calorimeter"
    )
    ties: bool = Field(
        False,
        description="learn in which events targets are exactly equal to each other, and generate them exactly equal",
    )
    max_events: int | None = Field(None, gt=0, description="read at most this many events")
    chunk: str = Field(
        "64 MB", description="amount of data that is decompressed at once (step size of uproot)"
    )
    validation: float = Field(
        0.1, gt=0, lt=1, description="fraction of the events that selects the checkpoint"
    )
    test: float = Field(
        0.1, ge=0, lt=1, description="fraction of the events for `hepgan evaluate`, not used in training"
    )
    withheld: dict[str, tuple[float, float]] = Field(
        {},
        description="range of a condition, as in `{ theta = [0.15, 0.2] }`, of which neither training nor validation "
        "sees an event; `hepgan evaluate` measures inside it how well the generator interpolates",
    )
    test_files: tuple[str, ...] = Field(
        (),
        description="files for `hepgan evaluate`, instead of the test fraction; not trained on, even if a glob of "
        "`files` matches them",
    )
    repeated: Literal["once", "keep"] | None = Field(
        None,
        description="events that occur twice, more than chance explains: take each `once`, and leave to `test_files` "
        "those that these have too; or `keep` all; default: refuse such files",
    )
    cache: str = Field(
        "auto",
        min_length=1,
        description="`auto`: events that take more than an eighth of the free memory are streamed from a cache on the "
        "disk, made when it is first needed; `never`: all events are kept in memory; else the folder that "
        "`hepgan prepare` has made, from which events are streamed ([files.md](files.md))",
    )

    @model_validator(mode="after")
    def _plausible(self) -> DataConfig:
        if not self.files:
            raise ValueError("files is empty; name at least one ROOT file")
        if not self.conditions:
            raise ValueError("conditions is empty; a conditional generator needs at least one")
        names = [condition.name for condition in self.conditions]
        both = names + [target.name for target in self.targets]
        repeated = [name for name in both if both.count(name) > 1]
        if repeated:
            raise ValueError(
                f"names of conditions and targets must differ, got {repeated[0]!r} twice; rename one of them"
            )
        if (self.calorimeter is None) == (not self.targets):
            got = "both" if self.targets else "none"
            raise ValueError(
                "expected either [data.calorimeter] (showers) or [[data.targets]] (observables of tracks), got "
                f"{got}; hepgan inspect FILE.root --config writes one of them"
            )
        if self.calorimeter is not None:
            self._one_incident_energy(self.calorimeter.incident_energy, names)
        for name, (low, high) in self.withheld.items():
            if name not in names:
                raise ValueError(f"withheld: expected conditions ({shown(names)}), got {name!r}; correct it")
            if not low < high:
                raise ValueError(
                    f"withheld.{name}: expected a range [low, high], got [{low:g}, {high:g}]; swap its ends"
                )
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation} + test {self.test} leave nothing to train on")
        return self

    def _one_incident_energy(self, name: str, names: list[str]) -> None:
        if name not in names:
            raise ValueError(
                f"calorimeter.incident_energy is {shown(name)}, but the conditions are {shown(names)}; name the "
                "condition that is the incident energy"
            )
        units = get_args(CalorimeterConfig.model_fields["unit"].annotation)
        for condition in self.conditions:
            if condition.name == name and condition.unit not in (*units, ""):
                raise ValueError(
                    f"unit of condition {condition.name!r}: expected one of {list(units)}, got "
                    f"{shown(condition.unit)}; change the unit"
                )

    @property
    def kind(self) -> Kind:
        """The kind of data: showers or tracks."""
        return TRACKS if self.calorimeter is None else SHOWERS

    @property
    def calo(self) -> CalorimeterConfig:
        """The table of the calorimeter.

        Raises:
            ConfigError: If the data are observables.
        """
        if self.calorimeter is None:
            raise ConfigError(
                "data.calorimeter: expected a table, got none; the data are observables, not showers"
            )
        return self.calorimeter
