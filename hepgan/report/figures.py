"""All figures: functions that take arrays and return a matplotlib `Figure`; nothing is shown or stored here.

Figures are not registered with pyplot: they are freed like any other object, and the functions work in threads and
without a display. One palette throughout: the reference is dark grey, the sample red (`hepgan.report.style`).

=========================== ===============================================================
`hepgan.report.histograms`  histograms of two samples, with ratio and pull
`hepgan.report.dependences` quantities against a condition
`hepgan.report.curves`      ROC curve, rankings, training curves, correlation matrices
`hepgan.report.images`      mean energy of the cells of each layer
=========================== ===============================================================
"""

from hepgan.report.curves import MOST_NUMBERS, matrices, ranking, roc, training_curves
from hepgan.report.dependences import Curve, Lines, Profile, lines, profiles
from hepgan.report.histograms import PULL_BAND, PULL_LIMIT, Binned, Overlay, overlays
from hepgan.report.images import layer_images
from hepgan.report.layout import RATIO_LIMITS, Names
from hepgan.report.style import SERIES, STYLE, styled, svg

__all__ = [
    "MOST_NUMBERS",
    "PULL_BAND",
    "PULL_LIMIT",
    "RATIO_LIMITS",
    "SERIES",
    "STYLE",
    "Binned",
    "Curve",
    "Lines",
    "Names",
    "Overlay",
    "Profile",
    "layer_images",
    "lines",
    "matrices",
    "overlays",
    "profiles",
    "ranking",
    "roc",
    "styled",
    "svg",
    "training_curves",
]
