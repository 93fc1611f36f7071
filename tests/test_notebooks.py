"""The notebooks are committed without output, and all their cells run, figures included."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

# What Jupyter does with the cells, without Jupyter: one namespace, and the value of a last expression is displayed.
RUNNER = """
import ast, io, json, sys
from matplotlib.figure import Figure

figures, namespace = 0, {"__name__": "__main__"}
for name, source in json.load(sys.stdin):
    tree = ast.parse(source, filename=name)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    value = eval(compile(ast.Expression(last.value), name, "eval"), namespace) if last else None
    if isinstance(value, Figure):
        value.savefig(io.BytesIO(), format="png", dpi=30)
        figures += 1
print("figures:", figures)
"""


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def without_magics(cell: dict[str, Any]) -> str:
    return "".join(line for line in cell["source"] if not line.startswith("%"))


def test_there_are_notebooks_and_the_readme_lists_them():
    assert NOTEBOOKS
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in NOTEBOOKS if f"]({path.name})" not in page] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_output(path):
    used = [cell["id"] for cell in cells(path, "code") if cell["outputs"] or cell["execution_count"]]
    assert used == [], f"{path.name} has outputs; in Jupyter: Edit, Clear Outputs of All Cells, save"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_code_cell_asserts_something(path):
    assert [cell["id"] for cell in cells(path, "code") if "assert " not in "".join(cell["source"])] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_run(path, tmp_path):
    code = [(f"<{path.stem}, cell {cell['id']}>", without_magics(cell)) for cell in cells(path, "code")]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER],
        input=json.dumps(code),
        capture_output=True,
        text=True,
        cwd=path.parent,  # where Jupyter runs it
        env={
            **os.environ,
            "HEPGAN_NOTEBOOK_FAST": "1",
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(tmp_path),
        },
        timeout=300,
    )
    assert run.returncode == 0, f"{path.name}:\n{run.stderr[-3000:]}"
    assert int(run.stdout.rpartition("figures:")[2]) >= 1
