"""Writes the ROOT files of this folder with ROOT itself (6.36 or newer): ``python make.py [FOLDER]`` where ROOT is.

Number k of column c in entry i is `truth`, a multiple of 1/4 from 0 to 15.75 that every type of float holds exactly, so
that tests know each value without ROOT. Columns are numbered by the last digits of their names: ``f_17`` is column 17.
"""

import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
ENTRIES = 20

# Code of a leaf, C++ type; floats take their numbers from truth(), the others from whole()
LEAVES = {
    "O": "bool", "B": "char", "b": "unsigned char", "S": "short", "s": "unsigned short", "I": "int",
    "i": "unsigned int", "L": "long long", "l": "unsigned long long", "G": "long", "g": "unsigned long",
    "F": "float", "D": "double", "d": "double", "f": "float",
}  # fmt: skip
RANGES = {"0,20": 20.0, "0,20,14": 20.0, "0,0,12": 16.0, "-pi,2*pi,20": 2 * math.pi, "0,80000,24": 80000.0}
"""Largest value of each range that packed floats are stored in; larger numbers are cut."""
CODES = [*LEAVES, *(f"{code}[{limits}]" for code in "df" for limits in RANGES)]
"""Code of the leaves in column c."""


def whole(i: int, k: int, c: int) -> int:
    """Number k of an integer column c in entry i."""
    return (7 * i + 3 * k + 11 * c) % 64


def truth(i: int, k: int, c: int) -> float:
    """Number k of a float column c in entry i."""
    return whole(i, k, c) / 4


def fill_leaves() -> str:
    """C++ that fills a tree with each type of leaf as a number, array, matrix, list, and list of arrays."""
    declare, branch, fill = [], [], []
    for c, code in enumerate(CODES):
        kind, name = LEAVES[code[0]], code[0] if len(code) == 1 else f"{code[0]}r"
        value = f"truth(i, k, {c})" if code[0] in "FDdf" else f"whole(i, k, {c})"
        value += " % 2" if code == "O" else ""
        declare.append(f"{kind} x_{c}, y_{c}[3], m_{c}[2][2], v_{c}[4], r_{c}[4][3];")
        forms = {
            f"{name}_{c}": f"&x_{c}",
            f"{name}_array_{c}[3]": f"y_{c}",
            f"{name}_matrix_{c}[2][2]": f"m_{c}",
            f"{name}_list_{c}[n]": f"v_{c}",
            f"{name}_rows_{c}[n][3]": f"r_{c}",
        }
        branch += [
            f't.Branch("{form.partition("[")[0]}", {place}, "{form}/{code}");'
            for form, place in forms.items()
        ]
        fill.append(
            f"for (int k = 11; k >= 0; --k) {{ x_{c} = r_{c}[k / 3][k % 3] = {value}; if (k < 3) y_{c}[k] = x_{c};"
            f" if (k < 4) m_{c}[k / 2][k % 2] = v_{c}[k] = x_{c}; }}"
        )
    return "\n".join([
        "void fill_leaves(const char *path) {",
        'TFile f(path, "RECREATE", "", 509); TTree t("leaves", ""); int n; t.Branch("n", &n, "n/I");',
        *declare, *branch,
        f"for (int i = 0; i < {ENTRIES}; ++i) {{ n = length(i);", *fill, "t.Fill(); } t.Write(); }",
    ])  # fmt: skip


def main(out: Path = FOLDER) -> None:
    """Write ``leaves``, ``objects``, ``fields``, ``pointed`` and ``empty.root``, a tree without branches."""
    import ROOT

    out = out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shutil.copy(FOLDER / "classes.h", "classes.h")
        Path("fill.C").write_text((FOLDER / "fill.C").read_text() + fill_leaves())
        if ROOT.gROOT.LoadMacro("fill.C+"):
            raise SystemExit("fill.C could not be compiled")
        for name in ("leaves", "objects", "fields", "pointed", "empty"):
            getattr(ROOT, f"fill_{name}")(str(out / f"{name}.root"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
