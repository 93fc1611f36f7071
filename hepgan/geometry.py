"""Calorimeter segmentation: the position of each cell of each read-out layer.

A `Calorimeter` is a stack of `CaloLayer` grids. All arrays of cell energies in hepgan are flat in the
last dimension: layers one after the other, each in C order (index = offset + i * n_y + j), which is also
the order of CaloGAN's ``cell_0 ... cell_503`` branches.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hepgan.errors import ConfigError, DataError, NotFoundError

__all__ = [
    "AXES",
    "CALOGAN",
    "ENERGY_UNITS",
    "Axes",
    "CaloLayer",
    "Calorimeter",
    "Coordinates",
    "differences",
    "energy_factor",
]

Coordinates = Literal["cartesian", "polar", "eta-phi"]

ENERGY_UNITS = {"eV": 1e-6, "keV": 1e-3, "MeV": 1.0, "GeV": 1e3, "TeV": 1e6}  # in MeV


def energy_factor(source: str, target: str) -> float:
    """Factor from one unit of energy to another.

    Raises:
        ValueError: If a unit is not one of `ENERGY_UNITS`.
    """
    for unit in (source, target):
        if unit not in ENERGY_UNITS:
            raise ValueError(
                f"unit of energy: expected one of {list(ENERGY_UNITS)}, got {unit!r}; change the unit"
            )
    return ENERGY_UNITS[source] / ENERGY_UNITS[target]


@dataclass(frozen=True)
class Axes:
    """Names of the two axes of a layer.

    Args:
        first: Label of the first axis.
        second: Label of the second axis.
        across: Unit of distances between cell centres.
        short: One word for each axis, for titles.
    """

    first: str
    second: str
    across: str
    short: tuple[str, str]


AXES: dict[Coordinates, Axes] = {
    "cartesian": Axes("x [mm]", "y [mm]", "mm", ("x", "y")),
    "polar": Axes(r"$\alpha$ [rad]", "r [mm]", "mm", ("angle", "r")),
    "eta-phi": Axes(r"$\eta$", r"$\phi$ [rad]", "", ("eta", "phi")),
}
"""The axes of each kind of coordinates."""

_MOST_CELLS = 100_000_000  # of a layer; more is a mistake, and would end without memory
_SAME = 1e-6  # of the extent of an axis; a file may hold its edges in single precision
_FARTHEST = 1e12  # largest coordinate (mm)


def _edges(name: str, values: Sequence[float], bins: int) -> tuple[float, ...]:
    """Expand a (low, high) range to `bins` + 1 edges, or check explicit edges."""
    if len(values) == 2 and bins != 1:
        values = np.linspace(values[0], values[1], bins + 1).tolist()
    if len(values) != bins + 1:
        raise ConfigError(
            f"{name}: expected a [low, high] range or {bins + 1} edges for {bins} cells, got {len(values)} "
            f"values; change {name} or the shape of the layer"
        )
    edges = tuple(float(v) for v in values)
    if not all(abs(edge) <= _FARTHEST for edge in edges):
        raise ConfigError(f"{name}: expected numbers from {-_FARTHEST:g} to {_FARTHEST:g}, got {list(edges)}")
    if not all(a < b for a, b in pairwise(edges)):
        raise ConfigError(f"{name}: edges must increase, got {list(edges)}")
    return edges


@dataclass(frozen=True)
class CaloLayer:
    """One read-out layer: a grid of cells between two depths.

    Args:
        shape: Number of cells along the first and the second axis.
        x: Range or all edges of the first axis: x (mm), alpha (rad) in polar layers, or pseudorapidity.
        y: Range or all edges of the second axis: y (mm), r (mm) in polar layers, or azimuth (rad).
        z: Front and back of the layer along the shower axis (mm).
        name: Name of the layer.
        coordinates: ``"cartesian"``, ``"polar"`` (CaloChallenge: alpha by r) or ``"eta-phi"`` (pseudorapidity by
            azimuth; the cells hold transverse momenta).

    Raises:
        ConfigError: If an edge list does not fit the shape or does not increase.
    """

    shape: tuple[int, int]
    x: tuple[float, ...]
    y: tuple[float, ...]
    z: tuple[float, float]
    name: str = "layer"
    coordinates: Coordinates = "cartesian"

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ConfigError(f"{self.name}.shape: expected two positive numbers, got {self.shape}")
        object.__setattr__(self, "shape", (int(self.shape[0]), int(self.shape[1])))
        if self.n_cells > _MOST_CELLS:
            raise ConfigError(
                f"{self.name}.shape: expected at most {_MOST_CELLS} cells, got {self.shape}; correct it"
            )
        object.__setattr__(self, "x", _edges(f"{self.name}.x", self.x, self.shape[0]))
        object.__setattr__(self, "y", _edges(f"{self.name}.y", self.y, self.shape[1]))
        object.__setattr__(self, "z", _edges(f"{self.name}.z", self.z, 1))
        if self.coordinates == "polar" and self.y[0] < 0:
            raise ConfigError(f"{self.name}.y: expected radii from 0 on, got {list(self.y)}; correct them")

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.shape[0] * self.shape[1]

    @property
    def depth(self) -> float:
        """Centre of the layer along the shower axis (mm)."""
        return 0.5 * (self.z[0] + self.z[1])

    @cached_property
    def cell_centres(self) -> NDArray[np.float64]:
        """Cartesian centres of the cells, (n_cells, 3), mm, C order; in eta-phi layers (eta, phi, depth).

        The centre of a polar cell has the mean of its radial edges as radius and of its angular edges as angle.
        """
        first = 0.5 * (np.asarray(self.x[1:]) + np.asarray(self.x[:-1]))
        second = 0.5 * (np.asarray(self.y[1:]) + np.asarray(self.y[:-1]))
        a, b = np.meshgrid(first, second, indexing="ij")
        if self.coordinates == "polar":
            a, b = b * np.cos(a), b * np.sin(a)
        return np.stack([a.ravel(), b.ravel(), np.full(a.size, self.depth)], axis=1)

    def as_dict(self) -> dict[str, Any]:
        """The arguments of the layer as plain data, for JSON and TOML."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "x": list(self.x),
            "y": list(self.y),
            "z": list(self.z),
            "coordinates": self.coordinates,
        }


