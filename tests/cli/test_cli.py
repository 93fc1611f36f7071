"""The command line: help with examples, exit codes, messages, and the demo's whole way from file to file."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer.main
import uproot
from typer.testing import CliRunner

import hepgan
from hepgan.cli import app, main
from hepgan.errors import WorkerFailed
from hepgan.inference.checking import Check

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "hepgan" / "configs" / "demo.toml"
COMMANDS = typer.main.get_command(app).commands
SMALL = (  # seconds instead of minutes; quality is tested elsewhere
    "data.max_events=2000",
    "training.steps=4",
    "training.batch_size=16",
    "training.validate_every=2",
    "training.log_every=2",
    "training.threads=1",
    "model.width=16",
    "model.critic_width=16",
    "evaluation.folds=2",
    "evaluation.energy_bins=3",
    "evaluation.max_events=300",
    "evaluation.fast=true",
)


@pytest.fixture(autouse=True, scope="module")
def _in_the_repository():
    """The recipes name their files from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


def run(*words, **kwargs):
    return CliRunner().invoke(app, [str(word) for word in words], **kwargs)


def settings(*extra):
    return [word for setting in (*SMALL, *extra) for word in ("--set", setting)]


def refused(*words):
    """Run a command that must refuse its input, and return what it says."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return " ".join(
        result.stderr.replace("│", " ").split()
    )  # without the box that a wrong option is put into


@contextmanager
def without_figures():
    """Write pages without figures, which take nearly all of the time; the complete evaluation draws them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hepgan.report.writing.draw", lambda *_, **__: [])
        yield


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    """The run folder of a demo that is too short to learn anything, and what the demo printed."""
    folder = tmp_path_factory.mktemp("cli") / "demo-run"
    with without_figures():
        result = run("demo", "--out", folder, *settings(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def test_models_are_listed_and_found():
    listed = run("models", "list")
    assert listed.exit_code == 0
    entries = json.loads(run("models", "list", "--format", "json").stdout)
    assert {"eplus", "gamma", "eplus_angle", "rich_k"} < {entry["name"] for entry in entries}
    for entry in entries:
        path = run("models", "path", entry["name"]).stdout
        assert path == entry["path"] + "\n"
        assert Path(entry["path"]).stat().st_size == entry["bytes"]
        assert entry["conditions"][0]["range"][0] > 0
        assert 0.4 < entry["auc"]["floor"]["value"] < 0.6
        line = next(line for line in listed.stdout.splitlines() if f" {entry['name']} " in line)
        assert entry["what"] in line
        assert f"{entry['conditions'][0]['name']} {entry['conditions'][0]['range'][0]:g} to" in line
    assert run("models", "card", "gamma").stdout.startswith("# gamma: photons")
    assert json.loads(run("models", "card", "gamma", "--format", "json").stdout)["name"] == "gamma"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["path"], "models path: expected the NAME of a model, got none; hepgan models list has them"),
        (["card", "gama"], "reference model 'gama': there is none of this name; did you mean 'gamma'"),
        (["list", "gamma"], "models list: expected no NAME, got 'gamma'"),
        (["show"], "'show' is not one of 'list', 'path', 'card'"),
    ],
)
def test_models_refuses(words, message):
    assert message in refused("models", *words)


def test_a_reference_model_generates_by_its_name(tmp_path):
    out = tmp_path / "fast.root"
    result = run("generate", "eplus", "-n", 20, "--condition", "incident_energy=10", "--out", out)
    assert result.exit_code == 0, result.output
    with uproot.open(out) as file:
        cells = file["showers"]["layer_1"].array(library="np")
    assert cells.shape == (20, 12, 12)
    assert run("check", "rich_k").exit_code == 0
    assert "did you mean 'eplus'" in refused("check", "e_plus")


@without_figures()
def test_a_reference_model_is_evaluated_beside_the_caller(tmp_path, monkeypatch):
    assert "an exported model does not hold the split" in refused("evaluate", "eplus")
    monkeypatch.chdir(tmp_path)
    result = run("evaluate", "eplus", "--data", ROOT / "data" / "eplus_test.root", *settings())
    assert result.exit_code == 0, result.output
    assert (tmp_path / "eplus-report" / "metrics.json").is_file()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"Example: hepgan {name}" in result.stdout


