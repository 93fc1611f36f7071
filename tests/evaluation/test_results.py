"""Typed results: indexing, JSON of schema 3, files of schema 2, and the page that documents them."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from hepgan.errors import DataError, NotFoundError
from hepgan.evaluation.records import Number
from hepgan.evaluation.results import SCHEMA, Results, read_results
from hepgan.evaluation.verdict import Row

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "versions" / "v0_1" / "showers" / "report" / "metrics.json"


@pytest.fixture
def results():
    return read_results(OLD)


def test_numbers_by_the_key_of_their_row(results):
    auc = results["classifier_auc"]
    assert isinstance(auc, Row)
    assert (auc.value, auc.uncertainty, auc.floor) == (0.5, 0.0, Number(0.5, 0.0))
    assert (auc.limit, auc.verdict, auc.unit) == (None, "info", "")
    bias = results["response_bias_worst"]
    assert (bias.limit, bias.verdict) == (0.03, "pass")
    assert list(results) == results.keys() == [row.key for row in results.rows]
    assert "mmd" in results
    assert "nothing" not in results
    assert len(results) == len(results.rows) > 20
    assert dict(results)["mmd"] == results["mmd"]
    with pytest.raises(KeyError, match=r"no number 'clasifier_auc' .* did you mean 'classifier_auc'"):
        results["clasifier_auc"]


def test_verdict_and_summary(results):
    assert results.verdict == "warn"
    assert results.summary.startswith("6 of 7 requirements are met; look closer: Mean energy fraction bias")
    assert results.report is None
    for text in (repr(results), str(results)):
        assert text.startswith("warn: 6 of 7 requirements")
        assert re.search(r"response_bias_worst +-0.027 ± 0.019 % \(floor .*, limit 3 %\): good", text)
    page = results._repr_html_()
    assert "<td>0.5</td>" in page
    assert page.count("<tr>") == page.count("</tr>") == 1 + len(results.rows)


def test_names_are_escaped_in_a_notebook(results):
    row = results.rows[0].model_copy(update={"metric": "<script>"})
    assert "<script>" not in results.model_copy(update={"rows": [row]})._repr_html_()


def test_json_is_read_again(results):
    text = results.to_json()
    again = Results.from_json(text)
    assert again == results
    assert again.to_json() == text
    values = json.loads(text)
    assert list(values)[:4] == ["schema", "verdict", "summary", "samples"]
    assert values["schema"] == SCHEMA == 3
    assert "report" not in values
    row = next(row for row in values["rows"] if row["key"] == "response_bias_worst")
    assert set(row) == set(Row.model_fields)
    assert set(row["floor"]) == {"value", "uncertainty"}
    assert len(values["classifier"]["auc"]) == 2


def test_every_number_of_schema_2_is_there(results):
    """Leaf by leaf: where a number went is in the docstring of `upgraded`."""
    old, new = json.loads(OLD.read_text()), json.loads(results.to_json())
    for name, feature in old["features"].items():
        assert new["features"][name]["wasserstein"] == feature["wasserstein"]
        assert new["features"][name]["mean"]["sample"] == feature["mean"]["generated"]
    for row, before in zip(new["rows"], old["verdict"], strict=True):
        assert [row["value"], row["uncertainty"]] == before["value"]
        assert list(row["floor"].values()) == before["floor"]
        assert all(
            row[key] == before[key] for key in ("key", "metric", "limit", "percent", "verdict", "remark")
        )
        assert row["ideal"] == (0.5 if "AUC" in row["metric"] else 0.0)
    condition = new["in_bins"]["incident_energy"]
    assert condition["distances"]["auc"] == old["in_bins"]["incident_energy"]["auc"]
    response = new["closure"]["response"]
    assert response["sample"] == old["closure"]["response"]["generated"]
    assert new["headline"] == old["headline"]
    assert new["samples"]["sample"] == old["sample"]["generated"]


def test_provenance_of_a_run(results):
    assert results.provenance.model.step == 0
    assert len(results.provenance.model.config_sha256) == 64
    assert results.provenance.evaluation.seed == 1
    assert results.provenance.evaluation.model_extra["fast"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a.json: expected JSON, got something else"),
        ("[]", "expected results of schema 2 or 3, got None"),
        ('{"schema": 9}', "expected results of schema 2 or 3, got 9; evaluate again, or read"),
        ('{"schema": 3}', "not the results of an evaluation"),
        ('{"schema": 2, "verdict": []}', "not the results of an evaluation"),
    ],
)
def test_other_files_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        Results.from_json(text, source="a.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        NotFoundError, match=r"results not found: .*metrics\.json.*hepgan evaluate writes one"
    ):
        read_results(tmp_path / "metrics.json")


def test_numbers_that_are_not_finite_are_not_written(results):
    changed = results.model_copy(update={"headline": {"auc": Number(float("nan"), 0.1)}})
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        changed.to_json()


def test_unknown_keys_are_refused(results):
    values = json.loads(results.to_json())
    for table in (values, values["rows"][0], values["closure"]["energy"], values["classifier"]):
        table["surprise"] = 1
        with pytest.raises(ValidationError, match="surprise"):
            Results.model_validate(values)
        del table["surprise"]
    Results.model_validate(values)


def test_the_page_of_the_schema_is_current(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import document_results

    page = document_results.PAGE.read_text(encoding="utf-8")
    assert page == document_results.page(), "run: python scripts/document_results.py --write"
    schema = Results.model_json_schema()
    parts = dict(re.findall(r"#### `(\w+)`\n(.*?)(?=####|<!--)", page, re.DOTALL))
    for name, record in {**schema["$defs"], "Results": schema}.items():
        for key in record.get("properties", {}):
            assert f"| `{key}` |" in parts[name] or key == "report", (name, key)
