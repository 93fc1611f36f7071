"""Figures of showers: those that cannot be drawn are left out."""

from hepgan.comparison_showers import ShowerSetup
from hepgan.config import EvaluationConfig
from hepgan.features import ShowerShapes
from hepgan.readers import Events
from hepgan.sections_showers import _cell_spectra


def test_no_spectrum_of_cells_that_only_one_sample_hits(events, sample_config):
    full = events[:20]
    empty = Events(full.conditions, (full.cells * 0, full.overflow + 1), full.weights)
    shapes = ShowerShapes(sample_config.calorimeter.calorimeter(), n_overflow=3)
    setup = ShowerSetup(sample_config, EvaluationConfig(), False, shapes.calorimeter, shapes)
    samples = [setup.sample(name, showers) for name, showers in (("full", full), ("empty", empty))]
    assert _cell_spectra(*samples, setup, layers=[0, 1, 2]) == []
    (section,) = _cell_spectra(samples[0], samples[0], setup, layers=[1])
    assert section.anchor == "cells"
