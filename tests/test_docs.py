"""The documents say what the code does: pages are current, examples parse, options exist."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import hepgan
from hepgan import config
from hepgan.cli import app

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = sorted((ROOT / "hepgan" / "configs").glob("*.toml"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def examples(language: str) -> list[Any]:
    return [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks(page, language))
    ]


def merged(base: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    both = {k: merged(base[k], v) if isinstance(v, dict) and k in base else v for k, v in part.items()}
    return {**base, **both}


def test_page_of_configuration_keys_is_current(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import document_config

    page = document_config.PAGE.read_text(encoding="utf-8")
    assert page == document_config.page(), "docs/config.md is not current; run: make docs"


def test_page_of_expressions_is_current(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import document_expressions

    page = document_expressions.PAGE.read_text(encoding="utf-8")
    assert page == document_expressions.page(), "docs/expressions.md is not current; run: make docs"


def test_page_of_configuration_keys_knows_every_key():
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    for table in (
        config.DataConfig,
        config.TargetConfig,
        config.CaloModelConfig,
        config.DllModelConfig,
        config.VaeModelConfig,
        config.FlowModelConfig,
        config.ObjectiveConfig,
        config.StrataConfig,
        config.TrainingConfig,
    ):
        for key in table.model_fields.keys() - {"conditions", "calorimeter", "targets", "strata"}:
            assert f"| `{key}` |" in page


@pytest.mark.parametrize("text", examples("toml"))
def test_toml_examples_are_configurations(text):
    values = tomllib.loads(text)
    if "data" not in values:  # an excerpt: what it says must fit into a whole configuration
        values = merged(
            tomllib.loads((ROOT / "hepgan" / "configs" / "demo.toml").read_text(encoding="utf-8")), values
        )
    assert config.parse(values).data.files


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_configurations(path):
    recipe = config.load(path)
    if path.stem == "jets":
        assert recipe.data.calo.calorimeter().shapes == [(25, 25)]
    elif recipe.data.kind is config.SHOWERS:
        # CaloGAN: 3 x 96 + 12 x 12 + 12 x 6
        cells = 45 * 16 * 9 if path.stem == "wsi" else 504
        assert recipe.data.calo.calorimeter().n_cells == cells
    else:
        assert [target.name for target in recipe.data.targets] == [
            f"RichDLL{h}" for h in ("e", "k", "mu", "p", "bt")
        ]
    assert recipe.data.test_files


@pytest.mark.parametrize("text", examples("(?:sh|bash)"))
def test_command_examples_use_known_options(text):
    commands = typer.main.get_command(app).commands
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split("#")[0].split()
        if not words or not words[0].endswith("hepgan"):
            continue
        known = {option for p in commands[words[1]].params for option in [*p.opts, *p.secondary_opts]}
        unknown = {w.split("=")[0] for w in words[2:] if w.startswith("-")} - known - {"--help"}
        assert not unknown, line


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_inside_the_repository_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"


def texts() -> list[Any]:
    """All pages, and all sources of the package, whose docstrings and comments name modules and files."""
    paths = [*PAGES, *sorted((ROOT / "hepgan").rglob("*.py")), *sorted((ROOT / "export").rglob("*.md"))]
    return [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in paths]


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    words = name.split(".")
    for k in range(len(words), 0, -1):
        try:
            thing = importlib.import_module(".".join(words[:k]))
        except ModuleNotFoundError:
            continue
        for word in words[k:]:
            thing = getattr(thing, word, None) or getattr(thing, "model_fields", {}).get(word)
        return thing is not None
    return False


@pytest.mark.parametrize("path", texts())
def test_modules_and_files_that_are_named_exist(path):
    text = path.read_text(encoding="utf-8")
    for name in set(re.findall(r"`+(hepgan(?:\.\w+)+)", text)):
        assert resolves(name), f"{path.name}: {name}"
    for name in set(
        re.findall(
            r"(?<![\w/.])((?:hepgan|tests|scripts|benchmarks|docs)/[\w/]+\.(?:py|md|toml|html))\b", text
        )
    ):
        assert (ROOT / name).is_file() or (ROOT / "export" / "include" / name).is_file(), (
            f"{path.name}: {name}"
        )


def test_names_that_do_not_exist_are_seen():
    assert resolves("hepgan.metrics.mmd")
    assert not resolves("hepgan.metrics.mmdd")
    assert not resolves("hepgan.rootfiles")


def test_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE).group(1) == hepgan.__version__
    assert f"## [{hepgan.__version__}]" in changes
