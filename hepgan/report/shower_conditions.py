"""Figures of showers in bins of every condition: response, layer fractions, centre and axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hepgan.evaluation.bins import axes
from hepgan.evaluation.closures import Following, Offsets, ShowerClosure
from hepgan.evaluation.records import Curves, to_array
from hepgan.evaluation.showers import ShowerSetup
from hepgan.report import figures as plots
from hepgan.report.page import Section

__all__ = ["condition_sections"]

_LAYERS = 3  # with most energy, in the figure of a condition

_WITHHELD = " The training saw no event between {:.4g} and {:.4g}."

_TITLES = {
    "centre_x": "centre x [mm]",
    "centre_y": "centre y [mm]",
    "slope_x": "slope in x [mm/m]",
    "slope_y": "slope in y [mm/m]",
}


def _panel(label: str, values: Curves, *, band: float = 0.0) -> plots.Profile:
    return plots.Profile(
        label, sample=to_array(values.sample), reference=to_array(values.reference), band=band
    )


def _offset(name: str, values: Offsets) -> plots.Profile:
    """A coordinate with the difference of what the conditions do not explain below."""
    place: dict[str, object] = {}
    if isinstance(values, Following):
        place = {"x": np.asarray(values.bins.mean), "axis": f"expected {_TITLES[name]}"}
    return plots.Profile(
        _TITLES[name],
        sample=to_array(values.sample),
        reference=to_array(values.reference),
        difference=True,
        below=to_array(values.difference),
        **place,  # type: ignore[arg-type]
    )


def condition_sections(
    setup: ShowerSetup, closure: ShowerClosure, *, names: plots.Names, layers: Sequence[str]
) -> list[Section]:
    """Draw a figure for each condition but the incident energy, and one of centre and axis.

    Args:
        setup: Geometry and settings.
        closure: The numbers of showers.
        names: Names of the samples.
        layers: Names of the layers that are drawn, by depth.
    """
    limits, result = setup.config.limits, []
    by_energy = sorted(layers, key=lambda layer: -closure.fractions[layer].reference.value)
    drawn = [layer for layer in layers if layer in by_energy[:_LAYERS]]
    bins = {name: values.bins for name, values in closure.conditions.items()}
    for axis in axes(setup.data.conditions, bins):
        values = closure.conditions[axis.name]
        panels = [_panel("response E_tot / E_inc", values.response, band=limits["response"])]
        panels += [
            _panel(f"energy fraction {layer}", values.fractions[layer], band=limits["fractions"])
            for layer in drawn
        ]
        panels += [_offset(name, offsets) for name, offsets in values.centre.items()]
        result.append(
            Section(
                f"condition-{axis.name}",
                f"Showers against {axis.name}",
                "Means in bins of this condition. Good: ratios in the blue bands"
                + (
                    ", and differences of the shower's centre at 0 within the errors; a slope below means that the "
                    "sample does not follow the condition."
                    if values.centre
                    else "."
                )
                + (_WITHHELD.format(*axis.withheld) if axis.withheld else ""),
                plots.profiles(
                    axis.x,
                    panels,
                    label=axis.label,
                    names=names,
                    logarithmic=axis.logarithmic,
                    ticks=axis.ticks,
                ),
            )
        )
    if closure.following:
        result.append(
            Section(
                "following",
                "Centre and axis of the shower",
                "Mean position of the energy, and slope of the line through the centres of the layers, in bins of what "
                "the conditions (position, direction, ...) let expect: a polynomial fitted to the reference. Good: "
                "the differences are 0 within the errors; a slope below means showers that do not move, or do not "
                "lean, as far as they should.",
                plots.profiles(
                    np.arange(1.0),
                    [_offset(name, offsets) for name, offsets in closure.following.items()],
                    label="",
                    names=names,
                    logarithmic=False,
                ),
            )
        )
    return result
