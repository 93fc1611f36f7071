"""Training: the files it leaves, that it learns, and that nothing is lost when it is stopped."""

import ast
import os
import signal
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
from run_files import differing_tensors, log_lines, saved_progress, saved_tensors

from hepgan import config
from hepgan.data.names import completed
from hepgan.data.reading import read
from hepgan.data.splits import training_events
from hepgan.data.tensors import TensorEvents
from hepgan.errors import Interrupted, TrainingDiverged
from hepgan.inference.generator import Generator
from hepgan.models import CaloGenerator
from hepgan.training import loop
from hepgan.training.loop import train
from hepgan.training.run_folder import export_run, load_generator
from hepgan.training.signals import stop_signals
from hepgan.training.validation import ValidationDistance


def test_the_loop_is_read_at_once():
    """No function longer than 80 lines, with its docstring, and none inside another."""
    tree = ast.parse(Path(loop.__file__).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    assert functions == [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    lengths = {function.name: function.end_lineno - function.lineno + 1 for function in functions}
    assert lengths == {name: length for name, length in lengths.items() if length <= 80}
    loops = [f for f in functions if any(isinstance(node, ast.While) for node in ast.walk(f))]
    assert len(loops) == 1


def test_run_folder(recipe, tmp_path):
    settings = recipe()
    run = train(settings, tmp_path / "run", progress=False)
    named = settings.model_copy(update={"data": completed(settings.data)})
    assert named.data.output_tree, "as in the training file, for files to write"
    assert config.load(run / "config.toml") == named
    assert (run / "model.onnx").stat().st_size > 1000
    log = log_lines(run)
    assert [line["step"] for line in log] == [0, 5, 10, 15, 20, 25, 30]
    assert {"critic_loss", "wasserstein", "penalty", "samples_per_second", "time", "lr"} <= log[1].keys()
    assert [line["step"] for line in log if "distance" in line] == [0, 10, 20, 30]
    generator, loaded, progress = load_generator(run)
    assert loaded == named
    best = min(line["distance"] for line in log if "distance" in line)
    assert progress.best_distance == best
    assert progress.step == 30
    low, high = generator.condition_range[0].tolist()
    assert 1 <= low < high <= np.exp(3) + 1e-3
    assert not list(run.rglob("*.tmp"))


@pytest.mark.usefixtures("quick_chances")
@pytest.mark.parametrize("objective", ["wgan-gp", "cramer", "energy-score"])
def test_every_objective_trains_tracks(track_recipe, tmp_path, objective):
    run = train(track_recipe(objective=objective, pretrain=10), tmp_path / "run", progress=False)
    log = log_lines(run)
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
        d["distance"] for d in log_lines(train(settings, tmp_path / "run", progress=False)) if "distance" in d
    ]
    assert distances[-1] < 0.5 * distances[0]


def test_selected_generator_has_the_distance_that_the_log_says(recipe, tmp_path):
    settings = recipe()
    run = train(settings, tmp_path / "run", progress=False)
    generator, _, progress = load_generator(run)
    events = training_events(settings.data, seed=settings.training.seed)[1]
    distance = ValidationDistance(TensorEvents.of(events), generator, kind=config.SHOWERS)
    assert distance(generator) == pytest.approx(progress.best_distance, rel=1e-4)


@pytest.mark.slow
def test_learns_what_statistics_cannot_know(recipe, tmp_path):
    settings = recipe(steps=500, validate_every=50, lr_generator=1e-3, lr_critic=1e-3, ema=0.98)
    run = train(settings, tmp_path / "run", progress=False)
    distances = [line["distance"] for line in log_lines(run) if "distance" in line]
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
    assert all(np.isfinite(line["critic_loss"]) for line in log_lines(run)[1:])


def test_bf16_and_tensorboard_and_clipping(recipe, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    run = train(recipe(precision="bf16", tensorboard=True, grad_clip=1.0), tmp_path / "run", progress=False)
    assert list((run / "tensorboard").glob("events.out.tfevents*"))
    assert len(log_lines(run)) == 7


def test_max_minutes_stops_early_with_a_model(plain_tracks, tmp_path):
    run = train(plain_tracks(steps=100_000, max_minutes=0.02), tmp_path / "run", progress=False)
    assert 0 < saved_progress(run).step < 100_000
    assert (run / "model.onnx").exists()


# -- stopping and going on


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_is_saved_exported_and_resumed(plain_tracks, tmp_path, monkeypatch, number):
    straight = train(plain_tracks(), tmp_path / "straight", progress=False)

    def step_and_signal(state, batch, objective, config, step=loop.generator_step):
        if state.step == 13:
            os.kill(os.getpid(), number)
        return step(state, batch, objective, config)

    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "generator_step", step_and_signal)
        message = r"stopped at step 14 by request; --resume goes on from here"
        with pytest.raises(Interrupted, match=message) as stopped:
            train(plain_tracks(), tmp_path / "stopped", progress=False)
    assert signal.getsignal(number) is handler
    assert isinstance(stopped.value, KeyboardInterrupt)
    run = stopped.value.run
    assert run == tmp_path / "stopped"
    assert stopped.value.step == saved_progress(run).step == 14
    assert all(passed for _, passed, _ in Generator(run / "model.onnx").check())
    train(plain_tracks(), run, resume=True, progress=False)
    assert differing_tensors(straight, run) == []


@pytest.mark.parametrize("step", [0, 10])
def test_a_request_to_stop_does_not_wait_for_the_validation(plain_tracks, tmp_path, monkeypatch, step):
    straight = train(plain_tracks(steps=20), tmp_path / "straight", progress=False)

    def distance_and_signal(self, generator, *, stopped, distance=ValidationDistance.__call__):
        if (tmp_path / "stopped" / "metrics.jsonl").read_text().count("distance") == step // 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return distance(self, generator, stopped=stopped)

    with monkeypatch.context() as patch:
        patch.setattr(ValidationDistance, "__call__", distance_and_signal)
        with pytest.raises(Interrupted, match=f"stopped at step {step} by request"):
            train(plain_tracks(steps=20), tmp_path / "stopped", progress=False)
    run = tmp_path / "stopped"
    assert all(line["step"] < step for line in log_lines(run)), "the line is written with its distance"
    assert (saved_progress(run).step, saved_progress(run).unvalidated is None) == (step, False)
    assert Generator(run / "model.onnx").metadata.metrics.keys() == (
        {"validation_distance"} if step else set()
    )
    train(plain_tracks(steps=20), run, resume=True, progress=False)
    assert differing_tensors(straight, run) == []
    timed = {"time", "samples_per_second"}
    lines = [[{k: v for k, v in x.items() if k not in timed} for x in log_lines(r)] for r in (straight, run)]
    assert lines[0] == lines[1]


def test_a_second_signal_stops_at_once():
    with stop_signals() as received:
        os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_an_interrupt_of_the_fit_leaves_nothing_behind(recipe, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("hepgan.models.copula.factor_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


# -- bad input


def test_refused_input_leaves_no_run_behind(plain_tracks, tmp_path):
    with pytest.raises(
        ValueError, match=r"training.batch_size: expected at most.*960, got 5000; make it smaller"
    ):
        train(plain_tracks(batch_size=5000), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    train(plain_tracks(), tmp_path / "run", progress=False)


def test_wrong_units_are_noticed(recipe, tmp_path, caplog):
    settings = recipe().model_dump(mode="json", exclude_none=True)
    settings["data"]["conditions"][0]["unit"] = "MeV"
    train(config.parse(settings), tmp_path / "run", progress=False)
    assert "times the incident energy; check the units of the cells and of 'incident_energy'" in caplog.text


def test_diverging_losses_stop_with_advice_and_keep_the_checkpoint(plain_tracks, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(TrainingDiverged, match=r"in turn 1 of the critic in step \d+.*lower lr_critic"):
        train(plain_tracks(lr_critic=1e30), run, progress=False)
    assert all(torch.isfinite(value).all() for value in saved_tensors(run).values())
    assert all(np.isfinite(value) for line in log_lines(run) for value in line.values())
    assert export_run(run, tmp_path / "model.onnx").exists()


def test_nothing_that_is_not_finite_is_saved_by_a_request_to_stop(plain_tracks, tmp_path, monkeypatch):
    def broken_step(state, batch, objective, config, step=loop.generator_step):
        losses = step(state, batch, objective, config)
        if state.step == 12:
            next(state.generator.parameters()).data[0] = torch.nan
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    run = tmp_path / "run"
    monkeypatch.setattr(loop, "generator_step", broken_step)
    with pytest.raises(TrainingDiverged, match=r"norm of the weights nan in the generator's turn in step 13"):
        train(plain_tracks(), run, progress=False)
    assert saved_progress(run).step == 10
    assert all(torch.isfinite(value).all() for value in saved_tensors(run).values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_cuda_is_asked_for_where_there_is_none(recipe, tmp_path):
    with pytest.raises(ValueError, match=r"training.device: expected a machine with CUDA"):
        train(recipe(device="cuda"), tmp_path / "run", progress=False)
