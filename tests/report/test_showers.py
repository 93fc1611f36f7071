"""Figures of showers: what there is to see is drawn, and what cannot be drawn is left out."""

import numpy as np
import pytest

from hepgan.config import EvaluationConfig
from hepgan.data.events import Events
from hepgan.evaluation.showers import ShowerSetup
from hepgan.geometry import Calorimeter
from hepgan.report import figures as plots
from hepgan.report.showers import _depths, sections
from hepgan.transforms.shower_shapes import ShowerShapes

NAMES = ("empty", "full")


@pytest.fixture
def setup(sample_config):
    shapes = ShowerShapes(sample_config.calorimeter.calorimeter(), n_overflow=3)
    return ShowerSetup(sample_config, EvaluationConfig(energy_bins=2), False, shapes.calorimeter, shapes)


@pytest.fixture
def figures(monkeypatch, setup):
    """Sections of two samples, and the panels that were drawn."""

    def draw(sample: Events, reference: Events):
        drawn = {"overlays": [], "profiles": []}
        for name, calls in drawn.items():
            function = getattr(plots, name)
            monkeypatch.setattr(
                plots, name, lambda *a, _f=function, _c=calls, **k: (_c.append(a[-1]), _f(*a, **k))[1]
            )
        samples = [setup.sample(*pair) for pair in zip(NAMES, (sample, reference), strict=True)]
        rng = np.random.default_rng(5)
        halves = [np.array_split(rng.permutation(len(reference)), 2)]
        closure = setup.closure(*samples, halves=halves, rng=rng)
        result = sections(*samples, setup, closure)
        return {section.anchor: section for section in result}, drawn

    return draw


def test_figures_of_cells(events, figures, setup):
    result, drawn = figures(events[200:], events[:200])
    assert {"response", "images", "profiles", "energies", "cells", "correlations", "observables"} <= set(
        result
    )
    (longitudinal, *lateral), spectra = drawn["overlays"][0], drawn["overlays"][-1]
    thickness = np.diff(longitudinal.edges)
    assert thickness.tolist() == [90, 347, 43]
    contained = longitudinal.reference[:, 0] @ thickness
    assert contained == pytest.approx(0.99, abs=0.02)  # of the incident energy
    assert [panel.label for panel in lateral] == [f"r layer {k} [mm]" for k in range(3)]
    assert all(
        panel.logarithmic and panel.tails and (panel.edges > 0).all() for panel in [*lateral, *spectra]
    )
    assert lateral[0].reference[0, 0] > 10 * lateral[0].reference[5, 0]
    hits = (events[:200].cells[:, :288] > 0).sum(axis=1).mean()
    assert spectra[0].reference[:, 0].sum() == pytest.approx(hits)
    assert np.log10(spectra[0].edges[-1] / spectra[0].edges[0]) > 6
    distances = drawn["profiles"][-1]
    assert [panel.label for panel in distances[:2]] == ["layer 0, along x", "layer 0, along y"]
    assert [len(panel.x) for panel in distances] == [2, 72, 9, 9, 9, 4]


def test_nothing_of_cells_that_only_one_sample_hits(events, figures):
    full = events[:60]
    cells = full.cells.copy()
    cells[:, 288:] = 0
    empty = Events(full.conditions, (cells, full.overflow), full.weights)
    result, drawn = figures(empty, full)
    assert [panel.label for panel in drawn["overlays"][-1]] == ["cell energy layer 0 [MeV]"]
    result, drawn = figures(full, empty)
    assert [panel.label for panel in drawn["overlays"][0]] == ["depth z [mm]", "r layer 0 [mm]"]
    nothing = Events(full.conditions, (0 * cells, full.overflow + 1), full.weights)
    result, _ = figures(nothing, full)
    assert "cells" not in result
    assert "correlations" not in result


def test_depths_of_layers():
    def calorimeter(*depths):
        return Calorimeter.from_dicts([{"shape": (1, 1), "x": (0, 1), "y": (0, 1), "z": z} for z in depths])

    edges, place = _depths(calorimeter((0, 1), (12, 13), (1, 2)))
    assert edges.tolist() == [0, 1, 2, 12, 13]  # the gap is a bin that stays empty
    assert place.tolist() == [0, 3, 1]
    assert _depths(calorimeter((0, 2), (1, 3))) is None
