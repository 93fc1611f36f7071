"""The reference models: all there, small, sound, each the one its card describes, and found by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from hepgan.errors import NotFoundError
from hepgan.inference.generator import Generator
from hepgan.inference.shipped import FOLDER, reference_model, reference_models

NAMES = ("eplus", "eplus_angle", "gamma", "rich_e", "rich_k", "rich_mu", "rich_p", "rich_pi")
MOST_BYTES = 30e6  # together: more would make the package hard to install


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> Generator:
    return Generator(request.param)


def test_all_are_there_with_their_cards() -> None:
    assert tuple(reference_models()) == NAMES
    assert {path.name for path in FOLDER.iterdir()} == {
        f"{name}.{suffix}" for name in NAMES for suffix in ("onnx", "json", "md")
    }


def test_together_they_are_small() -> None:
    assert 1e5 < sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES


def test_each_passes_its_checks(model: Generator) -> None:
    results = model.check()
    assert len(results) > 3
    assert all(result.passed for result in results), results


def test_each_is_the_one_of_its_card(model: Generator) -> None:
    card = json.loads(model.path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["name"] == model.path.stem
    assert card["sha256"] == sha256(model.path.read_bytes()).hexdigest()


def test_none_names_folders_of_the_machine_that_made_it(model: Generator) -> None:
    assert model.data.files
    for name in model.data.files:
        assert Path(name).name == name
    assert not model.data.test_files
    for suffix in (".json", ".md"):
        text = model.path.with_suffix(suffix).read_text(encoding="utf-8")
        assert not any(word in text for word in ("/home", "/root", "/tmp", "/work"))


def test_unknown_names_list_the_nearest() -> None:
    with pytest.raises(NotFoundError, match=r"'eplux': there is none of this name; did you mean 'eplus'"):
        reference_model("eplux")
    with pytest.raises(
        NotFoundError, match=r"model not found: gama; .* reference model: did you mean 'gamma'"
    ):
        Generator("gama")


def test_a_file_or_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Generator("gamma").path == FOLDER / "gamma.onnx"
    shutil.copy(FOLDER / "rich_k.onnx", "gamma")
    assert Generator("gamma").outputs[0] == "RichDLLe"
    (tmp_path / "eplus").mkdir()
    shutil.copy(FOLDER / "rich_k.onnx", "eplus/model.onnx")
    assert Generator("eplus").outputs[0] == "RichDLLe"
    with pytest.raises(NotFoundError, match=r"model not found: folder/eplus"):
        Generator("folder/eplus")


def test_a_name_is_found_without_heavy_imports() -> None:
    code = (
        "import sys, hepgan; print(hepgan.reference_models()['eplus'].name, "
        "{'torch', 'uproot', 'onnx', 'onnxruntime', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "eplus.onnx set()\n"
