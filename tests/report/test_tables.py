"""Tables for the terminal: the numbers and names that must be readable in them."""

import numpy as np
import pytest
from rich.console import Console

from hepgan.evaluation.verdict import format_measurement
from hepgan.report import tables


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
        {"metric": "KS", "value": [0.021, 0.001], "floor": [0.025, 0.002], "limit": 0.03}
        | {"percent": False, "verdict": "pass", "remark": "perfect: 0.018"},
        {"metric": "Classifier AUC", "value": [0.75, 0.01], "floor": [0.5, 0.02], "limit": None}
        | {"percent": False, "verdict": "info", "remark": "often told apart"},
    ]
    sample = {
        "what": "tracks",
        "generated": {"name": "fast", "events": 90},
        "reference": {"name": "full", "events": 100},
    }
    shown = text(tables.verdict({"verdict": rows, "sample": sample}))
    assert "fast against full (100 tracks)" in shown
    for words in ("1.23 ± 0.10 %", "0.200 ± 0.050 %", "good (limit 3 %)", "undefined", "0.750 ± 0.010"):
        assert words in shown
    assert "often told apart" in shown
    assert "good (limit 0.03); perfect: 0.018" in shown
    assert "2 of 3 requirements are met; look closer: Occupancy bias." in shown


def test_summary_names_what_is_worst():
    def row(verdict, limit=0.03):
        return {"metric": f"bias {verdict}", "verdict": verdict, "limit": limit}

    information = row("info", None)
    assert tables.summary([row("pass"), information]) == ("pass", "1 of 1 requirements are met.")
    kind, text = tables.summary([row("fail"), row("pass"), row("warn"), information])
    assert kind == "fail"
    assert text == "1 of 3 requirements are met; look closer: bias warn; not good enough: bias fail."


def test_tally_counts_what_is_not_good():
    def row(verdict, limit=0.03):
        return {"metric": f"bias {verdict}", "verdict": verdict, "limit": limit}

    assert tables.tally([row("pass")]) == ("pass", "1 of 1 requirements are met.")
    assert tables.tally([row("warn"), row("pass")]) == (
        "warn",
        "1 of 2 requirements are met; look closer: 1.",
    )
    rows = [row("fail"), row("fail"), row("warn"), row("info", None)]
    assert tables.tally(rows) == (
        "fail",
        "0 of 3 requirements are met; not good enough: 2; look closer: 1.",
    )
    assert tables.tally(rows[-1:]) == ("info", "No number has a limit: all are for information.")
    assert tables.summary(rows[-1:]) == ("info", "no number has a limit: all are for information.")


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


@pytest.mark.parametrize(
    ("measurement", "percent", "text"),
    [
        ((1.2345, 0.0123), False, "1.234 ± 0.012"),
        ((0.012345, 0.00123), True, "1.23 ± 0.12 %"),
        ((48000.0, 321.0), False, "48000 ± 321"),
        ((1.0, 0.0), False, "1"),
        ((3e7, 2e6), False, "3e+07 ± 2e+06"),
        ((1e-9, 1e-10), False, "1e-09 ± 1e-10"),
        (None, True, "undefined"),
        ([0.75, None], False, "0.75"),  # as JSON has what is not finite
        ([None, None], False, "undefined"),
    ],
)
def test_measurements_are_rounded_to_their_uncertainty(measurement, percent, text):
    assert format_measurement(measurement, percent=percent) == text


def test_numpy_numbers_are_formatted():
    assert format_measurement(np.array([0.5, 0.1])) == "0.50 ± 0.10"


def test_a_plain_table_loses_nothing_where_it_is_narrow():
    console = Console(width=24)
    with console.capture() as capture:
        console.print(tables.plain("ring", ["row", "EMD"], [["wgan-gp[1]", "0.12345678901234567"]]))
    assert "wgan-gp[1]" in capture.get()
    assert "…" not in capture.get()
