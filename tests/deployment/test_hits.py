"""Hits in C++: the example that fires particles agrees with Python, cell by cell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cpp import ROOT, compiler, headers, run, runtime_library

from hepgan.inference import noise
from hepgan.inference.generator import Generator

EVENTS, SEED, THRESHOLD = 1000, 7, 0.1  # threshold in MeV, as in fire.cpp


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, compiled without CMake."""
    out = tmp_path_factory.mktemp("fire") / "hepgan-fire"
    done = run(
        *(
            compiler(os.environ.get("CXX", "c++")),
            "-std=c++17",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
        ),
        *("-I", ROOT / "export" / "include", "-isystem", headers()),
        *(ROOT / "export" / "examples" / "fire.cpp", "-o", out, "-ldl"),
    )
    assert done.returncode == 0, done.stderr
    return out


def fire(program: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return run(program, *words, environment={"HEPGAN_ONNXRUNTIME": runtime_library()})


def test_energies_and_places_of_hits_are_those_of_python(
    calo: Generator, program: Path, tmp_path: Path
) -> None:
    done = fire(program, calo.path, tmp_path / "hits.csv", str(EVENTS), str(SEED))
    assert done.returncode == 0, done.stderr
    header, *lines = (tmp_path / "hits.csv").read_text(encoding="utf-8").splitlines()
    assert header == "event,cell,layer,i,j,x,y,z,energy"
    hits = np.array([line.split(",") for line in lines], np.float64)
    event, cell = hits[:, 0].astype(int), hits[:, 1].astype(int)

    # the particles of the example: five energies with equal ratios, four angles, any azimuth
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

    # layer and indices are those of the cell; the position is its centre, rotated from z to the direction
    layer = np.searchsorted(calo.calorimeter.offsets, cell, side="right") - 1
    assert np.array_equal(hits[:, 2], layer)
    columns = np.array(calo.calorimeter.shapes)[layer, 1]
    assert np.array_equal(hits[:, 3] * columns + hits[:, 4], cell - np.array(calo.calorimeter.offsets)[layer])
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


def test_fire_refuses_bad_arguments(calo: Generator, program: Path, tmp_path: Path) -> None:
    assert "usage: hepgan-fire" in fire(program, calo.path).stderr
    done = fire(program, calo.path, tmp_path / "hits.csv", "many")
    assert (done.returncode, done.stderr) == (2, "hepgan-fire: EVENTS: expected a whole number, got 'many'\n")
    done = fire(program, calo.path, tmp_path / "none" / "hits.csv", "1")
    assert done.returncode == 2
    assert "expected to write all hits, could not" in done.stderr