def test_commands_are_those_of_the_contract():
    assert list(COMMANDS) == [
        *("demo", "inspect", "convert", "prepare", "train", "tune", "evaluate", "compare", "export", "check"),
        *("generate", "models", "toy", "benchmark"),
    ]


def test_version():
    assert run("--version").stdout == f"hepgan {hepgan.__version__}\n"


def test_help_needs_no_heavy_imports():
    code = "import sys, hepgan.cli; print({'torch', 'uproot', 'onnxruntime', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_missing_file():
    assert "configuration file not found: missing.toml" in refused("train", "missing.toml")


def test_unknown_key_names_the_nearest(tmp_path):
    recipe = tmp_path / "wrong.toml"
    recipe.write_text(DEMO.read_text().replace("validate_every", "validate_evry"))
    message = refused("train", recipe, "--out", tmp_path / "run")
    assert "unknown key 'training.validate_evry'; did you mean 'validate_every'?" in message
    assert not (tmp_path / "run").exists()


def test_setting_without_value(tmp_path):
    message = refused("train", DEMO, "--out", tmp_path / "run", "--set", "training.steps")
    assert "--set 'training.steps': expected section.key=value" in message


def test_setting_of_the_wrong_kind(tmp_path):
    message = refused("train", DEMO, "--out", tmp_path / "run", "--set", "training.steps=many")
    assert "training.steps: input should be a valid integer" in message
    assert "got 'many'" in message


def test_unknown_device(tmp_path):
    message = refused("train", DEMO, "--out", tmp_path / "run", "--device", "tpu")
    assert "'tpu' is not one of 'auto', 'cpu', 'cuda'" in message


def test_missing_data_leaves_no_run_folder(tmp_path):
    message = refused("train", DEMO, "--out", tmp_path / "run", "--set", f"data.files=['{tmp_path}/e.root']")
    assert "e.root" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["check", "evaluate", "generate"])
def test_missing_model(command, tmp_path):
    options = ["--out", tmp_path / "out.root", "-n", "1"] if command == "generate" else []
    assert "missing.onnx" in refused(command, tmp_path / "missing.onnx", *options)


def test_folder_that_is_no_run(tmp_path):
    assert "expected a run folder with config.toml" in refused("evaluate", tmp_path)


def test_export_needs_a_run_folder(tmp_path):
    message = refused("export", tmp_path, "--out", tmp_path / "m.onnx")
    assert "expected a run folder with config.toml, got none; name the --out of hepgan train" in message


def test_a_condition_given_twice(tmp_path):
    twice = ["--condition", "incident_energy=10", "--condition", "incident_energy=20"]
    message = refused("generate", tmp_path / "m.onnx", "--out", tmp_path / "g.root", "-n", "1", *twice)
    assert "--condition: expected each name once" in message
    assert "give a range as NAME=LOW:HIGH" in message


@pytest.mark.parametrize("format_", ["lwtnn", "cpp"])
def test_a_fixed_batch_is_for_onnx_only(format_, tmp_path):
    message = refused("export", tmp_path, "--out", tmp_path / "m", "--format", format_, "--batch", "2")
    assert f"--batch: {format_} computes one row at a time; leave it out" in message


def test_unknown_export_format(tmp_path):
    message = refused("export", tmp_path, "--out", tmp_path / "m.onnx", "--format", "keras")
    assert "'keras' is not one of 'onnx', 'lwtnn', 'cpp'" in message


@pytest.mark.parametrize(("words", "environment"), [(["--debug"], {}), ([], {"HEPGAN_DEBUG": "1"})])
def test_debug_shows_the_traceback(words, environment):
    result = run(*words, "train", "missing.toml", env=environment)
    assert isinstance(result.exception, FileNotFoundError)


