"""Data sets that the benchmark trains on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan import toys
from hepgan.config.checking import tomllib
from hepgan.data.starting import starting_config
from hepgan.errors import DataError, NotFoundError
from hepgan.files import PACKAGE, near
from hepgan.studies.measures import EVENTS

__all__ = ["WORK", "Work", "files_of", "find_work"]

_TRAINED, _HELD_OUT = 10_000, 2 * EVENTS  # events of a toy, about
_DATA = PACKAGE.parent / "data"


@dataclass(frozen=True)
class Work:
    """A data set to train on.

    Attributes:
        data: Table [data] of the configuration, without files if there is a toy.
        toy: Name in `hepgan.toys.writer.TOYS`, and its options.
        kept: Share of the toy's events that pass the cut, about.
        centres: (K, F) centres of the modes of the targets, if they are known.
        radius: Events closer than this to a centre belong to its mode.
    """

    data: Mapping[str, Any]
    toy: tuple[str, Mapping[str, Any]] | None = None
    kept: float = 1.0
    centres: NDArray[np.float64] | None = None
    radius: float = 0.0


def _constant(branch: str) -> list[dict[str, str]]:
    """Conditions of unconditional data: one that is always 1."""
    return [{"name": "one", "branch": f"1 + 0 * {branch}", "transform": "linear"}]


WORK: dict[str, Work] = {
    "ring": Work(  # linear transforms: the generator begins as one blob and has to find the modes itself
        {"conditions": _constant("x"), "targets": [{"name": axis, "transform": "linear"} for axis in "xy"]},
        ("ring", {}),
        centres=toys.ring_centres(),
        radius=3 * toys.RING_SIGMA,
    ),
    "shower-shape": Work(
        {
            "conditions": [{"name": "incident_energy", "unit": "GeV"}],
            "targets": [
                {"name": "radius", "unit": "mm"},
                {"name": "angle", "unit": "rad", "transform": "angle"},
                {"name": "log_energy"},
            ],
        },
        ("shower-shape", {}),
    ),
    "calorimeter": Work(
        {
            "files": [str(_DATA / "eplus.root")],
            "test_files": [str(_DATA / "eplus_test.root")],
            "conditions": [{"name": "incident_energy", "unit": "GeV"}],
            "targets": [
                {"name": f"energy_{layer}", "branch": f"sum(layer_{layer})", "unit": "MeV"}
                for layer in range(3)
            ],
        }
    ),
    "rich": Work(  # kaons above the thresholds of all species: no point masses, which no objective trains
        {
            "cut": "Brunel_P > 30000 and hasRich == 1",
            "conditions": [
                {"name": "Brunel_P", "unit": "MeV/c"},
                {"name": "Brunel_ETA", "transform": "linear"},
                {"name": "nTracks_Brunel", "transform": "linear", "integer": True},
            ],
            "targets": [{"name": f"RichDLL{h}"} for h in ("e", "k", "mu", "p", "bt")],
        },
        ("rich", {"species": ("K",)}),
        kept=0.2,
    ),
}
"""Data sets by name. Of the calorimeter the energy sums of the layers are trained."""


def find_work(name: str) -> Work:
    """Look up an entry of `WORK`, or make one from a ROOT file.

    Raises:
        NotFoundError: If the file, or the shipped sample, is missing.
        ValueError: If there is neither a data set nor a file of this name.
        DataError: If the showers of the file are not stored as arrays.
    """
    if name in WORK:
        for file in WORK[name].data.get("files", ()):
            if not Path(file).is_file():
                raise NotFoundError(
                    f"--data {name}: expected the sample {file}, which is in a checkout of the repository, got none; "
                    "run it there, or name a ROOT file of your own"
                )
        return WORK[name]
    if not name.endswith(".root"):
        raise ValueError(f"--data {name!r}: expected a ROOT file or a data set; {near(name, WORK)}")
    data = tomllib.loads(starting_config(name))["data"]
    calorimeter = data.pop("calorimeter", None)
    if calorimeter is not None:
        if calorimeter.get("layout", "arrays") != "arrays":
            raise DataError(
                f"--data {name}: expected showers with one array branch a layer, got layout {calorimeter['layout']!r}; "
                "rows are compared on the energy of each layer: write these as branches"
            )
        data["targets"] = [
            {"name": f"sum_{branch}", "branch": f"sum({branch})"} for branch in calorimeter["branches"]
        ]
    return Work(data)


@contextmanager
def files_of(work: Work) -> Iterator[dict[str, list[str]]]:
    """Write the files of a toy to a temporary folder.

    Yields:
        Keys of [data] that name the files; none if the data set has files of its own.
    """
    if work.toy is None:
        yield {}
        return
    name, options = work.toy
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{part}.root")) for part in ("trained", "held_out")]
        for seed, (path, n) in enumerate(zip(paths, (_TRAINED, _HELD_OUT), strict=True), start=1):
            toys.write(name, path, n=round(n / work.kept), seed=seed, **options)
        yield {"files": paths[:1], "test_files": paths[1:]}
