import io
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hepgan.report import figures as plots
from hepgan.report.style import GENERATED, REFERENCE

NAMES = plots.Names(sample="hepgan_run", reference="Geant4 $5")


@pytest.fixture
def rng():
    return np.random.default_rng(21)


def nothing_is_clipped(figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = figure.get_tightbbox(canvas.get_renderer())  # inches; of everything with ink
    width, height = figure.get_size_inches()
    pixel = 1.5 / figure.dpi
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) >= -pixel, drawn


def points(axes):
    return np.concatenate([line.get_xydata() for line in axes.get_lines() if line.get_marker() == "."])


def test_overlays_show_the_ratio_and_lose_nothing(rng):
    reference = rng.normal(size=4000)
    generated = np.concatenate([reference, reference[reference > 0]])  # the upper half twice
    figure = plots.overlays(
        [plots.Overlay("x [mm]", sample=generated, reference=reference)], names=NAMES, bins=20
    )
    lowest, lower, upper = figure.axes
    assert lowest.get_xlabel() == "x [mm]"
    assert upper.get_ylabel() == "share per bin"
    steps = [patch.get_data() for patch in upper.patches if hasattr(patch, "get_data")]
    assert all(step.values.sum() == pytest.approx(1) for step in steps)
    x, ratio = points(lower).T
    assert np.allclose(ratio[x > 0.2], 2 / 1.5, rtol=0.1)
    assert np.allclose(ratio[x < -0.2], 1 / 1.5, rtol=0.1)
    nothing_is_clipped(figure)


def steps(axes):
    """Values and edges of a histogram."""
    return next(patch for patch in axes.patches if hasattr(patch, "get_data")).get_data()


def test_pulls_are_differences_over_their_uncertainties(rng):
    reference, generated = rng.normal(size=(2, 5000))
    figure = plots.overlays([plots.Overlay("x", sample=generated, reference=reference)], names=NAMES, bins=30)
    pull = steps(figure.axes[0]).values
    assert pull.std() == pytest.approx(1, abs=0.4)
    first = np.array([[0.4, 0.03], [0.6, 0.04], [0.0, 0.0], [np.nan, np.nan], [-0.1, 0.06]])
    second = first + np.array([[0.1, 0.01], [-0.9, 0], [0, 0], [0, 0], [0.12, 0.02]])
    edges = np.array([1.0, 2, 3, 4, 5, 6])
    panel = plots.Binned("x", edges=edges, sample=second, reference=first, axis="share", logarithmic=True)
    figure = plots.overlays([panel], names=NAMES)
    lowest, lower, upper = figure.axes
    expected = [0.1 / 0.05, -plots.PULL_LIMIT, 0, 0, 0.12 / 0.1]  # bars end at the frame
    assert steps(lowest).values == pytest.approx(expected)
    assert points(lower)[:, 1] == pytest.approx([1.25])
    assert upper.get_ylim()[0] < -0.1  # a bin that negative weights make negative is drawn
    assert upper.get_ylabel() == "share"
    assert lowest.get_xscale() == "log"
    nothing_is_clipped(figure)


def test_ratios_out_of_range_become_triangles(rng):
    reference = np.repeat([0.5, 1.5, 2.5], [100, 100, 100])
    generated = np.repeat([0.5, 1.5, 2.5], [300, 100, 10])
    figure = plots.overlays([plots.Overlay("n", sample=generated, reference=reference)], names=NAMES, bins=3)
    markers = {line.get_marker(): len(line.get_xdata()) for line in figure.axes[1].get_lines()}
    assert (markers["^"], markers["v"]) == (1, 1)
    assert tuple(figure.axes[1].get_ylim()) == plots.RATIO_LIMITS


def test_overlays_choose_bins_by_the_data(rng):
    decades = np.exp(rng.normal(0, 3, 3000))
    occupancy = rng.binomial(72, 0.3, 3000) / 72
    empty = np.zeros(50)
    panels = [
        plots.Overlay(
            "cell energy [MeV]", sample=decades, reference=decades, totals=(10.0, 10.0), decades=True
        ),
        plots.Overlay("occupancy", sample=occupancy, reference=occupancy),
        plots.Overlay(
            "dead layer",
            sample=empty,
            reference=empty,
            sample_weights=np.ones(50),
            reference_weights=np.ones(50),
        ),
        plots.Overlay("shifted", sample=rng.normal(5, 1, 500), reference=rng.normal(size=500)),
    ]
    figure = plots.overlays(panels, names=NAMES)
    lower = figure.axes[::3]
    assert lower[0].get_xscale() == "log"
    assert lower[1].get_xscale() == "linear"
    edges = steps(figure.axes[5]).edges
    width = np.diff(edges)[0] * 72
    assert width == pytest.approx(round(width))  # every bin holds as many possible values
    assert lower[3].get_xlim()[1] > 5  # far enough to see the sample
    assert figure.axes[2].get_ylabel() == "cells per shower"
    nothing_is_clipped(figure)