@pytest.mark.parametrize("error", [FloatingPointError, WorkerFailed])
def test_losses_that_are_not_finite_are_a_failure_and_not_bad_input(monkeypatch, tmp_path, error):
    def train(*_, **__):
        raise error("training: losses are not finite at step 7")

    monkeypatch.setattr("hepgan.training.loop.train", train)
    result = run("train", DEMO, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert result.stderr == "hepgan: training: losses are not finite at step 7\n"


def test_entry_point_exits_with_the_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["hepgan", "train", "missing.toml"])
    with pytest.raises(SystemExit, match="2"):
        main()
    message = "hepgan: configuration file not found: missing.toml: expected a TOML file, got no such file; "
    assert capsys.readouterr().err == message + "hepgan inspect FILE.root --config writes one\n"


def test_demo_outside_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr("hepgan.cli.demo.PACKAGE", tmp_path / "hepgan")
    message = refused("demo", "--out", tmp_path / "run")
    assert "demo sample not found" in message
    assert "run the demo from a checkout" in message


def test_inspect_and_its_configuration(tmp_path):
    sample = ROOT / "data" / "eplus.root"
    assert "incident_energy" in run("inspect", sample).stdout
    recipe = tmp_path / "start.toml"
    recipe.write_text(run("inspect", sample, "--config").stdout)
    from hepgan.config import load

    assert load(recipe).data.calorimeter.calorimeter().shapes == [(3, 96), (12, 12), (12, 6)]
    result = run("train", recipe, "--out", tmp_path / "run", *settings())
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "model.onnx").is_file()


def test_prepare_says_what_is_next_and_refuses_another_configuration(tmp_path):
    words = ("prepare", DEMO, "--out", tmp_path / "cache", "--workers", 1, "--set", "data.max_events=300")
    for _ in range(2):  # the second time it is there already
        result = run(*words)
        assert result.exit_code == 0, result.output
        last = f"Next: hepgan train {DEMO} --set data.cache={tmp_path / 'cache'}"
        assert result.stdout == f"{tmp_path / 'cache'}\n{last}\n"
    message = refused(*words[:-1], "data.max_events=299")
    assert "was made with another configuration (data.max_events: was 300, is 299)" in message


def test_demo_leaves_everything(demo_run):
    folder, printed = demo_run
    for name in ("config.toml", "metrics.jsonl", "model.onnx", "report/report.html", "report/metrics.json"):
        assert (folder / name).is_file(), name
    assert "Response bias" in printed
    assert str(folder / "report" / "report.html") in printed
    with uproot.open(folder / "showers.root") as file:
        tree = file["showers"]
        layer, energy = (tree[name].array(library="np") for name in ("layer_0", "incident_energy"))
    assert layer.shape == (1000, 3, 96)
    assert layer.min() >= 0
    assert (energy >= 1).all()
    assert (energy <= 65).all()


def test_demo_again_continues_and_another_configuration_is_refused(demo_run):
    folder, _ = demo_run
    message = refused("demo", "--out", folder, *settings("training.steps=5"))
    assert "training.steps: was 4, is 5" in message


def test_train_refuses_an_existing_run(demo_run):
    folder, _ = demo_run
    assert "exists already" in refused("train", DEMO, "--out", folder)


def test_check_passes(demo_run):
    folder, _ = demo_run
    result = run("check", folder / "model.onnx")
    assert result.exit_code == 0, result.output
    assert "incident_energy [GeV], trained on" in result.stdout
    assert "layer_0 [3, 96] [MeV]" in result.stdout
    assert "FAILED" not in result.stdout


def test_check_against_a_geometry(demo_run, tmp_path):
    folder, _ = demo_run
    calo = tmp_path / "calo.toml"
    result = run("convert", folder, calo)
    assert "3 layers, 504 cells" in result.stdout
    for expected in (calo, DEMO, folder):
        result = run("check", folder, "--geometry", expected)
        assert result.exit_code == 0, result.output
        assert re.search("ok +geometry +3 layers, 504 cells: as expected", result.stdout)
    calo.write_text(calo.read_text().replace("z = [197.0, 240.0]", "z = [197.0, 250.0]"))
    result = run("check", folder, "--geometry", calo)
    assert result.exit_code == 1
    assert re.search(r"FAILED +geometry +layer 2 \(layer_2\): z edge 1 at 240, not 250", result.stdout)
    assert "take the model of these cells" in result.stderr
    assert "geometry: expected a TOML file" in refused("check", folder, "--geometry", "calo.gdml")
    kept = calo.read_text()
    assert "not found" in refused("convert", tmp_path / "none.xml", calo)
    assert calo.read_text() == kept


