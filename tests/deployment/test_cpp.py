"""The C++ side: build export/ with CMake, run its tests, and compare its numbers with Python's."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cpp import ROOT, Run, build, run, runtime_library
from tiny_generator import TinyGenerator, tiny_data

from hepgan.data.reading import read
from hepgan.exporting.onnx import write
from hepgan.inference.bulk import generate
from hepgan.inference.generator import Generator
from hepgan.inference.shipped import reference_models

BUILD = ROOT / "build" / "cpp"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Generator]:
    """A function that writes a model with two conditions, for any or a fixed batch size."""

    def build(batch: int | None) -> Generator:
        path = tmp_path_factory.mktemp("tiny") / "model.onnx"
        data = tiny_data()
        write(TinyGenerator(data), path, data=data, provenance={}, metrics={}, batch=batch)
        return Generator(path)

    return build


@pytest.fixture(scope="module")
def built(calo: Generator, rich: Generator) -> Path:
    """The build folder with tools, as users build them, and tests, compiled without a warning."""
    return build(
        BUILD,
        "-DHEPGAN_TEST_OPTIONS=-O1",  # -O3 takes 1.6 times as long to compile
        "-DHEPGAN_TESTS_TOGETHER=ON",
        f"-DHEPGAN_TEST_MODEL={calo.path}",
        f"-DHEPGAN_TEST_TRACKS={rich.path}",
    )


@pytest.fixture(scope="module")
def shoot(built: Path) -> Run:
    """A function that runs hepgan-shoot."""

    def call(*arguments: str | Path, library: str = "") -> subprocess.CompletedProcess[str]:
        return run(
            built / "hepgan-shoot",
            *arguments,
            environment={"HEPGAN_ONNXRUNTIME": library or runtime_library()},
        )

    return call


def test_reference_vectors_and_errors(built: Path) -> None:
    done = run(
        "ctest",
        "--test-dir",
        built,
        "--output-on-failure",
        environment={"HEPGAN_ONNXRUNTIME": runtime_library()},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # "100% tests passed, 0 tests failed out of 58"; CMake 4 leaves out the middle part
    assert re.search(r"^100% tests passed.* out of 58$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", ["calo", "tiny", "fixed"])
def test_numbers_are_those_of_python(
    name: str, calo: Generator, tiny: Callable[..., Generator], shoot: Run, tmp_path: Path
) -> None:
    model = calo if name == "calo" else tiny(3 if name == "fixed" else None)
    rng = np.random.default_rng(2)
    latent = rng.standard_normal((10, model.n_latent), dtype=np.float32)
    condition = np.stack([np.linspace(c.low, c.high, 10) for c in model.conditions], axis=1).astype(
        np.float32
    )
    np.savetxt(tmp_path / "rows.txt", np.concatenate([condition, latent], axis=1), fmt="%.9g")
    done = shoot(model.path, "--rows", tmp_path / "rows.txt", "--csv")
    assert done.returncode == 0, done.stderr
    got = np.array([line.split(",") for line in done.stdout.splitlines()], dtype=np.float32)
    expected = np.concatenate(model(condition, latent), axis=1)
    assert got.shape == expected.shape
    assert np.all(np.abs(got - expected) <= 1e-5 * expected.max(axis=1, keepdims=True))
    assert (got == 0).any()


def test_example_shoots_showers(calo: Generator, shoot: Run) -> None:
    done = shoot(calo.path, "--energy", "10", "-n", "500", "--seed", "3")
    assert done.returncode == 0, done.stderr
    energies = {
        words[0]: float(words[1])
        for line in done.stdout.splitlines()
        if (words := line.split())[0] in (*calo.outputs, "total")
    }
    assert energies["total"] == pytest.approx(10_000, rel=0.03), "10 GeV showers deposit nearly all of it"
    assert energies["total"] == pytest.approx(sum(energies[name] for name in calo.outputs), rel=1e-3)
    expected, _ = calo.sample(np.full((500, 1), 10.0), seed=1)
    for name, place in zip(calo.outputs, calo.calorimeter.slices(), strict=False):
        deposit = expected[:, place].sum(1)
        spread = float((2 / 500) ** 0.5 * deposit.std())  # of the difference of two means
        assert energies[name] == pytest.approx(float(deposit.mean()), abs=4 * spread), name


def test_same_events_as_hepgan_generate(calo: Generator, shoot: Run, tmp_path: Path) -> None:
    energies = {"incident_energy": (1.0, 60.0)}
    generate(calo, tmp_path / "g.root", n=20, conditions=energies, seed=5, run=7, first_event=100)
    events = read(calo.data, files=[str(tmp_path / "g.root")])
    for row in (0, 13):
        energy = repr(float(events.conditions[row, 0]))
        key = ("--seed", "5", "--run", "7", "--first-event", str(100 + row))
        done = shoot(calo.path, "--energy", energy, "-n", "1", "--csv", *key)
        got = np.array(done.stdout.split(","), np.float32)
        expected = np.concatenate([events.cells[row], events.overflow[row]])
        assert np.abs(got - expected).max() <= 1e-5 * expected.max()
        assert (got > 0).sum() > 20


def test_check_describes_and_tests(built: Path, calo: Generator, rich: Generator) -> None:
    environment = {"HEPGAN_ONNXRUNTIME": runtime_library()}
    done = run(built / "hepgan-check", calo.path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "layer layer_0: 3 x 96, MeV\n" in done.stdout
    assert len(re.findall("^  passed  ", done.stdout, re.MULTILINE)) == 4
    done = run(built / "hepgan-check", rich.path, environment=environment)
    assert "condition probe_PDG: trained with p = 2212, pi = 211, K = 321\n" in done.stdout
    altered = calo.path.with_name("altered.onnx")
    altered.write_bytes(calo.path.read_bytes().replace(b"Sigmoid", b"Softsig", 1))
    done = run(built / "hepgan-check", altered, environment=environment)
    assert done.returncode == 2
    assert "the graph was altered" in done.stderr


def test_reference_models_shoot_without_a_training(built: Path, shoot: Run) -> None:
    models = reference_models()
    assert models
    for name, path in models.items():
        done = run(built / "hepgan-check", path, environment={"HEPGAN_ONNXRUNTIME": runtime_library()})
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        done = shoot(path, "-n", "5", "--csv")
        assert done.returncode == 0, (name, done.stderr)
        rows = np.array([line.split(",") for line in done.stdout.splitlines()], np.float64)
        assert rows.shape == (5, sum(int(np.prod(o.shape)) for o in Generator(path).metadata.outputs)), name
        assert rows.std() > 0


def test_bench_prints_a_table(built: Path, rich: Generator) -> None:
    words = ("--batch", "1,20", "--callers", "1,2", "--seconds", "0.05")
    done = run(
        built / "hepgan-bench", rich.path, *words, environment={"HEPGAN_ONNXRUNTIME": runtime_library()}
    )
    assert done.returncode == 0, done.stderr
    table = [[float(word) for word in line.split()] for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in table] == [1, 20]
    assert all(len(row) == 5 and min(row) > 0 for row in table)
    assert table[1][1] < table[0][1], "a track in a batch takes less than one alone"


def test_out_of_range_on_request(calo: Generator, shoot: Run) -> None:
    done = shoot(calo.path, "--energy", "200", "-n", "10", "--out-of-range", "clamp")
    assert "10 conditions clamped, 0 extrapolated, 0 events skipped" in done.stdout
    done = shoot(calo.path, "--energy", "200", "-n", "3", "--out-of-range", "skip", "--csv")
    assert set(done.stdout.replace("\n", ",").split(",")) == {"0", ""}


def test_seed_decides_and_threads_of_numbers_agree(calo: Generator, shoot: Run) -> None:
    first, again, other = (shoot(calo.path, "-n", "3", "--seed", seed, "--csv").stdout for seed in "112")
    assert first == again != other
    assert len(first.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--energy", "200"], "GeV (the trained range), got 200 GeV in row 0; stay inside"),
        (["--energy", "ten"], "--energy: expected a number, got 'ten'"),
        (["--energy", "1,2"], "--condition: expected 1 values, got 2"),
        (["--condition", "1,2"], "--condition: expected 1 values, got 2"),
        (["-n"], "-n: expected a value, got none"),
        (["--fast"], "unknown argument '--fast'"),
        (["-n", "0"], "-n: expected a number from 1 to 1e+09, got 0"),
        (["--run", "-1"], "--run: expected a whole number from 0 to 2^64 - 1, got '-1'"),
        (["--out-of-range", "ignore"], "expected fail, clamp, extrapolate or skip, got 'ignore'"),
    ],
)
def test_bad_arguments_say_what_is_wrong(
    arguments: list[str], message: str, calo: Generator, shoot: Run
) -> None:
    done = shoot(calo.path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def without_remedy(error: Exception) -> str:
    """A message up to its remedy, which names the options of a language."""
    return str(error).rpartition(";")[0]


def test_both_languages_refuse_with_the_same_words(calo: Generator, shoot: Run) -> None:
    with pytest.raises(
        ValueError, match=r"'incident_energy': expected 1 to .* got 200 GeV in row 0;"
    ) as info:
        calo.sample(np.array([[200.0]]), seed=1)
    assert without_remedy(info.value) in shoot(calo.path, "--energy", "200").stderr


def track_inputs(model: Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Conditions over the trained range and latent numbers of `n` tracks."""
    rng = np.random.default_rng(8)
    condition = np.stack([rng.permutation(c.spanning(n)) for c in model.conditions], axis=1)
    return condition.astype(np.float32), rng.standard_normal((n, model.n_latent), dtype=np.float32)