def test_profiles(rng):
    energy = np.geomspace(1, 60, 8)
    reference = np.column_stack([np.linspace(0.9, 1, 8), np.full(8, 0.01)])
    generated = reference * 1.02
    panels = [
        plots.Profile("response", sample=generated, reference=reference, band=0.03),
        plots.Profile(
            "zero", sample=generated, reference=0 * reference, curves=[(energy, 2 * energy), (energy, energy)]
        ),
    ]
    figure = plots.profiles(energy, panels, label="incident energy [GeV]", names=NAMES)
    x, ratio = points(figure.axes[0]).T
    assert np.allclose(x, energy)
    assert np.allclose(ratio, 1.02)
    assert figure.axes[0].get_xlabel() == "incident energy [GeV]"
    dotted = [line for line in figure.axes[3].get_lines() if line.get_linestyle() == ":"]
    assert [line.get_ydata()[-1] for line in dotted] == pytest.approx([120, 60])
    assert [line.get_color() for line in dotted] == [GENERATED, REFERENCE]
    nothing_is_clipped(figure)


def test_profiles_of_differences_and_categories():
    shares = np.array([[0.0, 0.01], [0.5, 0.02], [np.nan, np.nan]])
    more = shares + np.array([0.01, 0])
    panels = [
        plots.Profile("DLL > 0", sample=more, reference=shares, band=0.02, difference=True),
        plots.Profile("the same", sample=shares, reference=shares, difference=True),
    ]
    figure = plots.profiles(
        np.arange(3.0), panels, label="species", names=NAMES, logarithmic=False, ticks=["e", "$mu", "K"]
    )
    x, difference = points(figure.axes[0]).T
    assert x.tolist() == [0, 1]  # what is not defined is not drawn
    assert np.allclose(difference, 0.01)  # also where the reference is zero
    assert figure.axes[0].get_ylabel() == "diff."
    low, high = figure.axes[0].get_ylim()
    assert -low == high > 0.02
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["e", r"\$mu", "K"]
    nothing_is_clipped(figure)


def test_long_numbers_on_a_logarithmic_axis_are_powers_of_ten():
    momentum = np.geomspace(2000, 100_000, 5)
    values = np.column_stack([np.ones(5), np.full(5, 0.1)])
    figure = plots.profiles(
        momentum, [plots.Profile("a", sample=values, reference=values)], label="P [MeV]", names=NAMES
    )
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert labels
    assert all("10^{" in label for label in labels)


def test_tails_reach_to_the_last_event(rng):
    values = rng.standard_cauchy(2000)
    figure = plots.overlays([plots.Overlay("x", sample=values, reference=values, tails=True)], names=NAMES)
    lower, _, upper = figure.axes
    assert upper.get_yscale() == "log"
    assert lower.get_xlim() == pytest.approx((values.min(), values.max()))
    nothing_is_clipped(figure)


def test_lines_above_their_floor(rng):
    x = np.geomspace(2000, 100_000, 6)
    floor = np.column_stack([np.full(6, 0.03), np.full(6, 0.005)])
    series = {f"DLL_{k}": np.column_stack([rng.uniform(0, 0.2, 6), np.full(6, 0.01)]) for k in range(7)}
    panels = [
        plots.Lines("P [MeV]", x, series, floor, logarithmic=True),
        plots.Lines("ETA", np.arange(6.0), series, floor),
        plots.Lines("nTracks", np.arange(6.0), series, floor),
        plots.Lines("species", np.arange(6.0), series, floor, ticks=list("abcdef")),
    ]
    figure = plots.lines(panels, axis="KS distance", limit=0.08)
    assert len(figure.axes) == 4
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear", "linear", "linear"]
    highest = max(values.sum(axis=1).max() for values in series.values())
    assert all(axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > highest for axes in figure.axes)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["floor", "limit 0.08", *series]
    nothing_is_clipped(figure)


def test_profiles_may_have_axes_of_their_own():
    values = np.column_stack([[0.3, 0.1, 0.05], [0.01, 0.01, 0.01]])
    panels = [
        plots.Profile("layer 0", sample=values, reference=values, x=np.arange(1.0, 4.0), axis="cells apart"),
        plots.Profile("response", sample=values, reference=values),
    ]
    figure = plots.profiles(np.array([0.1, 0.2, 0.3]), panels, label="P", names=NAMES, logarithmic=False)
    assert [axes.get_xlabel() for axes in figure.axes[::2]] == ["cells apart", "P"]
    assert points(figure.axes[0])[:, 0].tolist() == [1, 2, 3]
    assert points(figure.axes[2])[:, 0].tolist() == [0.1, 0.2, 0.3]
    assert (figure.axes[0].get_xticks() % 1 == 0).all()