def test_failed_check_gives_exit_code_one(demo_run, monkeypatch):
    folder, _ = demo_run
    results = [Check("weights", True, "digest agrees"), Check("reference", False, "off by 3")]
    monkeypatch.setattr("hepgan.inference.generator.Generator.check", lambda self, **_: results)
    result = run("check", folder)
    assert result.exit_code == 1
    assert re.search("ok +weights +digest agrees", result.stdout)
    assert re.search("FAILED +reference +off by 3", result.stdout)
    assert "a check failed" in result.stderr


@without_figures()
def test_export_and_evaluate_the_file(demo_run, tmp_path):
    folder, _ = demo_run
    model = tmp_path / "one.onnx"
    assert run("export", folder, "--out", model).exit_code == 0
    assert "missing.root" in refused("evaluate", model, "--data", ROOT / "data" / "missing.root")
    result = run(
        *("evaluate", model, "--data", ROOT / "data" / "eplus_test.root", "--out", tmp_path / "report"),
        *("--seed", "3", *settings()),
    )
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["samples"]["reference"]["events"] == 300
    assert metrics["provenance"]["evaluation"]["seed"] == 3


def test_exported_model_does_not_know_the_split(demo_run, tmp_path):
    folder, _ = demo_run
    model = onnx.load(folder / "model.onnx")
    metadata = json.loads(model.metadata_props[0].value)
    metadata["data"] |= {"test_files": [], "test": 0.2}
    onnx.helper.set_model_props(model, {"hepgan": json.dumps(metadata)})
    onnx.save(model, tmp_path / "split.onnx")
    assert "name events with --data FILE.root" in refused("evaluate", tmp_path / "split.onnx")


def test_held_out_events_do_not_depend_on_the_seed_of_evaluate(demo_run, monkeypatch):
    folder, _ = demo_run
    seeds = []

    def events(data, *, seed):
        seeds.append(seed)
        raise ValueError("seen enough")

    monkeypatch.setattr("hepgan.data.held_out.test_events", events)
    refused("evaluate", folder, "--seed", "77", "--set", "training.seed=78")
    assert seeds == [1]


@without_figures()
def test_compare_names_both_files_and_a_limit_that_is_exceeded_gives_exit_code_one(demo_run, tmp_path):
    folder, _ = demo_run
    words = ("compare", folder / "showers.root", ROOT / "data" / "eplus_test.root", "--config", DEMO)
    words += (
        "--out",
        tmp_path / "both",
        "--format",
        "json",
        *settings(),
        "--set",
        "evaluation.max_events=500",
    )
    result = run(*words, "--fail-above", "classifier_auc=0.01", "--fail-above", "response_bias_worst=inf")
    assert result.exit_code == 1
    assert "hepgan: classifier_auc: expected at most 0.01, got 0." in result.stderr
    assert "response_bias_worst" not in result.stderr
    metrics = json.loads(result.stdout)
    assert metrics == json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert set(metrics["provenance"]["files"]) == {"sample", "reference"}
    names = {role: metrics["samples"][role]["name"] for role in ("sample", "reference")}
    assert names == {"sample": "showers.root", "reference": "eplus_test.root"}
    unknown = run(*words, "--fail-above", "clasifier_auc=1")
    assert unknown.exit_code == 2
    assert "did you mean 'classifier_auc'" in unknown.stderr
    assert "expected METRIC=NUMBER" in refused(*words, "--fail-above", "classifier_auc")
    assert "leave out --fast" in refused(*words, "--weights", tmp_path / "weights.root")


