"""Shared fixtures: the shipped samples, and tiny ROOT files of the same showers in every layout."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
from numpy.typing import NDArray
from tiny_generator import tracks_config, tracks_generator

from hepgan.config import CaloModelConfig, DataConfig, parse
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.data.tensors import TensorEvents
from hepgan.exporting.onnx import write
from hepgan.inference.generator import Generator
from hepgan.models.showers import CaloGenerator

torch.set_num_threads(1)

LONG_FILES = (
    *("deployment/test_builds.py", "cli/test_cli.py", "training/test_parallel.py", "deployment/test_cpp.py"),
    *("training/test_loop.py", "report/test_browser.py", "test_notebooks.py", "report/test_writing.py"),
    *("data/test_columns.py", "test_api.py", "metrics/test_sensitivity.py", "training/test_killing.py"),
    *("training/test_events.py", "studies/test_tuning.py", "report/test_cards.py"),
)
"""Files that take half a minute or more, the longest first."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep pytest-xdist from starting with the files of most tests, which are not the longest."""
    config.option.loadscopereorder = False


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking all modules and tests again and again: a seventh of the time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files: a worker takes whole files (``--dist loadfile``), and none shall end alone."""
    folder = Path(__file__).parent
    place = {folder / name: k for k, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


CALOGAN_LAYERS: list[dict[str, Any]] = [
    {"shape": [3, 96], "x": [-240.0, 240.0], "y": [-240.0, 240.0], "z": [-240.0, -150.0]},
    {"shape": [12, 12], "x": [-240.0, 240.0], "y": [-240.0, 240.0], "z": [-150.0, 197.0]},
    {"shape": [12, 6], "x": [-240.0, 240.0], "y": [-240.0, 240.0], "z": [197.0, 240.0]},
]
TINY_LAYERS: list[dict[str, Any]] = [
    {"shape": [2, 3], "x": [-10.0, 10.0], "y": [-15.0, 15.0], "z": [0.0, 10.0]},
    {"shape": [2, 2], "x": [-10.0, 10.0], "y": [-15.0, 15.0], "z": [10.0, 40.0]},
]
LAYOUTS: dict[str, dict[str, Any]] = {
    "arrays": {"branches": ["layer_0", "layer_1"], "overflow": "overflow"},
    "rntuple": {"branches": ["layer_0", "layer_1"], "overflow": "overflow"},
    "vectors": {"branches": ["layer_0", "layer_1"], "overflow": "overflow"},
    "cells": {"layout": "cells", "cells": "cell_{}", "overflow": "tail"},
    "hits": {
        "layout": "hits",
        "hits": {"layer": "hit_layer", "i": "hit_ix", "j": "hit_iy", "energy": "hit_energy"},
        "overflow": "overflow",
    },
    "cell_ids": {
        "layout": "hits",
        "hits": {"cell": "hit_cell", "energy": "hit_energy"},
        "overflow": "overflow",
    },
}


@pytest.fixture(scope="session")
def root_python() -> str:
    """A Python that can import ROOT: HEPGAN_ROOT_PYTHON, else that of scripts/root.sh, else python3."""
    named, own = os.environ.get("HEPGAN_ROOT_PYTHON"), Path(__file__).parents[1] / "build/root/bin/python"
    python = named or (str(own) if own.exists() else "python3")
    command = [python, "-W", "ignore", "-c", "import ROOT"]
    if shutil.which(python) is None or subprocess.run(command, capture_output=True).returncode:
        if named:
            pytest.fail(f"HEPGAN_ROOT_PYTHON: expected a Python that can import ROOT, got {named}")
        pytest.skip("no ROOT: run scripts/root.sh, or name a Python with ROOT in HEPGAN_ROOT_PYTHON")
    return python


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the shipped samples."""
    return Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def sample_config(data_dir: Path) -> DataConfig:
    """How to read the shipped positrons (array layout)."""
    return parse(
        {
            "data": {
                "files": [str(data_dir / "eplus.root")],
                "conditions": [{"name": "incident_energy", "unit": "GeV"}],
                "calorimeter": {
                    "branches": ["layer_0", "layer_1", "layer_2"],
                    "overflow": "overflow",
                    "layers": CALOGAN_LAYERS,
                },
            }
        }
    ).data


@pytest.fixture(scope="session")
def events(sample_config: DataConfig) -> Events:
    """The first 400 shipped positrons."""
    return read(sample_config.model_copy(update={"max_events": 400}))


@pytest.fixture
def tiny_events() -> Events:
    """Fifty made-up showers of two layers, 2 x 3 and 2 x 2 cells, sparse, with overflow."""
    rng = np.random.default_rng(7)
    energy = rng.uniform(1, 50, size=(50, 1))
    cells = energy * 1000 * rng.dirichlet(np.ones(10), size=50) * (rng.random((50, 10)) < 0.7)
    overflow = energy * rng.exponential(2.0, size=(50, 2))
    energy, cells, overflow = (a.astype(np.float32) for a in (energy, cells, overflow))
    return Events(energy, (cells, overflow), np.ones(50, np.float32))


