"""The documents say what the code does: pages are current, examples parse, options exist."""

import ast
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
        config.TrainingConfig,
    ):
        for key in table.model_fields.keys() - {"conditions", "calorimeter", "targets"}:
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
        assert recipe.data.calo.calorimeter().n_cells == 504  # CaloGAN: 3 x 96 + 12 x 12 + 12 x 6
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


def test_modules_import_only_from_above():
    rows = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    package = ROOT / "hepgan"
    assert {path.stem for path in package.glob("*.py")} - {"__init__"} <= set(rows)
    for path in package.rglob("*.py"):
        module = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hepgan":
                names = (
                    [a.name for a in node.names] if node.module == "hepgan" else node.module.split(".")[1:2]
                )
                for name in set(names) & set(rows) - {module}:
                    assert rows.index(name) < rows.index(module), f"{path.name} imports {name} from below"


def test_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE).group(1) == hepgan.__version__
    assert f"## [{hepgan.__version__}]" in changes