@pytest.mark.slow
def test_a_complete_evaluation_of_a_run(demo_run, tmp_path):
    """Copies of training events, and weights that correct the sample."""
    folder, _ = demo_run
    target = tmp_path / "weights.root"
    words = ("--out", tmp_path / "report", "--weights", target, "--set", "evaluation.fast=false")
    result = run("evaluate", folder, *words)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    keys = {row["key"] for row in metrics["rows"]}
    assert {"emd", "critic", "copies", "duplicates", "similarity_worst", "auc_worst_incident_energy"} <= keys
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/svg+xml") > 15
    assert metrics["diversity"]["copies"]["p_value"] > 1e-4  # a run of four steps remembers nothing
    with uproot.open(target) as file:
        weights = file["weights"].arrays(library="np")
    assert set(weights) == {"incident_energy", "weight_before", "weight"}
    assert len(weights["weight"]) == metrics["samples"]["sample"]["events"]
    assert weights["weight"].sum() == pytest.approx(weights["weight_before"].sum())
    assert weights["weight"].min() >= 0
    assert metrics["classifier"]["reweighting"]["auc"][0] < metrics["classifier"]["auc"][0]


def test_generate_is_seeded_and_keeps_to_the_condition(demo_run, tmp_path):
    folder, _ = demo_run
    layers = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        out = tmp_path / f"{name}.root"
        result = run(
            "generate", folder, "-n", 20, "--condition", "incident_energy=10", "--seed", seed, "--out", out
        )
        assert result.exit_code == 0, result.output
        with uproot.open(out) as file:
            np.testing.assert_allclose(file["showers"]["incident_energy"].array(library="np"), 10)
            layers.append(file["showers"]["layer_1"].array(library="np"))
    np.testing.assert_array_equal(layers[0], layers[1])
    assert (layers[0] != layers[2]).any()


def test_generate_outside_the_trained_range(demo_run, tmp_path, caplog):
    folder, _ = demo_run
    words = [
        "generate",
        folder,
        "-n",
        5,
        "--condition",
        "incident_energy=500",
        "--out",
        tmp_path / "far.root",
    ]
    message = refused(*words)
    assert "incident_energy" in message
    assert "extrapolate" in message
    assert not (tmp_path / "far.root").exists()
    assert run(*words, "--extrapolate").exit_code == 0
    assert run(*words, "--out-of-range", "clamp").exit_code == 0
    assert "5 of 5 showers clamped to the nearest end" in caplog.text


@pytest.mark.slow
def test_tracks_from_the_toy_to_every_file(tmp_path):
    """Toy, inspect, train, evaluate, export, check, generate: the whole line for observables."""
    sample, recipe, model = tmp_path / "tracks.root", tmp_path / "my.toml", tmp_path / "dll.onnx"
    run("toy", "rich", "-n", 3000, "--species", "K", "--seed", 7, "--out", sample)
    recipe.write_text(run("inspect", sample, "--config").stdout)
    small = [
        "training.steps=20",
        "training.batch_size=64",
        "model.width=8",
        "model.depth=1",
        "model.hinges=6",
    ]
    folder = tmp_path / "run"
    run("train", recipe, "--out", folder, *(word for setting in small for word in ("--set", setting)))
    result = run("evaluate", folder, "--fast")
    assert "Efficiency difference" in result.stdout
    assert (folder / "report" / "report.html").stat().st_size > 100_000
    run("export", folder, "--out", model)
    assert "FAILED" not in run("check", model).stdout
    run("export", folder, "--out", tmp_path / "dll.json", "--format", "lwtnn")
    assert json.loads((tmp_path / "dll.json").read_text())["outputs"]["targets"]["labels"][0] == "RichDLLe"
    run("export", folder, "--out", tmp_path / "dll.hpp", "--format", "cpp")
    assert "namespace hepgan::dll {" in (tmp_path / "dll.hpp").read_text()
    assert (tmp_path / "dll.bin").read_bytes().startswith(b"hepganW1")
    run("generate", model, "--conditions-from", sample, "--extrapolate", "--out", tmp_path / "fast.root")
    with uproot.open(tmp_path / "fast.root") as file:
        tree = file["tracks"]
        assert tree.num_entries == 3000
        assert {"Brunel_P", "Brunel_ETA", "nTracks_Brunel", "RichDLLe", "RichDLLbt"} <= set(tree.keys())


