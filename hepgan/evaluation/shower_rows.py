"""Rows of the verdict that only showers have: biases, and the numbers of single cells."""

from __future__ import annotations

from collections.abc import Mapping

from hepgan.evaluation.cells import furthest
from hepgan.evaluation.closures import ShowerClosure
from hepgan.evaluation.records import Number
from hepgan.evaluation.verdict import Row, row

__all__ = ["bias_rows", "cell_rows", "condition_rows"]


def bias_rows(closure: ShowerClosure, limits: Mapping[str, float]) -> list[Row]:
    """Make the rows of response, energy fractions and occupancy, and the row of the resolution, without a limit."""
    rows = [
        row(
            "response_bias_worst",
            f"Response bias, worst of {len(closure.response.bias)} energy bins",
            section="response",
            value=closure.response.worst,
            floor=closure.response.worst_floor,
            limit=limits["response"],
            percent=True,
        )
    ]
    for section, key, label, layers in (
        ("fractions", "fraction", "Mean energy fraction", closure.fractions),
        ("occupancy", "occupancy", "Mean occupancy", closure.occupancy),
    ):
        rows += [
            row(
                f"{key}_bias_{layer}",
                f"{label} bias, {layer}",
                section=section,
                value=numbers.bias,
                floor=numbers.bias_floor,
                limit=limits[section],
                percent=True,
            )
            for layer, numbers in layers.items()
        ]
    resolution = row(
        "resolution_bias_worst",
        f"Resolution bias, worst of {len(closure.resolution.bias)} energy bins",
        section="response",
        value=closure.resolution.worst,
        floor=closure.resolution.worst_floor,
        percent=True,
        remark="spread of the response",
    )
    return [*rows, resolution]


def cell_rows(closure: ShowerClosure) -> list[Row]:
    """Make the rows of single cells, for information, each of the layer where it is furthest above its floor."""
    longitudinal, lateral = closure.profiles.longitudinal, closure.profiles.lateral
    spectra = {name: s for name, s in closure.spectrum.items() if s}
    coefficients = {name: c for name, c in closure.correlations.items() if c}
    rows = []
    for key, metric, section, by_layer, what in (
        (
            "longitudinal_worst",
            "Longitudinal profile",
            "profiles",
            {"": (longitudinal.worst, longitudinal.worst_floor)},
            "largest bias",
        ),
        (
            "lateral_worst",
            "Lateral profile",
            "profiles",
            {name: (profile.worst, profile.worst_floor) for name, profile in lateral.items()},
            "largest bias",
        ),
        (
            "cell_spectrum_worst",
            "Cell spectrum",
            "cells",
            {name: (s.separation, s.separation_floor) for name, s in spectra.items()},
            "separation power",
        ),
        (
            "cell_correlations_worst",
            "Cell correlations, worst layer",
            "correlations",
            {name: (c.difference, c.difference_floor) for name, c in coefficients.items()},
            "mean difference of coefficients",
        ),
    ):
        layer = furthest(by_layer)
        value, floor = by_layer[layer] if layer is not None else (None, None)
        remark = f"{what}, {layer}" if layer else what
        percent = section == "profiles"
        rows.append(
            row(key, metric, section=section, value=value, floor=floor, percent=percent, remark=remark)
        )
    return rows


_JUDGED = 0.01  # share of the energy of a layer from which on its fraction in bins counts as a row


def condition_rows(closure: ShowerClosure) -> list[Row]:
    """Make the rows of showers in bins of the conditions, for information, each of the worst bin."""
    rows = []
    for name, numbers in closure.conditions.items():
        bins = len(numbers.response.bias)
        where = f"worst of {bins} bins of {name}"
        fractions = {
            layer: (values.worst, values.worst_floor)
            for layer, values in numbers.fractions.items()
            if closure.fractions[layer].reference.value > _JUDGED
        }
        layer = furthest(fractions)
        value, floor = fractions[layer] if layer is not None else (None, None)
        rows += [
            row(
                f"response_worst_{name}",
                f"Response bias, {where}",
                section=f"condition-{name}",
                value=numbers.response.worst,
                floor=numbers.response.worst_floor,
                percent=True,
            ),
            row(
                f"fraction_worst_{name}",
                f"Energy fraction bias, {where}",
                section=f"condition-{name}",
                value=value,
                floor=floor,
                percent=True,
                remark=layer or "",
            ),
        ]
    for key, metric, unit in (
        ("centre", "Shower centre", "mm"),
        ("slope", "Slope of the shower axis", "mm/m"),
    ):
        offsets: dict[str, tuple[Number | None, Number | None]] = {
            name: (values.worst, values.worst_floor)
            for name, values in closure.following.items()
            if name.startswith(key)
        }
        if (coordinate := furthest(offsets)) is not None:
            value, floor = offsets[coordinate]
            rows.append(
                row(
                    f"{key}_worst",
                    f"{metric}, worst bin of its expectation",
                    section="following",
                    value=value,
                    floor=floor,
                    unit=unit,
                    remark=f"in {unit}, {coordinate}",
                )
            )
    return rows
