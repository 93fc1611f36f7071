"""Every label of every figure is inside the figure, and none covers another, also where names are long."""

import itertools
import logging

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hepgan.geometry import Calorimeter
from hepgan.report import figures as plots

RNG = np.random.default_rng(31)
LONG = plots.Names(sample="generated_by_first_run", reference="full_simulation_2026.root")
X = np.geomspace(1.3, 57.0, 8)
SMALL = np.column_stack([np.linspace(0.0011, 0.0042, 8), np.full(8, 2e-5)])
LARGE = SMALL * 1e8
LAYERS = [
    {"shape": (3, 8), "x": (-240, 240), "y": (-240, 240), "z": (0, 1), "name": "electromagnetic_barrel_0"},
    {"shape": (4, 4), "x": (-240, 240), "y": (-240, 240), "z": (1, 2)},
]


def overlays():
    panels = [
        plots.Overlay("energy_ratio barrel_2 [MeV]", sample=values * 1.01, reference=values, decades=k == 1)
        for k, values in enumerate(
            (
                RNG.normal(5000, 1, 2000),
                np.exp(RNG.normal(0, 4, 2000)),
                RNG.normal(-1e-4, 1e-5, 2000),
                RNG.normal(48210, 1500, 2000),
            )
        )
    ]
    return plots.overlays(
        [
            *panels,
            plots.Overlay("tail", sample=panels[0].reference, reference=panels[0].reference, tails=True),
        ],
        names=LONG,
    )


def profiles():
    panels = [
        plots.Profile("resolution (spread / mean)", sample=1.1 * SMALL, reference=SMALL, band=0.03),
        plots.Profile("electromagnetic_barrel_0", sample=8 * LARGE, reference=LARGE),
        plots.Profile("RichDLLmu > 0", sample=1.1 * SMALL, reference=SMALL, difference=True),
        plots.Profile("tied", sample=1.1e-4 * SMALL, reference=1e-4 * SMALL, difference=True),
    ]
    return plots.profiles(2000 * X, panels, label="probe_Brunel_P [MeV/c]", names=LONG)


def categories():
    names = ["electron", "muon", "pion", "kaon", "proton"]
    panels = [plots.Profile("KS distance of RichDLLmu", sample=SMALL[:5], reference=SMALL[:5])] * 3
    return plots.profiles(np.arange(5.0), panels, label="species", names=LONG, logarithmic=False, ticks=names)


def lines():
    series = {f"probe_RichDLL_{k}": (k + 1) * SMALL for k in range(6)}
    panels = [
        plots.Lines("probe_Brunel_P [MeV/c]", 2000 * X, series, SMALL, logarithmic=True),
        plots.Lines("nTracks_Brunel", 50 * X, series, SMALL),
        plots.Lines("species", np.arange(8.0), series, SMALL, ticks=list("abcdefgh")),
    ]
    return plots.lines(panels, axis="KS distance", limit=0.002)


def matrices():
    labels = [f"probe_Brunel_RichDLL_{k}" for k in range(6)]
    r = np.corrcoef(RNG.normal(size=(6, 50)))
    return plots.matrices(labels, sample=r.T * 0.98, reference=r, names=LONG)


def layer_images():
    calorimeter = Calorimeter.from_dicts(LAYERS)
    image = np.exp(RNG.normal(0, 3, calorimeter.n_cells))
    return plots.layer_images(
        calorimeter,
        sample=1.1 * image,
        reference=image,
        names=plots.Names(sample="generated_by_run", reference="Geant4"),
    )


def roc():
    rate = np.linspace(0, 1, 30)
    reference, sample = RNG.uniform(size=(2, 3000))
    return plots.roc(
        (rate, np.sqrt(rate)),
        sample_scores=sample,
        reference_scores=reference,
        auc=(0.66, 0.01),
        names=LONG,
    )