def test_benchmark_prints_and_saves_its_table(tmp_path):
    words = ["benchmark", "objectives", "--data", "ring", "--rows", "energy-score", "--seeds", 1]
    small = [word for s in ("model.width=8", "training.batch_size=16") for word in ("--set", s)]
    result = run(*words, "--steps", 2, "--out", tmp_path, *small)
    assert result.exit_code == 0, result.output
    assert "energy-score" in result.stdout
    assert "energy-score" in (tmp_path / "results.md").read_text()
    assert set(json.loads((tmp_path / "results.json").read_text())["runs"]["ring"]) == {
        "data",
        "energy-score",
    }
    assert "expected results of 3 steps, got some of 2" in refused(*words, "--steps", 3, "--out", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "wgan"], "--rows 'wgan': there is no such row"),
        (["--data", "rings"], "--data 'rings': expected a ROOT file or a data set"),
        (["--rows", "energy-score+r1"], "expected none for 'energy-score', which has no critic"),
        (["--set", "data.weight=x"], "rows are compared on events of weight one"),
    ],
)
def test_benchmark_refuses_before_it_trains(words, message, tmp_path):
    assert message in refused("benchmark", "objectives", "--out", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_the_cell_of_the_readme_draws_the_model_of_the_demo(demo_run, monkeypatch):
    """Load, generate, mean image of a layer and response, in at most eight lines of documented calls."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (cell,) = re.findall(r"```python\n(import hepgan, numpy.*?)```", text, re.DOTALL)
    assert len([line for line in cell.splitlines() if line.strip()]) <= 8
    monkeypatch.chdir(demo_run[0].parent)
    names = {}
    exec(cell, names)
    (image,) = names["left"].images
    assert image.get_array().shape == (12, 12)
    assert image.get_array().max() > 0
    response = names["showers"].total_energy / names["showers"].incident_energy
    assert sum(bar.get_height() for bar in names["right"].patches) == len(response) == 5000
    assert 0.98 < response.mean() < 1  # lead included, nearly all energy is seen
    pyplot.close("all")


@pytest.mark.parametrize(("arguments", "code"), [((), 130), ((15,), 143)])
def test_an_interrupt_ends_with_a_sentence_and_its_own_code(monkeypatch, arguments, code):
    def interrupted(*_, **__):
        raise KeyboardInterrupt(*arguments)

    monkeypatch.setattr("hepgan.workflow.inspect", interrupted)
    result = run("inspect", "any.root")
    assert result.exit_code == code
    assert result.stderr == "hepgan: stopped by request; no file is left half-written\n"


def test_an_interrupt_that_a_library_makes_another_error_is_still_one(monkeypatch):
    def swallowed(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            raise RecursionError("maximum recursion depth exceeded") from None

    monkeypatch.setattr("hepgan.workflow.inspect", swallowed)
    previous = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        monkeypatch.setattr(sys, "argv", ["hepgan", "inspect", "any.root"])
        with pytest.raises(SystemExit) as stopped:
            main()
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), previous, strict=True):
            signal.signal(number, handler)
    assert stopped.value.code == 128 + signal.SIGTERM


WRONG_FILES = (
    "absent",
    "folder",
    "empty",
    "junk.root",
    "text.toml",
    "",
    "\0",
    "x" * 5000,
    "-",
    "http://127.0.0.1:1/a.root",
)
WRONG_TEXTS = (
    "",
    "=",
    "a=b",
    "nan",
    "inf",
    "-1",
    "1e400",
    "9" * 400,
    "\0",
    "[",
    ".=",
    "\u00b2",
    "__class__=1",
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory, rich):
    """A folder with files that are none of what a command expects, and a model."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "junk.root").write_bytes(b"root" + bytes(range(256)) * 8)
    (folder / "text.toml").write_text("a = [1,")
    (folder / "models").mkdir()
    (folder / "models" / "tracks.onnx").write_bytes(rich.path.read_bytes())
    return folder


def harmless(result, out):
    """Whether a command refused its input by a message of ours, and left nothing behind."""
    said = "did not expect" not in result.stderr and "Traceback" not in result.stderr
    ours = isinstance(result.exception, SystemExit) and result.exit_code == 2 and result.stderr.strip()
    return said and ours and not out.exists()


TRACK = ("Brunel_P=30000", "probe_PDG=K", "Brunel_ETA=3", "nTracks_Brunel=100")
GIVEN = [word for text in TRACK for word in ("--condition", text)]


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "FILE"),
        ("inspect", "FILE", "--config"),
        ("check", "FILE"),
        ("convert", "FILE", "OUT"),
        ("train", "FILE", "--out", "OUT"),
        ("evaluate", "FILE", "--out", "OUT"),
        ("evaluate", "models/tracks.onnx", "--data", "FILE", "--out", "OUT"),
        ("export", "FILE", "--out", "OUT"),
        ("compare", "junk.root", "junk.root", "--config", "FILE", "--out", "OUT"),
        ("generate", "FILE", "-n", "1", *GIVEN, "--out", "OUT"),
        ("generate", "models/tracks.onnx", "--conditions-from", "FILE", "--out", "OUT"),
    ],
    ids=" ".join,
)
def test_files_that_are_none_of_what_is_expected(words, odd, monkeypatch):
    monkeypatch.chdir(odd)
    for name in WRONG_FILES:
        result = run(*(name if word == "FILE" else word for word in words))
        assert harmless(result, odd / "OUT"), (name[:40], result.output, result.exception)


