"""Imports go one way: from a package only to those above it in the table, and without a circle inside a package."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hepgan"

ORDER = {
    "errors": "errors that callers catch apart",
    "files": "paths, digests, the one atomic writer",
    "progress": "progress of everything that takes more than a moment",
    "trees": "the one writer of ROOT trees",
    "geometry": "cells of the calorimeter",
    "config": "the TOML file as frozen models",
    "toys": "toy Monte Carlo",
    "data": "ROOT files to arrays",
    "transforms": "physical units to network units and back",
    "objectives": "games, scores, regularisers",
    "metrics": "arrays in, (value, uncertainty) out",
    "models": "generators and critics",
    "inference": "open and run an exported file",
    "exporting": "ONNX, C++ header, lwtnn",
    "evaluation": "all numbers between a sample and its reference",
    "training": "from a configuration to a run folder",
    "report": "page, figures, tables",
    "workflow": "the Python API",
    "studies": "comparisons of objectives, demonstrations",
    "cli": "the commands",
}
MOST_LINES = 450


def imports(package: Path) -> dict[str, set[str]]:
    """Modules below `package` that each module imports, by dotted names without the package's."""
    paths = {".".join(p.relative_to(package).with_suffix("").parts): p for p in package.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    graph = {}
    for name, path in modules.items():
        used = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                used |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        known = {
            word.removeprefix(f"{package.name}.") for word in used if word.startswith(f"{package.name}.")
        }
        graph[name] = (known & set(modules)) - {name}
    return graph


def upward(graph: dict[str, set[str]], order: list[str]) -> list[str]:
    """Imports of a package that stands below, in words."""
    place = {name: order.index(name.split(".")[0]) for name in graph}
    return [
        f"{name} imports {used} from below"
        for name, found in graph.items()
        for used in sorted(found)
        if place[used] > place[name]
    ]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One circle of imports inside each package that has any; a package's own ``__init__`` may import its modules."""
    found = []
    for package in {name.split(".")[0] for name in graph}:
        inside = {name for name in graph if name.startswith(f"{package}.")}
        try:
            TopologicalSorter({name: graph[name] & inside for name in inside}).prepare()
        except CycleError as error:
            found.append(error.args[1])
    return found


@pytest.fixture(scope="module")
def graph():
    found = imports(PACKAGE)
    return {name: used for name, used in found.items() if name not in ("__init__", "__main__")}


def test_table_names_every_package_and_no_other():
    present = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert set(ORDER) == present - {"__init__", "__main__"}
    assert len(ORDER) <= 20


def test_contributing_shows_the_same_table():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)(?:\.py|/)` \|", text, re.MULTILINE) == list(ORDER)


def test_imports_go_one_way(graph):
    assert not upward(graph, list(ORDER))


def test_no_circle_inside_a_package(graph):
    assert not circles(graph)


def test_rules_see_what_breaks_them():
    graph = {"data.a": {"cli.b"}, "cli.b": {"data.a", "cli.c"}, "cli.c": {"cli.b"}}
    assert upward(graph, ["data", "cli"]) == ["data.a imports cli.b from below"]
    assert [set(circle) for circle in circles(graph)] == [{"cli.b", "cli.c"}]
    fine = {"data.a": set(), "cli.b": {"data.a"}, "cli.c": {"cli.b"}}
    assert not upward(fine, ["data", "cli"])
    assert not circles(fine)


def test_long_modules_say_why():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in PACKAGE.rglob("*.py"):
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES:
            name = path.relative_to(ROOT).as_posix()
            assert name in contributing, f"{name} has more than {MOST_LINES} lines; split it, or say why"


def test_only_tables_of_kinds_tell_them_apart():
    """Showers and tracks are told apart by tables with their names as keys, and nowhere else."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for pattern in (r"\bis (not )?(SHOWERS|TRACKS)\b", r"[=!]= \"(calorimeter|observables)\""):
            assert not re.search(pattern, text), f"{path.name}: {pattern}"
