"""Classifiers that select the checkpoint."""

import os
import signal

import numpy as np
import pytest
import torch
from run_files import differing_tensors, log_lines, saved_progress

from hepgan import config
from hepgan.config import KINDS, SHOWERS, TRACKS
from hepgan.data.tensors import TensorEvents
from hepgan.errors import ConfigError, Interrupted
from hepgan.inference.generator import Generator
from hepgan.models import CaloGenerator, DllGenerator
from hepgan.training.classifiers import INPUTS, ValidationClassifiers
from hepgan.training.loop import train
from hepgan.training.run_folder import selected

AREAS = {"auc_boosting", "auc_network", "auc"}
TIMED = {"time", "samples_per_second"}


class Made:
    """A fitted generator whose events are made by a function of conditions and latent numbers instead."""

    def __init__(self, generator, function):
        self.generator, self.function = generator, function

    def __getattr__(self, name):
        return getattr(self.generator, name)

    def __call__(self, condition, latent):
        return self.function(condition, latent)


def showers(condition, latent, *, shared=0.8):
    """Showers whose cells have the same spectra for any share of a common fluctuation."""
    common, own = latent[:, :1], latent[:, 1:11]
    logs = 0.3 * (shared * common + (1 - shared**2) ** 0.5 * own)
    return condition * 100 * torch.exp(logs), condition * torch.exp(0.3 * latent[:, :2])


def events(function, condition, *, n_latent, seed):
    latent = torch.randn(len(condition), n_latent, generator=torch.Generator().manual_seed(seed))
    return TensorEvents(condition, function(condition, latent), torch.ones(len(condition)))


@pytest.fixture
def shower_classifiers(tiny_data):
    data = tiny_data(["x.root"])
    generator = CaloGenerator(data, config.CaloModelConfig(latent=2))
    condition = torch.exp(3 * torch.rand(3000, 1, generator=torch.Generator().manual_seed(1)))
    generator.condition_scaling.fit(condition, torch.ones(3000))
    made = Made(generator, showers)
    training, validation = (
        events(showers, condition[part], n_latent=generator.n_latent, seed=seed)
        for part, seed in ((slice(2000), 10), (slice(2000, 3000), 11))
    )
    return made, ValidationClassifiers(training, validation, made, kind=SHOWERS)


def test_they_guess_where_showers_are_right_and_see_what_no_spectrum_shows(shower_classifiers):
    made, classifiers = shower_classifiers
    right = classifiers(made)
    assert right.keys() == {"auc_boosting", "auc_network_shapes", "auc_network_cells", "auc"}
    four_sigma = 4 * (1 / 6 / 1000) ** 0.5
    assert all(abs(area - 0.5) < four_sigma for area in right.values())
    assert right["auc"] == pytest.approx(np.mean([area for name, area in right.items() if name != "auc"]))
    independent = classifiers(Made(made.generator, lambda c, z: showers(c, z, shared=0.0)))
    assert all(area > 0.7 for area in independent.values())
    assert classifiers(made) == right, "the same numbers at every validation"


def test_infinite_showers_are_never_selected_and_a_signal_ends_the_classifiers(shower_classifiers):
    made, classifiers = shower_classifiers

    def broken(condition, latent):
        cells, overflow = showers(condition, latent)
        return torch.where(condition > 19, torch.nan, cells), overflow

    assert set(classifiers(Made(made.generator, broken)).values()) == {np.inf}
    assert classifiers(made, stopped=[signal.SIGTERM]) is None