@dataclass(frozen=True)
class Calorimeter:
    """A stack of read-out layers, in the order in which the shower crosses them.

    Args:
        layers: The layers.
        unit: Unit of the cell energies.

    Raises:
        ConfigError: If there is no layer or two layers share a name.
    """

    layers: tuple[CaloLayer, ...]
    unit: str = field(default="MeV", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        names = [layer.name for layer in self.layers]
        if not names:
            raise ConfigError("calorimeter: expected at least one layer, got none")
        if len(set(names)) != len(names):
            raise ConfigError(f"calorimeter: layer names must differ, got {names}")

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def n_cells(self) -> int:
        """Number of cells of all layers."""
        return sum(layer.n_cells for layer in self.layers)

    @property
    def names(self) -> list[str]:
        """Names of the layers."""
        return [layer.name for layer in self.layers]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Segmentation of each layer."""
        return [layer.shape for layer in self.layers]

    @property
    def offsets(self) -> list[int]:
        """Flat index of the first cell of each layer, then the number of all cells: n_layers + 1 numbers."""
        return [0, *np.cumsum([layer.n_cells for layer in self.layers]).tolist()]

    def slices(self) -> list[slice]:
        """The flat cells of each layer."""
        offsets = self.offsets
        return [slice(a, b) for a, b in pairwise(offsets)]

    @cached_property
    def cell_centres(self) -> NDArray[np.float64]:
        """Centres of all cells, (n_cells, 3), as in `CaloLayer.cell_centres`."""
        return np.concatenate([layer.cell_centres for layer in self.layers])

    def as_dicts(self) -> list[dict[str, Any]]:
        """The layers as plain data."""
        return [layer.as_dict() for layer in self.layers]

    @classmethod
    def from_dicts(cls, layers: Sequence[Mapping[str, Any]], *, unit: str = "MeV") -> Calorimeter:
        """Build from the arguments of each layer; the default name is ``layer_<index>``."""
        return cls(
            tuple(CaloLayer(**{"name": f"layer_{k}", **layer}) for k, layer in enumerate(layers)), unit
        )

    @classmethod
    def from_xml(cls, path: str | Path, *, particle: str | None = None, unit: str = "MeV") -> Calorimeter:
        """Read a CaloChallenge binning file.

        ``<Bins><Bin pid etaMin etaMax name><Layer id r_edges="0,5,..." n_bin_alpha/>``; a layer with fewer
        than two radial edges is not read out. The file has no depths: z is the layer number.

        Args:
            path: The XML file.
            particle: `name` or `pid` of the ``Bin``; optional when the file has one.
            unit: Unit of the cell energies.

        Raises:
            NotFoundError: If there is no such file.
            DataError: If it is not an XML file.
            ConfigError: If it does not have one entry for the particle.
        """
        path = Path(path)
        if not path.is_file():
            raise NotFoundError(f"binning file not found: {path}")
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise DataError(f"{path}: not a binning XML file ({error})") from error
        bins = list(root.iter("Bin"))
        known = [f"{b.get('name')} (pid {b.get('pid')})" for b in bins]
        if particle is not None:
            bins = [b for b in bins if particle in (b.get("name"), b.get("pid"))]
        if len(bins) != 1:
            raise ConfigError(
                f"{path}: expected one Bin for particle {particle!r}, got {len(bins)}; the file has {known}; "
                "name one of them"
            )
        try:
            return cls(tuple(cls._xml_layers(path, bins[0])), unit)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}; the x of a layer are its angles, y its radii") from error

    @staticmethod
    def _xml_layers(path: Path, particle: ElementTree.Element) -> Iterator[CaloLayer]:
        """Layers of a ``Bin`` that are read out."""
        for element in particle.iter("Layer"):
            try:
                number = int(element.get("id", "-1"))
                radii = [float(r) for r in element.get("r_edges", "").split(",") if r.strip()]
                alphas = int(element.get("n_bin_alpha", "1"))
            except ValueError as error:
                raise DataError(
                    f"{path}: layer {element.attrib}: expected whole numbers id and n_bin_alpha, and numbers r_edges, "
                    f"got something else ({error}); correct the file"
                ) from error
            if len(radii) < 2:
                continue
            yield CaloLayer(
                shape=(alphas, len(radii) - 1),
                x=(-np.pi, np.pi) if alphas < 1 else tuple(np.linspace(-np.pi, np.pi, alphas + 1).tolist()),
                y=tuple(radii),
                z=(float(number), float(number + 1)),
                name=f"layer_{number}",
                coordinates="polar",
            )


def differences(calorimeter: Calorimeter, other: Calorimeter) -> list[str]:
    """Say where two calorimeters differ, a line each layer; names and the unit of energy do not count.

    Edges that agree within rounding (`_SAME` of the extent) are equal.
    """
    lines = []
    if calorimeter.n_layers != other.n_layers:
        lines.append(f"layers: {calorimeter.n_layers}, not {other.n_layers}")
    for k, (first, second) in enumerate(zip(calorimeter.layers, other.layers, strict=False)):
        parts = []
        for name in ("coordinates", "shape"):
            mine, wanted = getattr(first, name), getattr(second, name)
            if mine != wanted:
                parts.append(f"{name} {mine}, not {wanted}")
        for axis in () if parts else ("x", "y", "z"):
            a, b = np.asarray(getattr(first, axis)), np.asarray(getattr(second, axis))
            if np.abs(a - b).max() > _SAME * max(np.ptp(a), np.ptp(b)):
                worst = int(np.abs(a - b).argmax())
                parts.append(f"{axis} edge {worst} at {a[worst]:.7g}, not {b[worst]:.7g}")
        if parts:
            lines.append(f"layer {k} ({first.name}): {'; '.join(parts)}")
    return lines


CALOGAN = Calorimeter.from_dicts(
    [
        {"shape": (3, 96), "x": (-240.0, 240.0), "y": (-240.0, 240.0), "z": (-240.0, -150.0)},
        {"shape": (12, 12), "x": (-240.0, 240.0), "y": (-240.0, 240.0), "z": (-150.0, 197.0)},
        {"shape": (12, 6), "x": (-240.0, 240.0), "y": (-240.0, 240.0), "z": (197.0, 240.0)},
    ]
)
"""The calorimeter of CaloGAN (arXiv:1705.02355, section 2, and its code release)."""