def ranking():
    values = np.column_stack([RNG.uniform(0.5, 1, 30), np.full(30, 0.01)])
    labels = [f"width x electromagnetic barrel {k} [mm]" for k in range(30)]
    return plots.ranking(labels, values, values * 0.9, axis="AUC of one observable", start=0.5)


def training_curves():
    records = [
        {"step": 2500 * k, "distance": 1e-4 * k - 1e-3, "auc": 0.5 + 0.1 / k, "penalty": 1e6 * k}
        | {"wasserstein": 0.1 + 1 / (k + 1)}
        for k in range(1, 60)
    ]
    return plots.training_curves(records)


FIGURES = [overlays, profiles, categories, lines, matrices, layer_images, roc, ranking, training_curves]


def texts(figure: Figure, *, slanted: bool = True):
    """What is written, with its extent in pixels (text, x0, y0, x1, y1); that of slanted text is too large."""
    canvas = FigureCanvasAgg(figure)
    with matplotlib.rc_context(plots.STYLE):
        canvas.draw()
        renderer = canvas.get_renderer()
        written = [*figure.texts]
        legends = [*figure.legends]
        for axes in figure.axes:
            written += [axes.title, axes._left_title, axes._right_title, *axes.texts]
            legends += [axes.get_legend()] if axes.get_legend() else []
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                reach = 1e-6 * (high - low)  # labels of ticks out of sight are there, but not drawn
                written += [axis.get_label(), axis.get_offset_text()]
                written += [
                    tick.label1
                    for tick in axis.get_major_ticks()
                    if low - reach <= tick.get_loc() <= high + reach
                ]
        written += [text for legend in legends for text in legend.get_texts()]
        return [
            (text.get_text(), *text.get_window_extent(renderer).extents)
            for text in written
            if text.get_visible() and text.get_text().strip() and (slanted or text.get_rotation() % 90 == 0)
        ]


def outside(figure: Figure, *, tolerance: float = 1.0) -> list[str]:
    """Texts that reach out of the figure by more than the tolerance in pixels."""
    width, height = figure.bbox.size
    return [
        text for text, x0, y0, x1, y1 in texts(figure) if min(x0, y0, width - x1, height - y1) < -tolerance
    ]


def covered(figure: Figure, *, tolerance: float = 1.0) -> list[tuple[str, str]]:
    """Pairs of texts whose extents overlap by more than the tolerance in pixels, both ways."""
    found = []
    for (a, ax0, ay0, ax1, ay1), (b, bx0, by0, bx1, by1) in itertools.combinations(
        texts(figure, slanted=False), 2
    ):
        across, up = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
        if min(across, up) > tolerance:
            found.append((a, b))
    return found


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_labels_are_inside_and_do_not_cover_each_other(draw):
    figure = draw()
    assert len(texts(figure)) > 10
    assert outside(figure) == []
    assert covered(figure) == []


def test_the_test_sees_clipped_and_covered_labels():
    figure = Figure(figsize=(3, 2))
    axes = figure.add_axes((0.02, 0.3, 0.9, 0.6))
    axes.plot([0, 1], [0, 1])
    axes.set_ylabel("too far left")
    axes.text(0.5, 0.5, "one")
    axes.text(0.52, 0.52, "two")
    assert "too far left" in outside(figure)
    assert covered(figure) == [("one", "two")]


def test_fonts_are_found(caplog):
    with caplog.at_level(logging.WARNING, logger="matplotlib"):
        plots.svg(profiles())
        FigureCanvasAgg(profiles()).draw()  # as a notebook does, out of our style
    assert caplog.messages == []


def test_style_is_that_of_the_experiments():
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure()
        axes = figure.add_subplot()
        axes.plot([0, 1])
        figure.draw_without_rendering()
    tick = axes.xaxis.get_major_ticks()[0]
    assert tick.get_tickdir() == "in"
    assert tick.tick2line.get_visible()
    assert len(axes.xaxis.get_minorticklocs()) > 0
    assert axes.title.get_fontname() == "TeX Gyre Heros"