def test_tracks_are_those_of_python(rich: Generator, shoot: Run, tmp_path: Path) -> None:
    condition, latent = track_inputs(rich, 500)
    np.savetxt(tmp_path / "rows.txt", np.concatenate([condition, latent], axis=1), fmt="%.9g")
    done = shoot(rich.path, "--rows", tmp_path / "rows.txt", "--csv")
    assert done.returncode == 0, done.stderr
    got = np.array([line.split(",") for line in done.stdout.splitlines()], dtype=np.float32)
    (expected,) = rich(condition, latent)
    scale = np.array([output.scale for output in rich.metadata.outputs])
    assert got.shape == expected.shape
    assert np.all(np.abs(got - expected) <= 1e-5 * np.maximum(np.abs(expected), scale))
    assert np.array_equal(got == -999, expected == -999), "sentinels are exact"
    assert (got == -999).any()
    assert np.array_equal(got[:, 1] == got[:, 2], expected[:, 1] == expected[:, 2]), "ties are exact"
    assert (got[:, 1] == got[:, 2]).any()


def test_example_shoots_tracks(rich: Generator, shoot: Run) -> None:
    done = shoot(rich.path, "--condition", "30000,321,3.5,150", "-n", "2000", "--seed", "4")
    assert done.returncode == 0, done.stderr
    (targets,) = rich.sample(np.tile([[30000.0, 321.0, 3.5, 150.0]], (2000, 1)), seed=1)
    for name, values in zip(rich.outputs, targets.T, strict=True):
        line = next(line for line in done.stdout.splitlines() if line.split()[:1] == [name])
        share = float(re.search(r"-999 in (\S+) %", line)[1]) / 100
        assert share == pytest.approx(np.mean(values == -999), abs=0.03)
        free = values[(values != -999) & (values != 0)]
        assert float(line.split()[1]) == pytest.approx(free.mean(), abs=5 * free.std() / np.sqrt(len(free)))


