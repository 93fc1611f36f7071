"""Speed of reading with all checks, against uproot reading the same branches to arrays and doing nothing else.

Writes the same showers, and tracks, in each layout that hepgan reads. uproot and hepgan read a file in turn, and the
median ratio of their times is printed: 1 is as fast as uproot alone, as it is called by default and, in the lines
`-threads`, with threads for decompression. Hits become dense showers on the way, which uproot has not to do.

    python benchmarks/reading.py
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from measuring import median, median_ratio, print_ratio, turns

from hepgan.config import DataConfig, parse
from hepgan.data.branches import LAYOUTS
from hepgan.data.cores import available_cores
from hepgan.data.reading import read
from hepgan.data.root import open_file
from hepgan.trees import cluster_rows, tree_file

SHAPES = ((3, 96), (12, 12), (12, 6))  # CaloGAN's, arXiv:1705.02355
OCCUPANCY = 0.3  # share of cells that are not empty, about that of CaloGAN's positrons
HITS = {"layer": "hit_layer", "i": "hit_i", "j": "hit_j", "energy": "hit_energy"}
CALORIMETERS: dict[str, dict[str, Any]] = {
    "arrays": {"layout": "arrays", "branches": ["layer_0", "layer_1", "layer_2"]},
    "cells": {"layout": "cells", "cells": "cell_{}"},
    "hits": {"layout": "hits", "hits": HITS},
    "cell-ids": {"layout": "hits", "hits": {"cell": "hit_cell", "energy": "hit_energy"}},
}
TARGETS = ("dll_e", "dll_k", "dll_mu", "dll_p")


def showers_of(layout: str, files: list[str], **settings: Any) -> DataConfig:
    """How to read showers in a layout."""
    layers = [{"shape": [*s], "x": [-1, 1], "y": [-1, 1], "z": [k, k + 1]} for k, s in enumerate(SHAPES)]
    calorimeter = {"layers": layers, **CALORIMETERS[layout]}
    conditions = [{"name": "incident_energy", "unit": "GeV"}]
    table = {"files": files, "conditions": conditions, "calorimeter": calorimeter, **settings}
    return parse({"data": table}).data


def tracks_of(files: list[str], **settings: Any) -> DataConfig:
    """How to read tracks."""
    conditions = [{"name": "P", "unit": "GeV"}, {"name": "eta", "transform": "linear"}]
    targets = [{"name": name} for name in TARGETS]
    table = {"files": files, "conditions": conditions, "targets": targets, "weight": "weight", **settings}
    return parse({"data": table}).data


def written(folder: Path, name: str, branches: dict[str, Any], *, format: Any = "ttree") -> str:
    """A file with a tree of these branches."""
    path = folder / f"{name}.root"
    size = sum(values.nbytes for values in branches.values()) // len(next(iter(branches.values())))
    with tree_file(path, "t", content="rows", rows=cluster_rows(size // 4), format=format) as tree:
        tree.extend(branches)
    return str(path)


def samples(folder: Path, *, n: int) -> dict[str, DataConfig]:
    """Files in all layouts, and how to read them."""
    rng = np.random.default_rng(1)
    cells = rng.exponential(50, (n, sum(np.prod(s) for s in SHAPES))).astype(np.float32)
    cells[rng.random(cells.shape) > OCCUPANCY] = 0
    energy = {"incident_energy": rng.uniform(1, 65, n)}
    found = {}
    for layout in CALORIMETERS:
        data = showers_of(layout, ["none.root"])
        calo, calorimeter = data.calo, data.calorimeter.calorimeter()
        branches = energy | LAYOUTS[calo.layout].write(cells, calo, calorimeter)
        found[layout] = showers_of(layout, [written(folder, layout, branches)])
        if layout == "arrays":
            path = written(folder, "rntuple", branches, format="rntuple")
            found["rntuple"] = showers_of(layout, [path])
            cut = {"cut": "incident_energy > 10 and layer_0[0,3] >= 0"}
            found["arrays-cut"] = showers_of(layout, [*found["arrays"].files], **cut)
    rows = 40 * n
    tracks = {name: rng.normal(0, 10, rows).astype(np.float32) for name in TARGETS}
    tracks |= {"P": rng.uniform(2, 60, rows).astype(np.float32), "weight": rng.normal(1, 1, rows)}
    tracks |= {"eta": rng.uniform(2, 5, rows).astype(np.float32)}
    found["scalars"] = tracks_of([written(folder, "scalars", tracks)])
    counts = rng.multinomial(rows, np.full(n, 1 / n))
    jagged = {name: ak.unflatten(values, counts) for name, values in tracks.items()}
    found["jagged"] = tracks_of([written(folder, "jagged", jagged)])
    return found


def uproot_alone(path: str, pool: ThreadPoolExecutor | None) -> Any:
    """All branches of the tree as arrays: NumPy's, or awkward's if they have a variable length."""
    options = {} if pool is None else {"decompression_executor": pool, "interpretation_executor": pool}
    with open_file(path) as file:
        tree = file["t"]
        if hasattr(tree, "cluster_summaries"):
            return tree.arrays(library="np", array_cache=None)
        counters = [key for key in tree.keys() if key.startswith("n")]  # noqa: SIM118 (a tree is no dictionary)
        names = [key for key in tree.keys() if key not in counters]  # noqa: SIM118
        return tree.arrays(names, library="ak" if counters else "np", array_cache=None, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--showers", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="time of the cores instead of the clock")
    arguments = parser.parse_args()
    clock = "cpu" if arguments.cpu else "wall"
    print(f"{available_cores()} cores; times in ms")
    print(f"{'layout':12}{'uproot':>10}{'threads':>10}{'hepgan':>10}")
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(available_cores()) as pool:
        for layout, data in samples(Path(folder), n=arguments.showers).items():
            (path,) = data.files
            actions: dict[str, Callable[[], object]] = {
                "": lambda path=path: uproot_alone(path, None),
                "-threads": lambda path=path: uproot_alone(path, pool),
                "hepgan": lambda data=data: read(data),
            }
            times = turns(layout, actions, rounds=arguments.repeats)
            columns = [1e3 * getattr(median(column), clock) for column in times.values()]
            print(f"{layout:12}" + "".join(f"{each:10.1f}" for each in columns), flush=True)
            own = times.pop("hepgan")
            ratios |= {
                layout + way: getattr(median_ratio(column, own), clock) for way, column in times.items()
            }
    for layout, ratio in ratios.items():
        print_ratio(f"reading-{layout}", ratio)


if __name__ == "__main__":
    main()
