"""The loop: what it leaves behind, that it learns, and that nothing is lost when it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan import config, toys
from hepgan.data.reading import read
from hepgan.data.tensors import TensorEvents
from hepgan.inference.generator import Generator
from hepgan.models import CaloGenerator
from hepgan.training import checkpoint
from hepgan.training import loop as training
from hepgan.training.loop import load_generator, train
from hepgan.training.validation import PhysicsDistance

N = 2400
ROOT = Path(__file__).parents[2]


@pytest.fixture
def two_sided(tmp_path, write_tree):
    """Showers that lean to one side or the other: a mixture that no Gaussian copula has."""
    rng = np.random.default_rng(3)
    energy = np.exp(rng.uniform(0, 3, N)).astype(np.float32)
    side = rng.random(N) < 0.5
    profile = np.where(side[:, None], [8.0, 4, 2, 1, 0.5, 0.2], [0.2, 0.5, 1, 2, 4, 8.0])
    first = profile * np.exp(0.2 * rng.standard_normal((N, 6))) * energy[:, None] * 10
    second = rng.gamma(2.0, 1.0, (N, 4)) * energy[:, None] * 20 * (rng.random((N, 4)) < 0.8)
    branches = {
        "incident_energy": energy,
        "layer_0": first.reshape(N, 2, 3).astype(np.float32),
        "layer_1": second.reshape(N, 2, 2).astype(np.float32),
        "overflow": rng.exponential(1.0, (N, 2)).astype(np.float32),
        "w": np.where(rng.random(N) < 0.1, -1.0, 1.0).astype(np.float32),
    }
    return write_tree(tmp_path / "two_sided.root", branches, basket=N)


@pytest.fixture
def recipe(two_sided, tiny_data):
    """A tiny model on these showers."""

    def build(*, steps=30, weight=None, **training_settings):
        data = tiny_data([two_sided], weight=weight).model_dump(mode="json", exclude_none=True)
        return config.parse(
            {
                "data": data,
                "model": {
                    "latent": 4,
                    "width": 32,
                    "depth": 2,
                    "channels": 4,
                    "critic_width": 32,
                    "critic_depth": 2,
                    "critic_channels": 4,
                },
                "training": {
                    "steps": steps,
                    "batch_size": 64,
                    "log_every": 5,
                    "validate_every": 10,
                    "warm_up": 5,
                    "threads": 1,
                    **training_settings,
                },
            }
        )

    return build


@pytest.fixture
def track_recipe(tmp_path):
    """A tiny model of the toy RICH."""
    file = tmp_path / "tracks.root"
    toys.write("rich", file, n=2000, seed=4, species=["K"])

    def build(*, steps=30, objective="energy-score", **training_settings):
        values = config.load(
            ROOT / "hepgan" / "configs" / "rich.toml",
            settings=[f"data.files=['{file}']", "data.test_files=[]", "training.max_minutes=60.0"],
        ).model_dump(mode="json", exclude_none=True)
        values["model"] |= {"width": 16, "depth": 1, "hinges": 6, "critic_width": 16, "critic_depth": 1}
        values["objective"]["name"] = objective
        small = {"steps": steps, "batch_size": 64, "log_every": 5, "validate_every": 10, "warm_up": 5}
        values["training"] |= small | training_settings
        return config.parse(values)

    return build


def lines(run):
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def state(run):
    return checkpoint.load(run / "checkpoint" / "state.safetensors")


def test_run_folder(recipe, tmp_path):
    settings = recipe()
    run = train(settings, tmp_path / "run", progress=False)
    assert config.load(run / "config.toml") == settings
    assert (run / "model.onnx").stat().st_size > 1000
    log = lines(run)
    assert [line["step"] for line in log] == [0, 5, 10, 15, 20, 25, 30]
    assert {"critic_loss", "wasserstein", "penalty", "samples_per_second", "time", "lr"} <= log[1].keys()
    assert [line["step"] for line in log if "distance" in line] == [0, 10, 20, 30]
    generator, loaded, texts = load_generator(run)
    assert loaded == settings
    best = min(line["distance"] for line in log if "distance" in line)
    assert texts["best_distance"] == best
    assert texts["step"] == 30
    low, high = generator.condition_range[0].tolist()
    assert 1 <= low < high <= np.exp(3) + 1e-3
    assert not list(run.rglob("*.tmp"))


@pytest.mark.parametrize("objective", ["wgan-gp", "cramer", "energy-score"])
def test_every_objective_trains_tracks(track_recipe, tmp_path, objective):
    run = train(track_recipe(objective=objective, pretrain=10), tmp_path / "run", progress=False)
    log = lines(run)
    assert "critic_loss" not in log[1]  # the energy score comes first, without a critic
    assert ("critic_loss" in log[-1]) == (objective != "energy-score")
    assert all(np.isfinite(value) for line in log for value in line.values())
    model = Generator(run / "model.onnx")
    assert model.outputs[0] == "RichDLLe"


@pytest.mark.parametrize("rntuple", [False, True])
def test_any_tree_trains_without_code_for_it(tmp_path, write_tree, rntuple):
    """Jagged doubles of another detector, thousands of rows that were not reconstructed, weights of both signs."""
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 6, 2000)
    n = int(counts.sum())
    momentum = np.exp(rng.uniform(0, 4, n))
    time_of_flight = np.where(rng.random(n) < 0.2, -1.0, rng.normal(100 / momentum, 1))
    momentum[rng.random(n) < 0.4] = -999
    branches = {
        "mom": ak.unflatten(momentum, counts),
        "tof": ak.unflatten(time_of_flight, counts),
        "dedx": ak.unflatten(rng.gamma(3, 1, n), counts),
        "sw": ak.unflatten(np.where(rng.random(n) < 0.2, -0.5, 1.0), counts),
        "vertices": rng.integers(1, 60, len(counts)).astype(np.int32),
    }
    file = write_tree(tmp_path / "other.root", branches, tree="ntuple", basket=500, rntuple=rntuple)
    assert (momentum < 0).sum() > 1500
    settings = config.parse(
        {
            "data": {
                "files": [file],
                "tree": "ntuple",
                "cut": "mom > 0",
                "weight": "sw",
                "conditions": [
                    {"name": "p", "branch": "mom", "unit": "GeV"},
                    {"name": "vertices", "transform": "linear", "integer": True},
                ],
                "targets": [
                    {"name": "tof", "unit": "ns", "atoms": [-1.0]},
                    {"name": "dedx", "unit": "MeV/cm", "transform": "log"},
                ],
            },
            "model": {"latent": 3, "width": 8, "depth": 1, "hinges": 5, "critic_width": 8, "critic_depth": 1},
            "training": {"steps": 10, "batch_size": 64, "validate_every": 10, "warm_up": 2, "threads": 1},
        }
    )
    run = train(settings, tmp_path / "run", progress=False)
    model = Generator(run / "model.onnx")
    condition = np.array([[2.0, 5.0], [40.0, 50.0]] * 200, np.float32)
    (targets,) = model.sample(condition, seed=1)
    assert np.isfinite(targets).all()
    assert (targets[:, 1] > 0).all()  # log: positive by construction
    share = (targets[:, 0] == -1).mean()
    assert share == pytest.approx(0.2, abs=0.08)  # 4 sigma of 400 tracks


@pytest.mark.slow
def test_tracks_get_closer_to_the_data(track_recipe, tmp_path):
    settings = track_recipe(steps=400, batch_size=512, validate_every=100)
    distances = [
        d["distance"] for d in lines(train(settings, tmp_path / "run", progress=False)) if "distance" in d
    ]
    assert distances[-1] < 0.5 * distances[0]


def test_selected_generator_has_the_distance_that_the_log_says(recipe, tmp_path):
    settings = recipe()
    run = train(settings, tmp_path / "run", progress=False)
    generator, _, texts = load_generator(run)
    events = training.training_events(settings.data, seed=settings.training.seed)[1]
    distance = PhysicsDistance(TensorEvents.of(events), generator)
    assert distance(generator) == pytest.approx(texts["best_distance"], rel=1e-4)


@pytest.mark.slow
def test_learns_what_statistics_cannot_know(recipe, tmp_path):
    settings = recipe(steps=500, validate_every=50, lr_generator=1e-3, lr_critic=1e-3, ema=0.98)
    run = train(settings, tmp_path / "run", progress=False)
    distances = [line["distance"] for line in lines(run) if "distance" in line]
    assert min(distances) < 0.6 * distances[0]
    # the lean of layer 0 has two peaks and nothing between; the copula that it started from fills the gap
    generator, *_ = load_generator(run)
    events = TensorEvents.of(read(settings.data))
    latent = torch.randn(len(events), generator.n_latent, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        cells, _ = generator(events.condition, latent)
        untrained = CaloGenerator(settings.data, settings.model)
        untrained.fit(events, rng=torch.Generator().manual_seed(0))
        before, _ = untrained(events.condition, latent)

    def between(x):
        lean = (x[:, 0] - x[:, 5]) / (x[:, 0] + x[:, 5])
        return (lean.abs() < 0.5).float().mean().item()

    assert between(events.outputs[0]) < 0.01
    assert between(before) > 0.1
    assert between(cells) < 0.5 * between(before)


def test_negative_weights_train(recipe, tmp_path):
    run = train(recipe(weight="w"), tmp_path / "run", progress=False)
    assert all(np.isfinite(line["critic_loss"]) for line in lines(run)[1:])


def test_bf16_and_tensorboard_and_clipping(recipe, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    run = train(recipe(precision="bf16", tensorboard=True, grad_clip=1.0), tmp_path / "run", progress=False)
    assert list((run / "tensorboard").glob("events.out.tfevents*"))
    assert len(lines(run)) == 7


def test_max_minutes_stops_early_with_a_model(recipe, tmp_path):
    run = train(recipe(steps=100_000, max_minutes=0.02), tmp_path / "run", progress=False)
    assert 0 < state(run)[1]["step"] < 100_000
    assert (run / "model.onnx").exists()


# -- stopping and going on

COMMAND = [sys.executable, "-c", "from hepgan.cli import main; main()", "train"]


def started(settings, tmp_path, run):
    """A real process that trains."""
    file = tmp_path / "recipe.toml"
    file.write_text(config.dump(settings))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, str(file), "--out", str(run)],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def wait_for_step(process, run, step):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (run / "checkpoint" / "state.safetensors").exists() and lines(run)[-1]["step"] >= step:
            return
        if process.poll() is not None:
            raise AssertionError(process.stderr.read().decode())
        time.sleep(0.02)
    raise AssertionError("the training process made no progress")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["recipe", "track_recipe"])
def test_kill_and_resume_is_bit_for_bit_the_uninterrupted_run(kind, tmp_path, request):
    settings = request.getfixturevalue(kind)(steps=200)
    straight = train(settings, tmp_path / "straight", progress=False)
    killed = tmp_path / "killed"
    process = started(settings, tmp_path, killed)
    wait_for_step(process, killed, 35)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    reached = state(killed)[1]["step"]
    assert 10 <= reached < 200
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 199, "ti')  # a line that the kill cut short
    train(settings, killed, resume=True, progress=False)
    (tensors_a, texts_a), (tensors_b, texts_b) = state(straight), state(killed)
    assert tensors_a.keys() == tensors_b.keys()
    different = [key for key in tensors_a if not torch.equal(tensors_a[key], tensors_b[key])]
    assert different == []
    clock = {"elapsed"}
    assert {k: v for k, v in texts_a.items() if k not in clock} == {
        k: v for k, v in texts_b.items() if k not in clock
    }
    timed = {"time", "samples_per_second"}
    without = [
        [{k: v for k, v in line.items() if k not in timed} for line in lines(r)] for r in (straight, killed)
    ]
    assert without[0] == without[1]


@pytest.mark.slow
def test_ctrl_c_saves_and_exits_cleanly(recipe, tmp_path):
    settings = recipe(steps=100_000)
    run = tmp_path / "run"
    process = started(settings, tmp_path, run)
    wait_for_step(process, run, 20)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    assert "Traceback" not in errors.decode()
    assert "--resume goes on from here" in " ".join(errors.decode().split())
    assert state(run)[1]["step"] >= lines(run)[-1]["step"]
    assert (run / "model.onnx").exists()


# -- bad input


def test_refused_input_leaves_no_run_behind(recipe, tmp_path):
    with pytest.raises(
        ValueError, match=r"training.batch_size: expected at most.*1920, got 5000; make it smaller"
    ):
        train(recipe(batch_size=5000), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    train(recipe(), tmp_path / "run", progress=False)


def test_wrong_units_are_noticed(recipe, tmp_path, caplog):
    settings = recipe().model_dump(mode="json", exclude_none=True)
    settings["data"]["conditions"][0]["unit"] = "MeV"
    train(config.parse(settings), tmp_path / "run", progress=False)
    assert "times the incident energy; check the units of the cells and of 'incident_energy'" in caplog.text


def test_checkpoint_of_another_model_is_named(recipe, tmp_path):
    run = train(recipe(), tmp_path / "run", progress=False)
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("width = 32", "width = 16"))
    with pytest.raises(ValueError, match=r"the checkpoint does not fit the model that config.toml describes"):
        load_generator(run)


def test_existing_run_is_not_overwritten(recipe, tmp_path):
    run = train(recipe(), tmp_path / "run", progress=False)
    before = (run / "metrics.jsonl").read_text()
    with pytest.raises(
        ValueError, match=r"exists already; --resume goes on with it, another --out starts anew"
    ):
        train(recipe(), run, progress=False)
    assert (run / "metrics.jsonl").read_text() == before


def test_resume_needs_a_run_with_the_same_configuration_and_data(recipe, two_sided, tmp_path, tiny_file):
    with pytest.raises(FileNotFoundError, match=r"no config.toml to resume from"):
        train(recipe(), tmp_path / "nothing", resume=True, progress=False)
    run = train(recipe(), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=r"training.batch_size: was 64, is 32"):
        train(recipe(batch_size=32), run, resume=True, progress=False)
    Path(tiny_file()).replace(two_sided)
    with pytest.raises(ValueError, match=r"trained on other data \(the files' sha256 differs\)"):
        train(recipe(), run, resume=True, progress=False)


def test_what_does_not_change_the_numbers_may_change_on_resume(recipe, tmp_path):
    run = train(recipe(steps=20, max_minutes=1e-9), tmp_path / "run", progress=False)
    assert state(run)[1]["step"] < 20
    train(recipe(steps=20, max_minutes=10.0), run, resume=True, progress=False)
    assert state(run)[1]["step"] == 20
    assert [line["step"] for line in lines(run)].count(0) == 1


def test_resume_on_another_device_is_refused(recipe, tmp_path):
    run = train(recipe(), tmp_path / "run", progress=False)
    tensors, texts = state(run)
    checkpoint.save(run / "checkpoint" / "state.safetensors", {"x": tensors}, texts | {"device": "cuda"})
    with pytest.raises(
        ValueError, match=r"was trained on 'cuda', and this is 'cpu'.*resume with --device cuda"
    ):
        train(recipe(), run, resume=True, progress=False)


def test_export_takes_the_report_of_this_generator_only(recipe, tmp_path):
    run = train(recipe(), tmp_path / "run", progress=False)
    written = Generator(run / "model.onnx").metadata.provenance
    assert list(Generator(run / "model.onnx").metadata.metrics) == ["validation_distance"]
    (run / "report").mkdir()
    for step, expected in ((written["step"], True), (written["step"] + 1, False)):
        report = {
            "provenance": {"model": written | {"step": step}},
            "headline": {"classifier_auc": [0.6, 0.01]},
        }
        (run / "report" / "metrics.json").write_text(json.dumps(report))
        metrics = Generator(training.export_run(run, tmp_path / "again.onnx")).metadata.metrics
        assert ("classifier_auc" in metrics) is expected


def test_a_finished_run_resumes_to_itself(recipe, tmp_path):
    run = train(recipe(), tmp_path / "run", progress=False)
    before = state(run)[0]
    train(recipe(), run, resume=True, progress=False)
    assert all(torch.equal(before[key], value) for key, value in state(run)[0].items())


def test_diverging_losses_stop_with_advice_and_keep_the_checkpoint(recipe, tmp_path):
    with pytest.raises(FloatingPointError, match=r"losses are not finite at step \d+.*lower lr_critic"):
        train(recipe(lr_critic=1e30), tmp_path / "run", progress=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_cuda_is_asked_for_where_there_is_none(recipe, tmp_path):
    with pytest.raises(ValueError, match=r"training.device: expected a machine with CUDA"):
        train(recipe(device="cuda"), tmp_path / "run", progress=False)
