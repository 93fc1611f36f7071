"""Hits in C++: an example that fires particles agrees with Python, energy by energy."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from hepgan import noise
from hepgan.config import CaloModelConfig, DataConfig
from hepgan.datasets import TensorEvents
from hepgan.export.onnx import OnnxGenerator, write
from hepgan.models.calo import CaloGenerator
from hepgan.readers import read

ROOT = Path(__file__).parents[1]
EXPORT = ROOT / "export"
EVENTS, SEED, THRESHOLD = 1000, 7, 0.1  # threshold in MeV, as in fire.cpp


@pytest.fixture(scope="module")
def compiler() -> list[str | Path]:
    """The command that compiles a program without a warning; clang++ where it is, as test_cpp.py takes the other."""
    program = shutil.which("clang++") or shutil.which(os.environ.get("CXX", "c++"))
    headers = subprocess.run(
        ["sh", ROOT / "scripts" / "onnxruntime-headers.sh"], capture_output=True, text=True, check=False
    )
    if program is None or headers.returncode != 0:
        reason = f"C++ tests cannot run: {headers.stderr.strip() or 'no C++ compiler found; install one'}"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    (header,) = (ROOT / headers.stdout.strip()).rglob("onnxruntime_c_api.h")
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
    return [program, "-std=c++17", "-O1", *warnings, "-I", EXPORT / "include", "-isystem", header.parent]


@pytest.fixture(scope="module")
def fire(compiler: list[str | Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example program."""
    program = tmp_path_factory.mktemp("fire") / "hepgan-fire"
    done = subprocess.run(
        [*compiler, EXPORT / "examples" / "fire.cpp", "-o", program, "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def calo(sample_config: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    """A generator that knows the statistics of the shipped sample, untrained."""
    events = read(sample_config.model_copy(update={"max_events": 1500}))
    generator = CaloGenerator(sample_config, CaloModelConfig(width=16, depth=1, channels=2, latent=8))
    generator.fit(TensorEvents.of(events), generator=torch.Generator().manual_seed(1))
    path = tmp_path_factory.mktemp("calo") / "model.onnx"
    write(generator, path, data=sample_config, provenance={}, metrics={})
    return OnnxGenerator(path)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    libraries = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.*1*"))
    if not libraries:
        pytest.skip(f"onnxruntime {onnxruntime.__version__} has no shared library; install 1.23 or newer")
    environment = {**os.environ, "HEPGAN_ONNXRUNTIME": str(libraries[0])}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_energies_and_places_of_hits_are_those_of_python(
    calo: OnnxGenerator, fire: Path, tmp_path: Path
) -> None:
    done = run(fire, calo.path, tmp_path / "hits.csv", str(EVENTS), str(SEED))
    assert done.returncode == 0, done.stderr
    header, *lines = (tmp_path / "hits.csv").read_text(encoding="utf-8").splitlines()
    assert header == "event,cell,layer,i,j,x,y,z,energy"
    hits = np.array([line.split(",") for line in lines], np.float64)
    event, cell = hits[:, 0].astype(int), hits[:, 1].astype(int)

    # what the example fires: five energies with equal ratios, four angles, all around
    (c,) = calo.conditions
    number = np.arange(EVENTS)
    energy = c.low * (c.high / c.low) ** ((number % 5 + 0.5) / 5)
    theta, phi = np.array([0, 0.2, 0.4, 0.6])[number // 5 % 4], 2.4 * number
    latent = noise.normal(SEED, 0, number, size=calo.n_latent)
    cells = calo(energy[:, None].astype(np.float32), latent)[0].astype(np.float64)

    got = np.zeros_like(cells)
    np.add.at(got, (event, cell), hits[:, 8])
    above = np.where(cells > THRESHOLD, cells, 0)
    total = cells.sum(1, keepdims=True)
    # a cell at the threshold may round to either side
    assert np.all(
        np.abs(got - above) <= np.where(np.abs(cells - THRESHOLD) < 1e-5 * total, 2 * THRESHOLD, 1e-5 * total)
    )
    assert got.sum() == pytest.approx(above.sum(), rel=1e-5)
    printed = [float(line.split()[-2]) for line in done.stdout.splitlines()[1:]]
    assert sum(printed) == pytest.approx(cells.sum(), rel=1e-5), "hits and what is below the threshold"
    assert printed[0] == pytest.approx(got.sum(), rel=1e-6)

    # layer and indices are those of the cell, and the place is its centre, turned around the axis across z
    offset = np.searchsorted(calo.calorimeter.offsets, cell, side="right") - 1
    assert np.array_equal(hits[:, 2], offset)
    columns = np.array(calo.calorimeter.shapes)[offset, 1]
    assert np.array_equal(
        hits[:, 3] * columns + hits[:, 4], cell - np.array(calo.calorimeter.offsets)[offset]
    )
    point = calo.calorimeter.cell_centres[cell] - [0, 0, calo.calorimeter.layers[0].z[0]]
    a, b = theta[event], phi[event]
    axis = np.stack([-np.sin(b), np.cos(b), np.zeros_like(b)], axis=1)
    along = np.sum(axis * point, axis=1, keepdims=True)
    turned = (  # Rodrigues' formula
        point * np.cos(a)[:, None]
        + np.cross(axis, point) * np.sin(a)[:, None]
        + axis * along * (1 - np.cos(a))[:, None]
    )
    assert np.allclose(hits[:, 5:8], turned, rtol=0, atol=1e-6)


def test_fire_refuses_bad_arguments(calo: OnnxGenerator, fire: Path, tmp_path: Path) -> None:
    assert "usage: hepgan-fire" in run(fire, calo.path).stderr
    done = run(fire, calo.path, tmp_path / "hits.csv", "many")
    assert (done.returncode, done.stderr) == (2, "hepgan-fire: EVENTS: expected a whole number, got 'many'\n")
    done = run(fire, calo.path, tmp_path / "none" / "hits.csv", "1")
    assert done.returncode == 2
    assert "expected to write all hits, could not" in done.stderr
