"""Cards of the reference models: their numbers are measured again, and their text is that of their numbers."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from hepgan.errors import DataError
from hepgan.evaluation.records import Number
from hepgan.evaluation.verdict import Row, row
from hepgan.inference.generator import Generator
from hepgan.inference.metadata import open_model
from hepgan.inference.shipped import FOLDER, reference_models
from hepgan.report.cards import disagreements, markdown, notable, read_card
from hepgan.toys.writer import write as write_toy

ROOT = Path(__file__).parents[2]
NAMES = [*reference_models()]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module("reference_model")


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_the_card_are_measured_again(name: str, script: ModuleType) -> None:
    """Other noise, and for the toy other tracks: the same numbers within three standard deviations."""
    card = read_card(name)
    again = script.remeasured(card.recheck, Generator(name), seed=script.OTHER_SEED, fresh=1)
    assert len(again) >= 5
    assert not disagreements(card.recheck.numbers, again)


def test_another_model_has_not_the_numbers_of_the_card(script: ModuleType) -> None:
    check = read_card("gamma").recheck
    found = disagreements(check.numbers, script.remeasured(check, Generator("eplus"), seed=script.OTHER_SEED))
    assert any(sentence.startswith("classifier_auc: expected") for sentence in found)


def test_the_script_has_an_entry_for_each(script: ModuleType) -> None:
    assert set(script.MODELS) == set(NAMES)
    for name, model in script.MODELS.items():
        assert read_card(name).what == model.what
        assert (ROOT / "hepgan" / "configs" / model.recipe).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_the_text_is_that_of_the_numbers(name: str) -> None:
    path = FOLDER / f"{name}.md"
    text = markdown(read_card(name), open_model(name).metadata, size=path.with_suffix(".onnx").stat().st_size)
    assert path.read_text(encoding="utf-8") == text, f"{path}: run scripts/reference_model.py again"
    for heading in ("Use", "Valid range", "Training", "Quality", "Known failures", "Measure it again"):
        assert f"\n## {heading}\n" in text


@pytest.mark.parametrize("name", NAMES)
def test_a_card_has_a_floor_for_what_it_claims(name: str) -> None:
    card = read_card(name)
    assert card.auc.floor is not None
    assert card.auc.uncertainty
    assert 0.4 < card.auc.floor.value < 0.6, "full simulation cannot be told from itself"
    assert card.unsuitable
    assert card.failures
    assert card.licence.startswith("BSD-3-Clause")


def test_disagreements() -> None:
    card = {"auc": Number(0.60, 0.01), "bias_worst": Number(-0.03, 0.01), "gone": Number(1, 1)}
    again = {"auc": Number(0.65, 0.01), "bias_worst": Number(0.03, 0.01), "new": Number(1, 1)}
    assert disagreements(card, again) == [
        "auc: expected 0.6 ± 0.01, got 0.65 ± 0.01",
        "gone: not in the new measurement",
        "new: not in the card",
    ]
    assert not disagreements({"auc": Number(0.60, 0.01)}, {"auc": Number(0.64, 0.01)})
    assert disagreements({"auc": Number(0.60, 0.01)}, {"auc": Number(float("nan"), 0.01)})


def made(key: str, value: float, *, limit: float | None = None) -> Row:
    return row(key, key, section="s", value=(value, 0.01), floor=(0.52, 0.01), limit=limit, ideal=0.5)


def test_failures_are_what_misses_its_limit_then_what_is_far_above_its_floor() -> None:
    rows = [made("good", 0.53), made("far", 0.60), made("further", 0.7), made("missed", 0.62, limit=0.55)]
    assert [text.split(":")[0] for text in notable(rows)] == ["missed", "further", "far"]
    assert notable(rows)[0] == "missed: 0.620 ± 0.010, floor 0.520 ± 0.010; not good enough"


def test_a_damaged_card_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepgan.inference.shipped.FOLDER", tmp_path)
    shutil.copy(FOLDER / "rich_k.onnx", tmp_path)
    for text in (None, "{", "{}"):
        if text is not None:
            (tmp_path / "rich_k.json").write_text(text)
        with pytest.raises(DataError, match=r"rich_k\.json: expected the card of a reference model"):
            read_card("rich_k")


def test_a_run_becomes_a_reference_model(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole script, on a training too short to learn anything."""
    monkeypatch.chdir(ROOT)  # the run names its training file from there
    monkeypatch.setattr("hepgan.report.writing.draw", lambda *_, **__: [])
    shutil.copytree(ROOT / "tests" / "versions" / "v0_1" / "tracks", tmp_path / "run")
    write_toy("rich", tmp_path / "test.root", n=3000, seed=5)
    check = script.Recheck(sample="toy rich", events=2000, seed=7, settings={"fast": True}, numbers={})
    model = script.Model("a tiny model", "rich.toml", "Toys.", check, ("anything",), ("knows nothing",))
    monkeypatch.setitem(script.MODELS, "tiny", model)
    words = ("--name", "tiny", "--fast", "--most", "1500")
    places = ("--test", str(tmp_path / "test.root"), "--out", str(tmp_path / "shipped"))
    script.main([str(tmp_path / "run"), *words, *places])
    assert {path.name for path in (tmp_path / "shipped").iterdir()} == {"tiny.onnx", "tiny.json", "tiny.md"}
    monkeypatch.setattr("hepgan.inference.shipped.FOLDER", tmp_path / "shipped")
    card = read_card("tiny")
    assert (card.events, card.reference) == (1500, "tracks of `test.root`")
    assert (card.training.steps, card.training.seed, card.failures) == (20, 1, ["knows nothing"])
    assert card.training.command.startswith("hepgan train hepgan/configs/rich.toml --out runs/tiny")
    assert """--set 'data.files=["tracks.root"]'""" in card.training.command
    assert "--set 'model.hinges=4'" in card.training.command
    assert card.auc.value > 0.8, "a training of 20 steps is told apart"
    assert set(card.recheck.numbers) == {"auc", "atoms_worst", "efficiency_worst", "ks_max", "ks_mean"}
    generator, text = Generator("tiny"), (tmp_path / "shipped" / "tiny.md").read_text(encoding="utf-8")
    monkeypatch.setitem(script.MODELS, "tiny", replace(model, unsuitable=("nothing at all",)))
    script.main(["--rewrite"])
    changed = text.replace("- anything", "- nothing at all")
    assert (tmp_path / "shipped" / "tiny.md").read_text(encoding="utf-8") == changed != text
    assert generator.data.files == ("tracks.root",)
    assert all(result.passed for result in generator.check())


def test_the_script_knows_its_models(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"--name 'gama': there is no such entry in MODELS; did you mean 'gamma'"
    ):
        script.main([str(tmp_path), "--name", "gama", "--test", "test.root"])
