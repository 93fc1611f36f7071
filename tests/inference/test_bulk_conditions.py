"""Conditions of bulk generation; tests/inference/test_bulk.py looks at those that reach the file."""

from __future__ import annotations

from typing import Any

import pytest

from hepgan.inference import bulk_conditions
from hepgan.inference.bulk_conditions import parse_condition
from hepgan.inference.metadata import Condition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("incident_energy=10", ("incident_energy", 10.0)),
        (" eta = -1.5e0", ("eta", -1.5)),
        ("incident_energy=1:65", ("incident_energy", (1.0, 65.0))),
        ("species=K", ("species", "K")),
        ("species = pi:K", ("species", "pi:K")),
    ],
)
def test_condition_syntax(text: str, expected: Any) -> None:
    assert parse_condition(text) == expected


@pytest.mark.parametrize("text", ["10", "=10", "e=", "e= ", "e=1:2:3", ""])
def test_condition_syntax_errors(text: str) -> None:
    with pytest.raises(ValueError, match="expected name=value or name=low:high, got"):
        parse_condition(text)


def test_condition_range_must_increase() -> None:
    with pytest.raises(ValueError, match="condition 'e': expected low < high, got 5:5"):
        parse_condition("e=5:5")


def test_categories_by_code_and_by_names_that_are_numbers() -> None:
    nuclei = {"1000010020": 2.0, "1000020040": 4.0}
    condition = Condition(name="nucleus", unit="", transform="category", range=(2.0, 4.0), categories=nuclei)
    assert bulk_conditions._interval(condition, parse_condition("nucleus=1000020040")[1]) == (4.0, 4.0)
    assert bulk_conditions._interval(condition, 2) == (2.0, 2.0)