@pytest.fixture
def write_tree() -> Callable[..., str]:
    """Write branches to one tree (awkward or numpy arrays; `basket` events at a time)."""

    def write(
        path: Path,
        branches: dict[str, Any],
        *,
        tree: str = "showers",
        basket: int = 20,
        rntuple: bool = False,
    ) -> str:
        n = len(next(iter(branches.values())))
        with uproot.recreate(path) as file:
            if rntuple:
                file.mkrntuple(tree, ak.zip(branches, depth_limit=1))
                return str(path)
            types = {
                name: values.type.content
                if isinstance(values, ak.Array)
                else (values.dtype, values.shape[1:])
                for name, values in branches.items()
            }
            file.mktree(tree, types)
            for start in range(0, n, basket):
                file[tree].extend({name: values[start : start + basket] for name, values in branches.items()})
        return str(path)

    return write


def branches_of(events: Events, layout: str) -> dict[str, Any]:
    """The tiny showers as the branches of a layout, with a weight `w` and the entry `number`."""
    n = len(events)
    branches: dict[str, Any] = {
        "incident_energy": events.conditions[:, 0],
        "w": events.weights,
        "number": np.arange(n, dtype=np.int32),
    }
    if layout == "cells":
        flat = np.concatenate([events.cells, events.overflow], axis=1).astype(np.float64)
        return branches | {f"cell_{k}": flat[:, k] for k in range(flat.shape[1])}
    branches["overflow"] = events.overflow
    if layout in ("arrays", "rntuple"):
        layers = events.cells[:, :6].reshape(n, 2, 3), events.cells[:, 6:].reshape(n, 2, 2)
        return branches | {"layer_0": layers[0], "layer_1": layers[1]}
    if layout == "vectors":  # std::vector<float>, always full
        return branches | {
            f"layer_{k}": ak.from_regular(ak.from_numpy(np.ascontiguousarray(part)))
            for k, part in enumerate((events.cells[:, :6], events.cells[:, 6:]))
        }
    event, cell = np.nonzero(events.cells)
    counts = np.bincount(event, minlength=n)
    energy = events.cells[event, cell].astype(np.float64)
    # every hit in two steps of 1/4 and 3/4 of its energy: exact in binary, and the sum must give it back
    repeat = {"cell": np.repeat(cell, 2), "energy": np.stack([energy / 4, energy * 3 / 4], axis=1).ravel()}
    second = repeat["cell"] >= 6
    index = np.where(second, repeat["cell"] - 6, repeat["cell"])
    width = np.where(second, 2, 3)
    flat = {
        "layer": second.astype(np.int32),
        "ix": (index // width).astype(np.int32),
        "iy": (index % width).astype(np.int32),
        "cell": repeat["cell"].astype(np.int32),
        "energy": repeat["energy"],
    }
    return branches | {f"hit_{name}": ak.unflatten(values, 2 * counts) for name, values in flat.items()}


def shifted(events: Events, by: float = 0.001) -> Events:
    """Other events: none of them equal to the given ones."""
    return replace(events, conditions=events.conditions + np.float32(by))


@pytest.fixture
def two_files(tiny_file, write_tree, tmp_path, tiny_events) -> tuple[str, str]:
    """Two files of different events, which one glob matches."""
    second = branches_of(shifted(tiny_events), "arrays")
    return tiny_file(name="run_1.root"), write_tree(tmp_path / "run_2.root", second)


@pytest.fixture
def tiny_data() -> Callable[..., DataConfig]:
    """How to read files of tiny showers in a layout of `LAYOUTS`."""

    def build(files: list[str], layout: str = "arrays", **settings: Any) -> DataConfig:
        calorimeter = {"layers": TINY_LAYERS} | LAYOUTS[layout] | settings.pop("calorimeter", {})
        conditions = settings.pop("conditions", [{"name": "incident_energy", "unit": "GeV"}])
        return parse(
            {"data": {"files": files, "conditions": conditions, "calorimeter": calorimeter, **settings}}
        ).data

    return build


@pytest.fixture
def tiny_file(tmp_path: Path, tiny_events: Events, write_tree: Callable[..., str]) -> Callable[..., str]:
    """Write the tiny showers in a layout, with some branches replaced."""

    def build(layout: str = "arrays", *, name: str = "", **replaced: Any) -> str:
        branches = branches_of(tiny_events, layout) | replaced
        path = tmp_path / (name or f"{layout}.root")
        return write_tree(path, branches, rntuple=layout == "rntuple")

    return build


# Observables: tracks instead of showers.

TRACK_COUNTS = np.array([2, 0, 5, 1, 4] * 12)  # tracks of each event
STORAGES: dict[str, tuple[Any, bool, bool]] = {  # precision, jagged, RNTuple
    "scalars": (np.float32, False, False),
    "doubles": (np.float64, False, False),
    "jagged": (np.float32, True, False),
    "jagged doubles": (np.float64, True, False),
    "rntuple": (np.float32, False, True),
    "jagged rntuple": (np.float32, True, True),
    "half": (np.float16, False, True),
    "jagged half": (np.float16, True, True),
}


@pytest.fixture
def tiny_tracks() -> dict[str, NDArray[Any]]:
    """Made-up tracks, flat, with atoms, ties, rows that were not reconstructed, and weights of both signs.

    All numbers have half precision, so that every storage holds them exactly.
    """
    rng = np.random.default_rng(11)
    n, event = int(TRACK_COUNTS.sum()), np.repeat(np.arange(len(TRACK_COUNTS)), TRACK_COUNTS)
    dll_k, dll_p = rng.normal(0, 10, (2, n))
    below = rng.random(n) < 0.3
    tracks = {
        "track_P": rng.uniform(2, 60, n),
        "track_ETA": rng.uniform(2, 5, n),
        "track_DLLk": np.where(below, 0, dll_k),
        "track_DLLp": np.where(below, 0, np.where(rng.random(n) < 0.3, dll_k, dll_p)),
        "track_sWeight": rng.normal(1, 1, n),
    }
    lost = rng.random(n) < 0.1
    for name in ("track_P", "track_DLLk", "track_DLLp"):
        tracks[name][lost] = -999
    return {
        **{name: values.astype(np.float16).astype(np.float32) for name, values in tracks.items()},
        "track_ID": rng.choice(np.array([211, 321], np.int32), n),
        "nTracks": rng.integers(20, 300, len(TRACK_COUNTS), dtype=np.int32)[event],
        "event": event.astype(np.int32),
    }


@pytest.fixture
def track_file(
    tmp_path: Path,
    tiny_tracks: dict[str, NDArray[Any]],
    write_tree: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Write the tiny tracks with some branches replaced, in one of `STORAGES`."""
    # uproot reads half-precision columns of an RNTuple (ROOT's Real16) but does not write them of its own accord
    writer = uproot.writing._cascadentuple
    monkeypatch.setitem(writer._ak_primitive_to_typename_dict, "float16", "float")
    real16 = uproot.const.rntuple_col_type_to_num_dict["real16"]
    monkeypatch.setitem(writer._ak_primitive_to_num_dict, "float16", real16)

    def build(storage: str = "scalars", *, name: str = "tracks.root", **replaced: Any) -> str:
        precision, jagged, rntuple = STORAGES[storage]
        branches: dict[str, Any] = tiny_tracks | replaced
        for branch, values in branches.items():
            if isinstance(values, np.ndarray) and values.dtype.kind == "f":
                branches[branch] = values.astype(precision)
            if jagged and branch in ("nTracks", "event"):
                branches[branch] = values[(np.cumsum(TRACK_COUNTS) - 1).clip(0)]
            elif jagged and isinstance(values, np.ndarray):
                branches[branch] = ak.unflatten(branches[branch], TRACK_COUNTS)
        return write_tree(tmp_path / name, branches, tree="tracks", rntuple=rntuple)

    return build


@pytest.fixture
def track_data() -> Callable[..., DataConfig]:
    """How to read files of tiny tracks."""

    def build(files: list[str], **settings: Any) -> DataConfig:
        values = {
            "files": files,
            "cut": "track_P > 0",
            "ties": True,
            "conditions": [
                {"name": "P", "branch": "track_P", "unit": "GeV/c"},
                {"name": "ETA", "branch": "track_ETA", "transform": "linear"},
                {"name": "nTracks", "transform": "linear", "integer": True},
            ],
            "targets": [
                {"name": "DLLk", "branch": "track_DLLk", "atoms": [0.0, -999.0]},
                {"name": "DLLp", "branch": "track_DLLp", "atoms": [0.0, -999.0]},
            ],
        }
        return parse({"data": values | settings}).data

    return build


@pytest.fixture(scope="session")
def calo(sample_config: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """A calorimeter generator that knows the statistics of the shipped sample, untrained."""
    events = read(sample_config.model_copy(update={"max_events": 1500}))
    with torch.random.fork_rng():
        torch.manual_seed(1)  # of the weights: tests must not depend on their order
        generator = CaloGenerator(sample_config, CaloModelConfig(width=16, depth=1, channels=2, latent=8))
    generator.fit(TensorEvents.of(events), rng=torch.Generator().manual_seed(1))
    path = tmp_path_factory.mktemp("calo") / "model.onnx"
    write(generator, path, data=sample_config, provenance={}, metrics={})
    return Generator(path)


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """A generator of DLLs with a category, sentinels and ties."""
    config = tracks_config()
    path = tmp_path_factory.mktemp("rich") / "model.onnx"
    write(tracks_generator(config), path, data=config.data, provenance={}, metrics={})
    return Generator(path)
