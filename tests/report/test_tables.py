"""Tables for the terminal: the numbers and names that must be readable in them."""

from types import SimpleNamespace

import pytest
from report.made_results import made_results
from rich.console import Console

from hepgan.evaluation.verdict import row
from hepgan.report import tables


def text(table) -> str:
    console = Console(width=120, file=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.fixture
def results():
    def entry(key, metric, value, floor, limit, *, percent=False, remark=""):
        numbers = {"value": value, "floor": floor, "limit": limit}
        return row(key, metric, section="features", percent=percent, remark=remark, **numbers)

    return made_results(
        [
            entry("bias", "Response bias", (0.0123, 0.001), (0.002, 0.0005), 0.03, percent=True),
            entry("occupancy", "Occupancy bias", None, None, 0.1, percent=True),
            entry("ks", "KS", (0.021, 0.001), (0.025, 0.002), 0.03, remark="perfect: 0.018"),
            entry("auc", "Classifier AUC", (0.75, 0.01), (0.5, 0.02), None, remark="often told apart"),
        ],
        sample=("fast", 90),
        reference=("full", 100),
    )


def test_verdict_shows_value_floor_and_limit(results):
    shown = text(tables.verdict(results))
    assert "fast against full (100 tracks)" in shown
    for words in ("1.23 ± 0.10 %", "0.200 ± 0.050 %", "good (limit 3 %)", "undefined", "0.750 ± 0.010"):
        assert words in shown
    assert "often told apart" in shown
    assert "good (limit 0.03); perfect: 0.018" in shown
    assert "2 of 3 requirements are met; look closer: Occupancy bias." in shown


def test_nothing_is_wrapped_or_cut_in_a_pipe(results, capsys):
    name = "Mean energy fraction bias, " + "electromagnetic_barrel_presampler_" * 3
    long = results.rows[0].model_copy(update={"metric": name, "remark": "words " * 40})
    tables.console().print(tables.verdict(results.model_copy(update={"rows": [long]})))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Mean energy" in line]
    assert name in line
    assert ("words " * 40).strip() in line
    assert len(line) > 300


def test_description_keeps_brackets_and_units():
    metadata = SimpleNamespace(
        conditions=[SimpleNamespace(name="incident_energy", unit="GeV", low=1.0, high=65.0)],
        latent=SimpleNamespace(size=536, distribution="normal"),
        outputs=[SimpleNamespace(name="layer_0", unit="MeV", shape=(3, 96))],
        metrics={"classifier_auc": [0.8, 0.01]},
        provenance={"hepgan": "0.1.0"},
    )
    shown = text(tables.description(metadata))
    assert "incident_energy [GeV], trained on 1 to 65" in shown
    assert "layer_0 [3, 96] [MeV]" in shown
    assert "536 numbers, normal" in shown
    assert "classifier_auc 0.800 ± 0.010" in shown


def test_checks_tell_what_failed():
    lines = text(tables.checks([("weights", True, "sha256"), ("energies", False, "[nan]")])).splitlines()
    assert lines[0].split() == ["ok", "weights", "sha256"]
    assert lines[1].split() == ["FAILED", "energies", "[nan]"]


def test_a_plain_table_loses_nothing_where_it_is_narrow():
    console = Console(width=24)
    with console.capture() as capture:
        console.print(tables.plain("ring", ["row", "EMD"], [["wgan-gp[1]", "0.12345678901234567"]]))
    assert "wgan-gp[1]" in capture.get()
    assert "…" not in capture.get()
