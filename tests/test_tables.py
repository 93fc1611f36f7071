"""Tables for the terminal: the numbers and names that must be readable in them."""

from rich.console import Console

from hepgan import tables


def text(table) -> str:
    console = Console(width=120, file=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_verdict_shows_value_floor_and_limit():
    rows = [
        {"metric": "Response bias", "value": [0.0123, 0.001], "floor": [0.002, 0.0005], "limit": 0.03}
        | {"percent": True, "verdict": "pass", "remark": ""},
        {"metric": "Occupancy bias", "value": None, "floor": None, "limit": 0.1}
        | {"percent": True, "verdict": "warn", "remark": ""},
        {"metric": "Classifier AUC", "value": [0.75, 0.01], "floor": [0.5, 0.02], "limit": None}
        | {"percent": False, "verdict": "info", "remark": "often told apart"},
    ]
    sample = {"generated": {"name": "fast", "events": 90}, "reference": {"name": "full", "events": 100}}
    shown = text(tables.verdict({"verdict": rows, "sample": sample}))
    assert "fast against full (100 showers)" in shown
    for words in ("1.23 ± 0.10 %", "0.20 ± 0.05 %", "pass (limit 3 %)", "not defined", "0.750 ± 0.010"):
        assert words in shown
    assert "often told apart" in shown


def test_description_keeps_brackets_and_units():
    metadata = {
        "conditions": [{"name": "incident_energy", "unit": "GeV", "range": [1.0, 65.0]}],
        "latent": {"size": 536, "distribution": "normal"},
        "outputs": [{"name": "layer_0", "unit": "MeV", "shape": [3, 96]}],
        "metrics": {"classifier_auc": [0.8, 0.01]},
        "provenance": {"hepgan": "0.1.0"},
    }
    shown = text(tables.description(metadata))
    assert "incident_energy [GeV], trained on 1 to 65" in shown
    assert "layer_0 [3, 96] [MeV]" in shown
    assert "536 numbers, normal" in shown
    assert "classifier_auc 0.800 ± 0.010" in shown


def test_checks_tell_what_failed():
    lines = text(tables.checks([("weights", True, "sha256"), ("energies", False, "[nan]")])).splitlines()
    assert lines[0].split() == ["ok", "weights", "sha256"]
    assert lines[1].split() == ["FAILED", "energies", "[nan]"]