def test_a_ridge_of_tracks_that_is_too_wide_is_seen():
    data = config.parse(
        {
            "data": {
                "files": ["x.root"],
                "conditions": [{"name": "p"}],
                "targets": [{"name": "a", "atoms": [-999.0]}, {"name": "b"}],
            },
            "model": {"latent": 3, "width": 4, "depth": 0, "hinges": 4},
        }
    )
    generator = DllGenerator(data.data, data.model)

    def tracks(condition, latent, *, width=0.1, missing=0.2):
        a = condition[:, 0] * latent[:, 0]
        absent = torch.special.ndtr(latent[:, 2]) < missing
        b = a + width * condition[:, 0] * latent[:, 1]
        return (torch.stack([torch.where(absent, -999.0, a), b], 1),)

    condition = torch.exp(3 * torch.rand(3000, 1, generator=torch.Generator().manual_seed(1)))
    training, validation = (
        events(tracks, condition[part], n_latent=3, seed=seed)
        for part, seed in ((slice(2000), 10), (slice(2000, 3000), 11))
    )
    generator.patterns.fit(training.outputs[0], training.weights)
    generator.fit(training, rng=torch.Generator().manual_seed(0))
    classifiers = ValidationClassifiers(training, validation, generator, kind=TRACKS)

    def areas(**changes):
        return classifiers(Made(generator, lambda c, z: tracks(c, z, **changes)))

    right = areas()
    assert right.keys() == AREAS
    assert all(abs(area - 0.5) < 0.055 for area in right.values())
    assert areas(width=0.3)["auc"] > 0.65
    assert areas(missing=0.6)["auc"] > 0.65


def numbers(run):
    """Lines of the log without times."""
    return [{k: v for k, v in line.items() if k not in TIMED} for line in log_lines(run)]


def test_the_smallest_area_selects_and_a_stop_in_the_middle_changes_nothing(
    plain_tracks, tmp_path, monkeypatch
):
    settings = plain_tracks(steps=20, select="classifier", lr_generator=1e-2, ema=0.5)
    straight = train(settings, tmp_path / "straight", progress=False)
    measured = [line for line in log_lines(straight) if "distance" in line]
    assert [line["step"] for line in measured] == [0, 10, 20]
    assert all(line.keys() > AREAS for line in measured)
    best, progress = min(measured, key=lambda line: line["auc"]), saved_progress(straight)
    assert (progress.best_step, progress.best_auc) == (best["step"], best["auc"])
    assert progress.best_distance == best["distance"]
    assert Generator(straight / "model.onnx").metadata.metrics["validation_auc"][0] == pytest.approx(
        best["auc"]
    )

    assert selected(straight) == (
        f"step {best['step']} of 20, mean AUC of classifiers {best['auc']:.3f}, validation distance "
        f"{best['distance']:.4f}"
    )

    run = tmp_path / "stopped"

    def area_and_signal(self, classifier, *arguments, area=ValidationClassifiers._area):
        if classifier == "network" and (run / "metrics.jsonl").read_text().count("auc_network") == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return area(self, classifier, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ValidationClassifiers, "_area", area_and_signal)
        with pytest.raises(Interrupted, match="stopped at step 10 by request"):
            train(settings, run, progress=False)
    assert all(line["step"] < 10 for line in log_lines(run))
    train(settings, run, resume=True, progress=False)
    assert differing_tensors(straight, run) == []
    assert numbers(straight) == numbers(run)


def test_showers_with_weights_of_both_signs_are_judged(recipe, tmp_path):
    run = train(recipe(steps=1, weight="w", select="classifier"), tmp_path / "run", progress=False)
    first, last = (line for line in log_lines(run) if "distance" in line)
    names = {"auc_boosting", "auc_network_shapes", "auc_network_cells", "auc"}
    # the start knows no lean: layer 0 gives it away
    assert all(0.6 < line[name] < 1 for line in (first, last) for name in names)


def test_two_workers_share_the_classifiers_and_find_the_same(plain_tracks, tmp_path):
    settings = plain_tracks(steps=1, select="classifier")
    logs = [numbers(train(settings, tmp_path / str(n), workers=n, progress=False)) for n in (1, 2)]
    first, second = ({name: lines[0][name] for name in (*AREAS, "distance")} for lines in logs)
    assert first == pytest.approx(second, abs=1e-6)


def test_too_few_events_to_judge_are_refused(plain_tracks, tmp_path):
    values = plain_tracks(select="classifier").model_dump(mode="json", exclude_none=True)
    values["data"]["validation"] = 0.05
    with pytest.raises(
        ConfigError, match=r"training.select: expected at least 100 validation events .*got 60; raise"
    ):
        train(config.parse(values), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_every_kind_of_data_has_inputs():
    assert INPUTS.keys() == KINDS.keys()
