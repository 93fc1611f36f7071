"""Distances in bins of a condition: a corner that is wrong is found."""

import numpy as np
import pytest
from evaluation.test_distances import events, measured, quick

from hepgan.evaluation.binned import IN_BINS, rows

__all__ = ["quick"]  # the fixture of that module holds here too


def test_a_wrong_corner_is_found_in_the_bins_of_its_condition():
    _, bins = measured(events(2, shift=1.0, above=75), events(1), fast=False)
    for key in ("auc", *IN_BINS):
        distance = bins["P"].distances[key]
        values, floors = np.array(distance.value), np.array(distance.floor)
        assert values[:, 0].argmax() == 3, key
        assert values[3, 0] > floors[3, 0] + 3 * np.hypot(values[3, 1], floors[3, 1]), key
        assert distance.worst == tuple(values[3])
        assert distance.worst_at.endswith("GeV")
    assert bins["P"].distances["ks"].worst_at.startswith("a, P 7")
    # the other condition does not depend on it: a quarter of the events is wrong in each of its bins
    areas = np.array(bins["eta"].distances["auc"].value)[:, 0]
    assert np.ptp(areas) < 0.15
    assert areas.max() < bins["P"].distances["auc"].worst.value
    rows_of_bins = {row.key: row for row in rows(bins)}
    assert rows_of_bins["auc_worst_P"].value == bins["P"].distances["auc"].worst.value
    assert set(rows_of_bins) == {f"{key}_worst_{name}" for key in ("auc", "ks") for name in ("P", "eta")}


def test_a_range_that_was_withheld_is_a_bin_of_its_own():
    second, first = events(2, shift=1.0, above=40), events(1)
    second.outputs[0][second.conditions[:, 0] > 60, 0] -= 1.0  # wrong between 40 and 60 only
    _, bins = measured(second, first, withheld={"P": (40.0, 60.0)})
    table = bins["P"]
    assert table.bins.withheld is not None
    low, high = table.bins.edges[table.bins.withheld]
    assert (low, high) == pytest.approx((40, 60))
    areas = np.array(table.distances["auc"].value)[:, 0]
    assert areas.argmax() == table.bins.withheld
    assert table.distances["auc"].worst_at == "P 40 to 60 GeV, withheld"
    assert bins["eta"].bins.withheld is None
    row = {row.key: row for row in rows(bins)}["auc_withheld_P"]
    assert row.value == areas.max()
    assert row.remark.count("±") == 2  # the bins beside it