def test_matrix_of_many_observables_is_colour_alone():
    r = np.eye(plots.MOST_NUMBERS + 4)
    labels = [f"brightest share layer {k}" for k in range(len(r))]
    figure = plots.matrices(labels, sample=0.5 * r, reference=r, names=NAMES)
    assert not any(axes.texts for axes in figure.axes)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == labels
    nothing_is_clipped(figure)


def test_matrices(rng):
    r = np.array([[1.0, 0.5], [0.5, 1.0]])
    figure = plots.matrices(
        ["RichDLLe", "RichDLL$"], sample=r - [[0, 0.004], [0.004, 0]], reference=r, names=NAMES
    )
    numbers = [[text.get_text() for text in axes.texts] for axes in figure.axes[:3]]
    assert numbers == [["1.00", "0.50", "0.50", "1.00"]] * 2 + [["0.000", "-0.004", "-0.004", "0.000"]]
    nothing_is_clipped(figure)


def test_roc_ranking_and_training(rng):
    scores = rng.uniform(size=100), rng.uniform(size=100) ** 0.5
    figure = plots.roc(
        (np.linspace(0, 1, 5), np.linspace(0, 1, 5) ** 0.5),
        sample_scores=scores[1],
        reference_scores=scores[0],
        auc=(0.612, 0.01),
        names=NAMES,
        sample_weights=(scores[1] < 0.5) * 1.0,
        reference_weights=np.ones(100),
    )
    shares = [patch.get_data().values for patch in figure.axes[1].patches]
    assert [share.sum() for share in shares] == pytest.approx([1, 1])
    assert shares[1][20:].sum() == 0  # weighted away
    assert any("0.612" in text.get_text() for text in figure.axes[0].get_legend().get_texts())
    nothing_is_clipped(figure)

    values = np.array([[0.5, 0.01], [0.9, 0.01], [0.7, 0.01]])
    figure = plots.ranking(["a", "b", "c"], values, 0 * values + 0.5, axis="AUC", start=0.5, most=2)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["c", "b"]  # largest on top
    nothing_is_clipped(figure)

    records = [
        {"step": k, "wasserstein": 2.0 / (k + 1), "distance": 0.1 if k % 2 else None, "auc": 0.7}
        for k in range(6)
    ]
    figure = plots.training_curves(records)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "critic's Wasserstein estimate",
        "physics distance (validation)",
        "AUC of classifiers (validation)",
    ]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear"]
    assert figure.axes[1].get_lines()[0].get_xdata().tolist() == [1, 3, 5]
    nothing_is_clipped(figure)


def test_figures_are_reproducible_and_leave_no_trace(rng):
    before = dict(matplotlib.rcParams)
    values = rng.normal(size=200)
    drawings = [
        plots.svg(plots.overlays([plots.Overlay("x", sample=values, reference=values)], names=NAMES))
        for _ in range(2)
    ]
    assert drawings[0] == drawings[1]
    assert drawings[0].startswith(b"<?xml")
    assert dict(matplotlib.rcParams) == before


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="overlays: expected at least one panel, got none"):
        plots.overlays([], names=NAMES)
    with pytest.raises(ValueError, match="lines: expected at least one panel, got none"):
        plots.lines([], axis="KS")
    with pytest.raises(ValueError, match="profiles: expected at least one panel, got none"):
        plots.profiles(np.ones(2), [], label="E", names=NAMES)
    with pytest.raises(ValueError, match=r"expected lines with step and one of .*'wasserstein'.*, got none"):
        plots.training_curves([{"step": 1, "lr": 0.1}])


def test_svg_is_a_compact_picture_with_all_that_it_refers_to(rng):
    values = rng.normal(size=500)
    figure = plots.overlays([plots.Overlay("x", sample=values, reference=values, tails=True)], names=NAMES)
    text = plots.svg(figure).decode()
    root = ElementTree.fromstring(text)
    defined = {element.get("id") for element in root.iter()} - {None}
    assert set(re.findall(r'(?:href="|url\()#([\w.-]+)', text)) == defined
    classes = set(re.findall(r'class="(\w+)"', text))
    assert classes == set(re.findall(r"\.(s\d+)\{", text))
    assert 'style="' not in text
    plain = io.BytesIO()
    figure.savefig(plain, format="svg")
    assert len(text) < 0.7 * len(plain.getvalue())
