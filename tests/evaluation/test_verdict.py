"""The verdict: lights, limits, rounded numbers, and sums in words."""

import numpy as np
import pytest

from hepgan.evaluation.records import Number
from hepgan.evaluation.verdict import (
    format_limit,
    format_measurement,
    judge,
    row,
    summary,
    tally,
    with_limits,
    worst_by_section,
)


@pytest.mark.parametrize(
    ("bias", "verdict"),
    [
        ((0.02, 0.0), "pass"),
        ((-0.03, 0.02), "pass"),
        ((0.05, 0.001), "warn"),
        ((-0.07, 0.001), "fail"),
        ((0.07, 0.03), "warn"),  # could be statistics
        (None, "warn"),
    ],
)
def test_judge(bias, verdict):
    assert judge(bias, 0.03) == verdict


@pytest.mark.parametrize(
    ("auc", "verdict"),
    [((0.49, 0.01), "pass"), ((0.6, 0.01), "pass"), ((0.65, 0.01), "warn"), ((0.75, 0.01), "fail")],
)
def test_areas_are_judged_by_their_distance_to_one_half(auc, verdict):
    assert judge(auc, 0.6, ideal=0.5) == verdict


def test_rows_without_a_limit_are_for_information():
    numbers = {"section": "ks", "value": (0.5, 0.1), "floor": None}
    assert row("a", "A", **numbers).verdict == "info"
    assert row("a", "A", **numbers, limit=0.1).verdict == "fail"


def test_a_row_has_value_uncertainty_and_floor():
    one = row("auc", "AUC", section="classifier", value=(0.7, 0.02), floor=(0.5, 0.01), ideal=0.5)
    assert (one.value, one.uncertainty, one.floor) == (0.7, 0.02, Number(0.5, 0.01))
    assert one.measurement == (0.7, 0.02)
    assert one.model_dump()["floor"] == {"value": 0.5, "uncertainty": 0.01}
    undefined = row("auc", "AUC", section="classifier", value=None, floor=None)
    assert undefined.value is undefined.uncertainty is undefined.measurement is None


def test_a_row_may_have_a_limit_of_its_own():
    rows = [
        row("auc", "AUC", section="a", value=(0.7, 0.001), floor=None, ideal=0.5),
        row("bias", "Bias", section="b", value=(0.04, 0.001), floor=None, limit=0.03, percent=True),
    ]
    assert [one.verdict for one in rows] == ["info", "warn"]
    assert with_limits(rows, {"response": 0.1}) == rows
    judged = with_limits(rows, {"auc": 0.55, "bias": 0.05})
    assert [one.verdict for one in judged] == ["fail", "pass"]  # 0.2 from one half, where 0.05 is allowed
    assert [format_limit(one) for one in judged] == ["0.55", "5 %"]
    assert format_limit(rows[0]) == ""
    assert worst_by_section(judged) == {"a": "fail", "b": "pass"}
    assert worst_by_section(rows) == {"b": "warn"}


def judged(verdict, limit=0.03):
    value = {"pass": 0.0, "warn": 0.04, "fail": 0.2, "info": 0.0}[verdict]
    one = row("bias", f"bias {verdict}", section="a", value=(value, 0.001), floor=None, limit=limit)
    assert one.verdict == verdict
    return one


def test_summary_names_what_is_worst():
    information = judged("info", None)
    assert summary([judged("pass"), information]) == ("pass", "1 of 1 requirements are met.")
    kind, text = summary([judged("fail"), judged("pass"), judged("warn"), information])
    assert kind == "fail"
    assert text == "1 of 3 requirements are met; look closer: bias warn; not good enough: bias fail."


def test_tally_counts_what_is_not_good():
    assert tally([judged("pass")]) == ("pass", "1 of 1 requirements are met.")
    assert tally([judged("warn"), judged("pass")]) == (
        "warn",
        "1 of 2 requirements are met; look closer: 1.",
    )
    rows = [judged("fail"), judged("fail"), judged("warn"), judged("info", None)]
    assert tally(rows) == (
        "fail",
        "0 of 3 requirements are met; not good enough: 2; look closer: 1.",
    )
    assert tally(rows[-1:]) == ("info", "No number has a limit: all are for information.")
    assert summary(rows[-1:]) == ("info", "no number has a limit: all are for information.")


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
