"""Limits of the verdict in the configuration: defaults, rows by their keys, and names that are refused."""

from pathlib import Path

import pytest

from hepgan.config import EvaluationConfig, parse
from hepgan.evaluation.results import read_results

OLD = Path(__file__).parents[1] / "versions" / "v0_1" / "showers" / "report" / "metrics.json"
DEFAULTS = {
    "response": 0.03,
    "fractions": 0.05,
    "occupancy": 0.10,
    "ks_mean": 0.03,
    "ks_max": 0.08,
    "auc": 0.60,
    "efficiency": 0.02,
    "atoms": 0.01,
}


def parsed(limits):
    conditions, targets = [{"name": "P"}], [{"name": "a"}]
    data = {"files": ["none"], "conditions": conditions, "targets": targets}
    return parse({"data": data, "evaluation": {"limits": limits}}, source="my.toml").evaluation


def test_limits_that_are_not_named_keep_their_defaults():
    assert EvaluationConfig().limits == DEFAULTS
    given = {"response": 0.02, "classifier_auc": 0.8}
    assert parsed(given).limits == DEFAULTS | given
    assert EvaluationConfig().limits == DEFAULTS


def test_every_row_may_have_a_limit():
    keys = read_results(OLD).keys()
    assert parsed(dict.fromkeys(keys, 0.5)).limits == DEFAULTS | dict.fromkeys(keys, 0.5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "respons",
            0.1,
            r"my\.toml: evaluation\.limits: there is no limit 'respons'; did you mean 'response'",
        ),
        ("clasifier_auc", 0.7, r"there is no limit 'clasifier_auc'; did you mean 'classifier_auc'"),
        ("occupancy", -0.1, r"occupancy: expected a limit that is not negative, got -0\.1"),
        ("occupancy", float("nan"), r"occupancy: expected a limit that is not negative, got nan"),
        ("occupancy", "small", r"evaluation\.limits\.occupancy: .*number.*got 'small'"),
    ],
)
def test_other_limits_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        parsed({name: value})