@pytest.mark.parametrize(
    "name", ["folder", "", "\0", "x" * 5000, "http://127.0.0.1:1/a.root", "empty/a.root"]
)
def test_places_that_cannot_be_written(name, odd, monkeypatch):
    monkeypatch.chdir(odd)
    before = sorted(path.name for path in odd.rglob("*"))
    for words in (("generate", "models/tracks.onnx", "-n", "1", *GIVEN), ("toy", "ring", "-n", "1")):
        result = run(*words, "--out", name)
        assert harmless(result, odd / "OUT"), (words[0], result.output, result.exception)
    assert sorted(path.name for path in odd.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        *(
            ("generate", "models/tracks.onnx", "-n", "1", *GIVEN, "--out", "OUT", option)
            for option in (
                "-n",
                "--condition",
                "--seed",
                "--run",
                "--first-event",
                "--batch-size",
                "--format",
                "--compression",
            )
        ),
        *(
            ("toy", "rich", "-n", "1", "--out", "OUT", option)
            for option in ("-n", "--species", "--background", "--compression")
        ),
        ("toy", "-n", "1", "--out", "OUT"),
        ("export", "folder", "--out", "OUT", "--format"),
        ("export", "folder", "--out", "OUT", "--batch"),
        ("check", "models/tracks.onnx", "--target"),
        ("convert", "empty", "OUT", "--binning"),
        ("train", str(DEMO), "--out", "OUT", "--set", "data.files=['absent']", "--set"),
        ("evaluate", "models/tracks.onnx", "--out", "OUT", "--data", "absent", "--fail-above"),
        (),
    ],
    ids=lambda words: " ".join((*words[:1], *words[-1:])),
)
def test_options_with_wrong_values(words, odd, monkeypatch):
    monkeypatch.chdir(odd)
    for text in WRONG_TEXTS:
        result = run(*words, text)
        assert harmless(result, odd / "OUT"), (text[:40], result.output, result.exception)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("name"), "KeyError: 'name'; hepgan did not expect this: please report it"),
        (MemoryError(), "not enough memory (the machine has no more); take fewer events"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 TB"),
            "not enough memory (DefaultCPUAlloc",
        ),
    ],
)
def test_unexpected_errors_are_one_message_too(error, message, monkeypatch):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr("hepgan.workflow.inspect", broken)
    assert message in refused("inspect", "any.root")
    assert isinstance(run("--debug", "inspect", "any.root").exception, type(error))
