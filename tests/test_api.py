"""The Python API: lazy, frozen, and every example in its docstrings runs."""

import doctest
import inspect
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import uproot

import hepgan
from hepgan import errors, workflow
from hepgan.report import writing

ROOT = Path(__file__).parents[1]
SHOWERS = ROOT / "tests" / "versions" / "v0_1"

SIGNATURES = {
    "train": "(config, *, out=None, resume=False, settings=(), workers=1, progress=True)",
    "evaluate": "(model, *, data=None, out=None, settings=(), seed=None, weights=None, progress=True)",
    "compare": "(*, sample, reference, config, out='comparison', settings=(), weights=None, progress=True)",
    "export": "(run, out, *, format='onnx', batch=None)",
    "load": "(model, *, threads=1)",
    "check": "(model, *, target=None, geometry=None, particle=None)",
    "generate": "(model, out, *, n=None, conditions=None, conditions_from=None, seed=1, run=0, first_event=0, "
    "batch_size=None, extrapolate=False, out_of_range='error', format='ttree', compression='zstd', workers=None, "
    "shards=None, resume=False, progress=True)",
    "prepare": "(config, out, *, workers=None, scheduler='', settings=(), progress=True)",
    "read": "(files, config, *, settings=(), progress=False)",
    "inspect": "(path, *, progress=False)",
    "reference_models": "()",
}
ERRORS = {
    "HepganError": Exception,
    "DataError": ValueError,
    "ConfigError": ValueError,
    "ModelFileError": ValueError,
    "ConditionRangeError": ValueError,
    "NotFoundError": FileNotFoundError,
    "ExportError": ValueError,
    "ReportError": ValueError,
    "TrainingDiverged": FloatingPointError,
    "Interrupted": KeyboardInterrupt,
    "WorkerFailed": RuntimeError,
}


def subprocess_output(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


def test_the_api_is_frozen():
    assert set(hepgan.__all__) == {"__version__", *SIGNATURES, *ERRORS}
    for name, expected in SIGNATURES.items():
        signature = inspect.signature(getattr(hepgan, name))
        bare = signature.replace(
            parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()],
            return_annotation=signature.empty,
        )
        assert f"{name}{bare}" == f"{name}{expected}"


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_also_a_built_in_one(name):
    error = getattr(hepgan, name)
    assert error is getattr(errors, name)
    assert issubclass(error, ERRORS[name])
    assert issubclass(error, hepgan.HepganError)
    details = {"run": Path("runs/first"), "step": 3} if name == "Interrupted" else {}
    assert str(error("a sentence", **details)) == "a sentence"


def test_import_is_quick_and_lazy():
    heavy = (
        "{'torch', 'uproot', 'awkward', 'numpy', 'onnxruntime', 'onnx', 'pydantic', 'sklearn', 'matplotlib'}"
    )
    code = (
        f"import sys; before = set(sys.modules); import hepgan; print({heavy} & (set(sys.modules) - before))"
    )
    assert subprocess_output(code) == "set()"


def test_names_that_do_not_exist_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        hepgan.trian  # noqa: B018
    assert "train" in dir(hepgan)


def test_types_ship():
    assert files("hepgan").joinpath("py.typed").is_file()


