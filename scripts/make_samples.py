"""Cut the small samples of ``data/`` out of the full simulation files.

Usage:
    python scripts/make_samples.py SOURCE_FOLDER [OUT_FOLDER]

SOURCE_FOLDER holds ``eplus_train.root``, ``eplus_test.root``, ``eplus_hits.root``, ``gamma_test.root``,
``eplus_angle_train.root``, ``eplus_angle_test.root`` and ``wsi_train.root``. The first events of each file are copied
with all branches and compressed with LZMA, which gives the smallest files that the standard builds of Python and ROOT
can read. The size and the sha256 of each file are printed for ``data/README.md``.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import uproot

TREE = "showers"
SAMPLES = (  # source, result, number of events, title of the tree (the units)
    ("eplus_train.root", "eplus.root", 12_000, "e+ showers: incident_energy GeV, layers and overflow MeV"),
    ("eplus_test.root", "eplus_test.root", 3_000, "e+ showers: incident_energy GeV, layers and overflow MeV"),
    (
        "gamma_test.root",
        "gamma_test.root",
        1_500,
        "gamma showers: incident_energy GeV, layers and overflow MeV",
    ),
    ("eplus_hits.root", "eplus_hits.root", 500, "e+ shower hits: incident_energy GeV, hit_energy MeV"),
    (
        "eplus_angle_train.root",
        "eplus_angle.root",
        4_000,
        "e+ showers: incident_energy GeV, theta and phi rad, x0 and y0 mm, layers and overflow MeV",
    ),
    (
        "eplus_angle_test.root",
        "eplus_angle_test.root",
        1_500,
        "e+ showers: incident_energy GeV, theta and phi rad, x0 and y0 mm, layers and overflow MeV",
    ),
    ("wsi_train.root", "wsi.root", 850, "e- shower hits: incident_energy GeV, hit_energy and overflow MeV"),
)
BASKET = 3_000  # events in a basket; a reader of a few events need not decompress all
HIT = "hit"  # prefix of hit_layer, hit_ix, ..., which share the counter branch nhit


def copy(source: Path, out: Path, *, entries: int, title: str) -> None:
    """Copy the first `entries` events of a file with all branches."""
    with uproot.open(source) as file:
        tree = file[TREE]
        arrays: dict[str, Any] = {
            branch.name: branch.array(entry_stop=entries, library="ak" if "[]" in branch.typename else "np")
            for branch in tree.branches
        }
    hits = {name: arrays.pop(name) for name in list(arrays) if name.startswith(f"{HIT}_")}
    if hits:
        arrays.pop(f"n{HIT}")
        arrays[HIT] = ak.zip({name.removeprefix(f"{HIT}_"): values for name, values in hits.items()})
    types = {
        name: values.type.content if isinstance(values, ak.Array) else (values.dtype, values.shape[1:])
        for name, values in arrays.items()
    }
    partial = out.with_name(out.name + ".part")
    with uproot.recreate(partial, compression=uproot.LZMA(9)) as file:
        tree = file.mktree(TREE, types, title=title)
        for start in range(0, entries, BASKET):
            tree.extend({name: values[start : start + BASKET] for name, values in arrays.items()})
    partial.replace(out)


def main() -> None:
    """Make all samples and print the table of the README of the data folder."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    source = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parents[1] / "data"
    for original, name, entries, title in SAMPLES:
        copy(source / original, out / name, entries=entries, title=title)
        content = (out / name).read_bytes()
        print(f"| {name} | {entries} | {len(content)} | {hashlib.sha256(content).hexdigest()} |")


if __name__ == "__main__":
    main()
