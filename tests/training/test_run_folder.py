"""Run folder: never overwritten, resumed only as it was started, exported, and opened from version 0.1."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from run_files import Malicious, log_lines, saved_progress, saved_tensors
from typer.testing import CliRunner

from hepgan import config
from hepgan.cli import app
from hepgan.errors import ConfigError, DataError, ExportError, ModelFileError, NotFoundError
from hepgan.files import contents
from hepgan.inference.generator import Generator
from hepgan.training import checkpoint, run_folder
from hepgan.training.loop import train
from hepgan.training.run_folder import RunFolder, export_run, load_generator, selected
from hepgan.training.setup import set_up

ROOT = Path(__file__).parents[2]
VERSION_0_1 = ROOT / "tests" / "versions" / "v0_1"


def test_checkpoint_of_another_model_is_named(recipe, tmp_path):
    run = train(recipe(), tmp_path / "run", progress=False)
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("width = 32", "width = 16"))
    with pytest.raises(
        ModelFileError, match=r"the checkpoint does not fit the model that config.toml describes"
    ):
        load_generator(run)


def test_existing_run_is_not_overwritten(plain_tracks, tmp_path):
    run = train(plain_tracks(), tmp_path / "run", progress=False)
    before = (run / "metrics.jsonl").read_text()
    with pytest.raises(
        ValueError, match=r"exists already; --resume goes on with it, another --out starts anew"
    ):
        train(plain_tracks(), run, progress=False)
    assert (run / "metrics.jsonl").read_text() == before


def test_resume_needs_a_run_with_the_same_configuration_and_data(recipe, two_sided, tmp_path, tiny_file):
    with pytest.raises(NotFoundError, match=r"no config.toml to resume from"):
        train(recipe(), tmp_path / "nothing", resume=True, progress=False)
    run = train(recipe(), tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match=r"training.batch_size: was 64, is 32"):
        train(recipe(batch_size=32), run, resume=True, progress=False)
    Path(tiny_file()).replace(two_sided)
    with pytest.raises(DataError, match=rf"trained on other data \(changed: {two_sided}\)"):
        train(recipe(), run, resume=True, progress=False)


def test_files_that_changed_are_named(tmp_path):
    files = {name: str(tmp_path / name) for name in "abc"}
    for name, path in files.items():
        Path(path).write_text(name * 5)

    def digests(names):
        return contents([files[name] for name in names])

    def refused(message):
        with pytest.raises(DataError, match=message):
            folder.check_same(folder.saved().progress, device="cpu", data_sha256=now[0], data_files=now[1])

    folder = RunFolder(tmp_path / "run")
    sha256, each = digests("abc")
    texts = {"step": 1, "device": "cpu", "data_sha256": sha256, "data_files": each}
    checkpoint.save(folder.checkpoint, {"best": {}}, texts)
    assert folder.saved().progress.step == 1
    folder.check_same(folder.saved().progress, device="cpu", data_sha256=sha256, data_files=each)
    now = digests("acb")
    refused(r"\(the same files in another order: was \[.*\], is ")
    Path(files["b"]).write_text("other")
    now = digests("abc")
    refused(rf"\(changed: {files['b']}\); restore the files")
    now = digests("ab")
    refused(rf"\(changed: {files['b']}; missing: {files['c']}\)")


def test_a_damaged_checkpoint_changes_no_number(plain_tracks, tmp_path, caplog):
    run = train(plain_tracks(), tmp_path / "run", progress=False)
    tensors, log = saved_tensors(run), log_lines(run)
    newest = RunFolder(run).checkpoint
    newest.write_bytes(newest.read_bytes()[:-1])
    assert export_run(run, tmp_path / "older.onnx").exists()
    train(plain_tracks(), run, resume=True, progress=False)
    assert f"{newest}: not a hepgan checkpoint, or damaged" in caplog.text
    assert f"taking the one before, {newest.with_name('state-20.safetensors')}, of step 20" in caplog.text
    assert all(torch.equal(tensors[key], value) for key, value in saved_tensors(run).items())
    timed = {"time": 0, "samples_per_second": 0}
    assert [line | timed for line in log_lines(run)] == [line | timed for line in log]


def test_no_command_runs_the_code_of_a_malicious_checkpoint(recipe, tmp_path):
    settings, run, proof = recipe(), tmp_path / "run", tmp_path / "proof"
    folder = set_up(settings, run, resume=False, progress=False).folder
    folder.checkpoint.parent.mkdir()
    for file in (folder.checkpoint, folder.checkpoint.with_name("state-1.safetensors")):
        torch.save({"best": Malicious(proof)}, file)
    (tmp_path / "recipe.toml").write_text(config.dump(settings))
    out = str(tmp_path / "out")
    for arguments in (
        ["train", str(tmp_path / "recipe.toml"), "--out", str(run), "--resume"],
        ["export", str(run), "--out", out],
        ["evaluate", str(run)],
        ["check", str(run)],
        ["generate", str(run), "-n", "5", "--condition", "incident_energy=5", "--out", out],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, result.output
        assert "not a hepgan checkpoint, or damaged" in " ".join(result.output.split())
    assert not proof.exists()
    assert not Path(out).exists()


@pytest.mark.parametrize("taken", ["run", "checkpoint", "checkpoint/state.safetensors", "metrics.jsonl"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(plain_tracks, tmp_path, taken):
    """Root may write everywhere: so a file stands where a folder should be, or a folder where a file should be."""
    run = tmp_path / "run"
    path = run if taken == "run" else run / taken
    path.parent.mkdir(parents=True, exist_ok=True)
    if taken in ("run", "checkpoint"):
        path.write_text("a file")
    else:
        path.mkdir()
    missing = plain_tracks().model_dump(mode="json", exclude_none=True)
    missing["data"]["files"] = ["missing.root"]
    with pytest.raises(
        OSError, match=r"expected .* to be a folder that can be written, got Not a dir|got a folder"
    ):
        train(config.parse(missing), run, progress=False)


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    message = rf"expected {tmp_path} to be a folder that can be written, got Read-only file system; .* another --out"
    with pytest.raises(OSError, match=message):
        RunFolder(tmp_path / "new" / "run").check_writable()
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_change_the_numbers_may_change_on_resume(plain_tracks, tmp_path):
    run = train(plain_tracks(steps=20, max_minutes=1e-9), tmp_path / "run", progress=False)
    assert saved_progress(run).step < 20
    train(plain_tracks(steps=20, max_minutes=10.0), run, resume=True, progress=False)
    assert saved_progress(run).step == 20
    assert [line["step"] for line in log_lines(run)].count(0) == 1


def test_resume_on_another_device_is_refused(plain_tracks, tmp_path):
    run = train(plain_tracks(), tmp_path / "run", progress=False)
    path = RunFolder(run).checkpoint
    tensors, texts = checkpoint.load(path)
    checkpoint.save(path, {"x": tensors}, texts | {"device": "cuda"})
    with pytest.raises(
        ConfigError, match=r"was trained on 'cuda', and this is 'cpu'.*resume with --device cuda"
    ):
        train(plain_tracks(), run, resume=True, progress=False)


def test_export_takes_the_report_of_this_generator_only(recipe, tmp_path):
    run = train(recipe(), tmp_path / "run", progress=False)
    written = Generator(run / "model.onnx").metadata.provenance
    assert list(Generator(run / "model.onnx").metadata.metrics) == ["validation_distance"]
    assert (
        selected(run)
        == f"step {written['step']} of 30, validation distance {saved_progress(run).best_distance:.4f}"
    )
    (run / "report").mkdir()
    for step, expected in ((written["step"], True), (written["step"] + 1, False)):
        report = json.loads((VERSION_0_1 / "showers" / "report" / "metrics.json").read_text())
        report["provenance"]["model"] |= written | {"step": step}
        (run / "report" / "metrics.json").write_text(json.dumps(report))
        metrics = Generator(export_run(run, tmp_path / "again.onnx")).metadata.metrics
        assert ("classifier_auc" in metrics) is expected


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ExportError("output 'x': expected 1, got 2", content=b"the file"), ["model.unverified.onnx"]),
        (OSError(28, "No space left on device"), []),
        (RuntimeError("no kernel"), []),
    ],
    ids=["not the generator", "full disk", "runtime"],
)
def test_a_training_whose_export_fails_loses_nothing(recipe, tmp_path, monkeypatch, error, kept):
    def fails(*_, **__):
        raise error

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setitem(run_folder.FORMATS, "onnx", fails)
        with pytest.raises(ExportError) as caught:
            train(recipe(), run, progress=False)
    message = str(caught.value)
    assert "the training is saved" in message
    assert str(error) in message
    assert f"Go on with: hepgan export {run} --out {run / 'model.onnx'}" in message
    assert [path.name for path in run.glob("*.onnx")] == kept
    assert saved_progress(run).step == log_lines(run)[-1]["step"]
    assert all(passed for _, passed, _ in Generator(export_run(run, run / "model.onnx")).check())


def test_a_finished_run_resumes_to_itself(plain_tracks, tmp_path):
    run = train(plain_tracks(), tmp_path / "run", progress=False)
    before = saved_tensors(run)
    train(plain_tracks(), run, resume=True, progress=False)
    assert all(torch.equal(before[key], value) for key, value in saved_tensors(run).items())


# -- files of version 0.1


@pytest.fixture(params=["tracks"])
def old_run(request, tmp_path, monkeypatch):
    """Copy of a run folder that version 0.1 left after 20 of 20 steps; its data are named from the repository."""
    monkeypatch.chdir(ROOT)
    return Path(shutil.copytree(VERSION_0_1 / request.param, tmp_path / request.param))


def test_showers_of_version_0_1_are_not_resumed_and_stay_as_they_are(tmp_path, monkeypatch):
    """Their start had other tables."""
    monkeypatch.chdir(ROOT)
    run = Path(shutil.copytree(VERSION_0_1 / "showers", tmp_path / "showers"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(
        ModelFileError, match=r"(?s)does not fit the model.*resume with the version of hepgan"
    ):
        train(config.load(run / "config.toml"), run, resume=True, progress=False)
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_of_version_0_1_exports_the_same_generator(old_run, tmp_path):
    before = Generator(old_run / "model.onnx")
    after = Generator(export_run(old_run, tmp_path / "again.onnx"))
    assert all(passed for _, passed, _ in after.check())
    assert after.metadata.provenance["step"] == before.metadata.provenance["step"]
    rng = np.random.default_rng(1)
    low, high = np.array([[c.low, c.high] for c in before.conditions], np.float32).T
    condition = rng.uniform(low, high, (50, len(low))).astype(np.float32)
    latent = rng.standard_normal((50, load_generator(old_run)[0].n_latent), dtype=np.float32)
    for a, b in zip(before(condition, latent), after(condition, latent), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_finished_run_of_version_0_1_resumes_to_itself(old_run):
    before = saved_tensors(old_run)
    train(config.load(old_run / "config.toml"), old_run, resume=True, progress=False)
    after = saved_tensors(old_run)
    assert before.keys() == after.keys()
    assert [key for key in before if not before[key].equal(after[key])] == []


def test_a_run_of_version_0_1_goes_on_if_the_configuration_is_its_own(old_run):
    longer = config.load(old_run / "config.toml", settings=["training.steps=40"])
    log = log_lines(old_run)
    with pytest.raises(ConfigError, match=r"another configuration \(training.steps: was 20, is 40\)"):
        train(longer, old_run, resume=True, progress=False)
    assert log_lines(old_run) == log
    (old_run / "config.toml").write_text(config.dump(longer))  # as if it had been killed at step 20 of 40
    train(longer, old_run, resume=True, progress=False)
    assert saved_progress(old_run).step == 40
    assert log_lines(old_run)[: len(log)] == log
    assert [line["step"] for line in log_lines(old_run)[len(log) :]] == [25, 30, 35, 40]
    assert all(passed for _, passed, _ in Generator(old_run / "model.onnx").check())


def test_an_unknown_format_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"format: expected one of \['onnx', 'lwtnn', 'cpp'\], got 'keras'"):
        export_run(tmp_path, tmp_path / "model", format="keras")