def test_program_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "hepgan", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == f"hepgan {hepgan.__version__}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as a user has it: a configuration, and ROOT files of fast and of full simulation."""
    folder = tmp_path_factory.mktemp("user")
    with uproot.open(SHOWERS / "showers.root") as file:
        events = file["showers"].arrays(library="np")
    for name, part in (("geant4", slice(300, None)), ("fast", slice(300))):
        with uproot.recreate(folder / f"{name}.root") as file:
            file["showers"] = {key: values[part] for key, values in events.items()}
    text = (SHOWERS / "showers.toml").read_text(encoding="utf-8")
    text = text.replace("tests/versions/v0_1/showers.root", "*.root")
    (folder / "my.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


ORDER = (
    *("prepare", "train", "evaluate", "compare", "export", "load", "check", "generate", "read", "inspect"),
    "reference_models",
)


def test_examples_of_the_docstrings_run(folder, monkeypatch):
    """In the order of a user's work: later ones need what earlier ones wrote. Figures are drawn in tests/report."""
    monkeypatch.setattr(writing, "draw", lambda *_, **__: [])
    assert set(ORDER) == set(SIGNATURES)
    runner = doctest.DocTestRunner()
    names = {"hepgan": hepgan}
    for name in ORDER:
        examples = doctest.DocTestParser().get_examples(inspect.getdoc(getattr(workflow, name)))
        assert examples, f"{name} has no example"
        outcome = runner.run(doctest.DocTest(examples, names, name, None, None, None), clear_globs=False)
        assert not outcome.failed, name
        names = {"hepgan": hepgan}


def test_settings_as_a_mapping_are_those_of_the_command_line(folder):
    mapping = {
        "training.steps": 7,
        "evaluation.fast": True,
        "data.tree": "showers",
        "training.betas": [0.1, 0.9],
    }
    texts = ["training.steps=7", "evaluation.fast=true", "data.tree=showers", "training.betas=[0.1, 0.9]"]
    assert workflow._configuration("my.toml", mapping) == workflow._configuration("my.toml", texts)
    config = workflow._configuration("my.toml", mapping)
    assert workflow._configuration(config, {"training.steps": 8}).training.steps == 8
    with pytest.raises(hepgan.ConfigError, match=r"unknown key 'training.stpes'; did you mean 'steps'\?"):
        workflow._configuration("my.toml", {"training.stpes": 7})


def test_a_folder_with_a_model_alone_opens(tmp_path):
    (tmp_path / "model.onnx").write_bytes((SHOWERS / "showers" / "model.onnx").read_bytes())
    assert len(hepgan.load(tmp_path).generate(incident_energy=10)) == 1


def test_settings_do_not_move_events_between_training_and_evaluation(folder, monkeypatch):
    """Copies of training events are looked for among those that trained, and never among the held-out ones."""
    asked = {}

    def evaluated(generator, reference, *, training, **_):
        asked.update(reference=reference, training=training)

    monkeypatch.setattr(writing, "evaluate_events", evaluated)
    hepgan.evaluate("runs/first", settings={"training.seed": 99, "data.max_events": 100}, progress=False)
    reference, training = ({row.tobytes() for row in asked[key].cells} for key in ("reference", "training"))
    assert len(training) > 300
    assert not reference & training


def test_files_of_version_0_1_open(tmp_path, monkeypatch):
    """Models run, run folders of tracks export the same numbers again."""
    monkeypatch.chdir(ROOT)
    run = SHOWERS / "tracks"
    old, new = hepgan.load(run / "model.onnx"), hepgan.load(hepgan.export(run, tmp_path / "again.onnx"))
    assert all(check.passed for check in hepgan.check(run / "model.onnx"))
    before, after = (json.loads(hepgan_entry(path))["reference"] for path in (old.path, new.path))
    assert after.pop("tolerance", 1e-5) < 1e-4  # files of 0.1 do not say it
    outputs = [values.pop("outputs") for values in (before, after)]
    assert before == after
    assert outputs[0].keys() == outputs[1].keys()
    for output, values in outputs[0].items():  # the graph may have other operations, with other roundings
        np.testing.assert_allclose(outputs[1][output], values, rtol=1e-5, atol=1e-6)


def test_showers_of_version_0_1_run_and_are_not_exported_again(tmp_path, monkeypatch):
    """Their start had other tables: the file in the run folder is used as it is."""
    monkeypatch.chdir(ROOT)
    run = SHOWERS / "showers"
    assert all(check.passed for check in hepgan.check(run / "model.onnx"))
    with pytest.raises(hepgan.ModelFileError, match="export it with the version that trained it"):
        hepgan.export(run, tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def hepgan_entry(path: Path) -> str:
    """The description inside an exported file."""
    import onnx

    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}["hepgan"]


def test_compare_says_that_samples_share_events(tiny_file, tiny_data, monkeypatch, caplog):
    from hepgan.config import parse
    from hepgan.report import writing

    monkeypatch.setattr(writing, "compare_events", lambda *args, **options: None)
    first, second = tiny_file(name="a.root"), tiny_file(name="b.root")
    recipe = parse({"data": tiny_data([first]).model_dump(mode="json", exclude_none=True)})
    hepgan.compare(sample=first, reference=second, config=recipe, progress=False)
    assert (
        "50 of 50 events of the sample are equal to one of the reference: every number will be" in caplog.text
    )