def test_both_languages_refuse_an_unknown_category(rich: Generator, shoot: Run) -> None:
    with pytest.raises(
        ValueError, match=r"'probe_PDG': expected one of .*K = 321.*, got 13 in row 0; .*;"
    ) as info:
        rich.sample(np.array([[30000.0, 13.0, 3.5, 150.0]]), seed=1)
    done = shoot(rich.path, "--condition", "30000,13,3.5,150", "--extrapolate")
    assert done.returncode == 2
    assert without_remedy(info.value) in done.stderr


def test_extrapolation_on_request(calo: Generator, shoot: Run) -> None:
    assert shoot(calo.path, "--energy", "80", "--extrapolate", "-n", "2", "--csv").returncode == 0


def test_missing_runtime_and_model(calo: Generator, shoot: Run, tmp_path: Path) -> None:
    done = shoot(calo.path, library=str(tmp_path / "none.so"))
    assert done.returncode == 2
    assert "ONNX Runtime could not be loaded; set HEPGAN_ONNXRUNTIME" in done.stderr
    done = shoot(tmp_path / "none.onnx")
    assert done.returncode == 2
    assert f"model not found: {tmp_path / 'none.onnx'}" in done.stderr
    assert "usage: hepgan-shoot" in shoot("--help").stdout


SOURCES = {
    "sources.list": "deb [arch=amd64 signed-by=/k] http://mirror.invalid/d bookworm main contrib # 1\n",
    "sources.list.d/some.list": "deb http://mirror.invalid/debian bookworm main\n",
    "sources.list.d/some.sources": "Types: deb\nURIs: http://mirror.invalid\nSuites: old\nComponents: main\n",
}


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        *((file, ("", ""), "no libonnxruntime-dev at the mirrors") for file in SOURCES),
        ("sources.list", ("deb ", "# deb "), "expected a mirror in apt's sources, got none"),
        ("sources.list", ("http:", "cdrom:"), "expected a mirror in apt's sources, got none"),
        (
            "sources.list.d/some.sources",
            ("Types: deb", "Types: deb-src"),
            "expected a mirror in apt's sources",
        ),
        ("sources.list.d/some.sources", ("URIs", "Enabled: no\nURIs"), "expected a mirror in apt's sources"),
    ],
)
def test_headers_come_from_the_machines_own_mirror(
    file: str, change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    if Path("/usr/include/onnxruntime/onnxruntime_c_api.h").is_file():
        pytest.skip("this machine has the headers installed")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / file).write_text(SOURCES[file].replace(*change))
    script = ROOT / "scripts" / "onnxruntime-headers.sh"
    done = run("sh", script, tmp_path / "headers", environment={"HEPGAN_APT": str(tmp_path)})
    assert done.returncode == 1
    assert message in done.stderr
    assert ("trixie/main: " in done.stderr) == (change[0] == ""), "the newer suite is asked first"
    assert not (tmp_path / "headers").exists()
