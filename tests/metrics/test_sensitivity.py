"""Does each metric see the differences that it claims to see, and none between two halves of the same showers?

`METRICS` says for each metric which of the `DISTORTIONS` it sees and to which it is blind; for the others there is no
promise. A distance that is never zero is compared with its value between random halves of the showers before the
distortion; a metric with an ideal value, with this value and the metric's own uncertainty.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from hepgan import metrics
from hepgan.data.reading import read
from hepgan.metrics import cells as of_cells
from hepgan.metrics.groups import jackknife, random_groups
from hepgan.toys.mixtures import RING_SIGMA, ring, ring_centres
from hepgan.transforms.shower_shapes import ShowerShapes, challenge_low_level

EVENTS = 5000  # showers of either half; the 2000 that are left teach the "generator"
LIMIT = 3.0  # standard deviations
SHARE = 0.05  # of showers that are copies
KINDS = 50  # of showers that a collapsed generator knows
MOST_SPREADS = 10.0  # as in the comparison of samples
MEV = np.float32(1000)  # in a GeV


# Samples and distortions


@dataclass(frozen=True)
class Showers:
    """Cells (N, 504) and overflow (N, 3) in MeV, incident energy (N,) in GeV, shower shapes (N, F)."""

    cells: np.ndarray
    overflow: np.ndarray
    energy: np.ndarray
    shapes: np.ndarray

    def __len__(self):
        return len(self.cells)

    def __getitem__(self, rows):
        return Showers(self.cells[rows], self.overflow[rows], self.energy[rows], self.shapes[rows])

    @property
    def points(self):
        return np.column_stack([self.shapes, self.energy])

    @property
    def response(self):
        return self.shapes[:, 0]

    @property
    def depth(self):
        return self.shapes[:, 1]


@dataclass(frozen=True, eq=False)
class Three:
    """Input of a metric: the sample, an independent reference, and the showers its generator was trained with."""

    sample: Showers
    reference: Showers
    training: Showers
    module: ShowerShapes

    def shaped(self, cells, overflow, energy):
        arrays = cells, overflow, MEV * energy
        shapes = self.module(*map(torch.from_numpy, arrays)).double().numpy()
        return Showers(cells, overflow, energy, shapes)

    def with_sample(self, sample):
        return Three(sample, self.reference, self.training, self.module)

    def halved(self, rng):
        """Sample and reference, mixed and divided again at random."""
        order = rng.permutation(len(self.reference) + len(self.sample))
        both = joined(self.reference, self.sample)
        split = len(self.reference)
        return Three(both[order[split:]], both[order[:split]], self.training, self.module)

    @property
    def layer(self):
        """The columns of layer_1."""
        return self.module.calorimeter.slices()[1]

    @property
    def cells(self):
        return self.sample.cells[:, self.layer], self.reference.cells[:, self.layer]

    @property
    def points(self):
        """Shapes and incident energy of sample and reference, in spreads of the reference."""
        y, x = self.sample.points, self.reference.points
        centre, scale = x.mean(0), x.std(0)
        return tuple(np.clip((z - centre) / scale, -MOST_SPREADS, MOST_SPREADS) for z in (y, x))


def joined(first, second):
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return Showers(*(np.concatenate(pair) for pair in pairs))


def repeated(n, rng):
    """Rows of which a share is replaced by others."""
    rows, changed, number = np.arange(n), rng.permutation(n), int(SHARE * n)
    rows[changed[:number]] = changed[number : 2 * number]
    return rows


def one_cell(rank):
    """A cell of layer_1 times 1.2, by its rank in mean energy: 0 the coldest, -1 the hottest."""

    def distort(three):
        cells = three.sample.cells.copy()
        order = np.argsort(three.reference.cells[:, three.layer].mean(0))
        cells[:, three.layer.start + order[rank]] *= np.float32(1.2)
        return three.shaped(cells, three.sample.overflow, three.sample.energy)

    return distort


def scaled(three):
    s, factor = three.sample, np.float32(1.01)
    return three.shaped(s.cells * factor, s.overflow * factor, s.energy)


DISTORTIONS: dict[str, Callable[[Three], Showers]] = {
    "nothing": lambda three: three.sample,
    "hot cell": one_cell(-1),
    "cold cell": one_cell(0),
    "scale": scaled,
    "no late": lambda three: three.sample[three.sample.depth < np.quantile(three.sample.depth, 0.9)],
    "duplicated": lambda three: three.sample[repeated(len(three.sample), np.random.default_rng(5))],
    "copied": lambda three: joined(
        three.sample[int(SHARE * EVENTS) :], three.training[: int(SHARE * EVENTS)]
    ),
    "collapsed": lambda three: three.sample[np.random.default_rng(6).integers(0, KINDS, EVENTS)],
}
"""Of the sample: nothing; the hottest or coldest cell of layer_1 times 1.2; all energies times 1.01; the latest 10 % of
the showers left out; 5 % replaced by copies of others; 5 % replaced by training showers; 50 showers again and again."""


@pytest.fixture(scope="module")
def showers(sample_config):
    events = read(sample_config)
    module = ShowerShapes(sample_config.calorimeter.calorimeter(), n_overflow=events.overflow.shape[1])
    order = np.random.default_rng(4).permutation(len(events))
    nothing = Three(None, None, None, module)
    every = nothing.shaped(events.cells, events.overflow, events.conditions[:, 0])[order]
    return Three(every[EVENTS : 2 * EVENTS], every[:EVENTS], every[2 * EVENTS :], module)


# Metrics


@dataclass(frozen=True)
class Row:
    """A metric of `METRICS`.

    Attributes:
        measure: Value and uncertainty.
        ideal: Value between equal distributions; None: that of random halves.
        sees: Distortions that it must see.
        blind: Distortions that it must not see.
        halvings: Random halves that give mean and spread, if there is no ideal value.
        sign: -1 if a smaller value is worse.
    """

    measure: Callable[[Three, np.random.Generator], tuple[float, float]]
    ideal: float | None = None
    sees: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    halvings: int = 50
    sign: float = 1.0


def of_one(metric, observable="response", **options):
    def measure(three, rng):
        y, x = (getattr(showers, observable) for showers in (three.sample, three.reference))
        return metric(y, x, rng=rng, **options)

    return measure


def of_all(metric, **options):
    def measure(three, rng):
        result = metric(*three.points, rng=rng, **options)
        return getattr(result, "measurement", result)

    return measure


def without_random(metric):
    return lambda *samples, rng, **options: metric(*samples, **options)


def network(three, rng):
    inputs = (
        challenge_low_level(torch.from_numpy(w.cells), torch.from_numpy(MEV * w.energy)).numpy()
        for w in (three.sample, three.reference)
    )
    return metrics.network_test(*inputs, rng=rng, width=64, depth=2, epochs=15, batch_size=100).auc


def memorised(three, rng):
    return metrics.memorisation(
        three.sample.points,
        three.reference.points,
        training=three.training.points,
        rng=rng,
        n_bootstrap=0,
    ).excess


def images(three, rng):
    shape = three.module.calorimeter.layers[1].shape
    return metrics.image_diversity(
        *(x.reshape(-1, *shape) for x in three.cells),
        rng=rng,
        sample_condition=three.sample.energy,
        reference_condition=three.reference.energy,
    ).difference


def spectrum(three, rng):
    sample, reference = three.cells
    edges = of_cells.spectrum_edges(reference)
    of_reference, of_sample = (
        of_cells.spectrum_sums(x, edges, random_groups(len(x), rng)) for x in (reference, sample)
    )
    return tuple(map(float, jackknife(of_cells.spectrum_separation, of_sample, of_reference)))


def correlations(three, rng):
    return of_cells.cell_correlation_difference(
        *three.cells,
        rng=rng,
        sample_conditions=three.sample.energy[:, None],
        reference_conditions=three.reference.energy[:, None],
        scale=1.0,
    )


def parzen(three, rng):
    return metrics.parzen_log_likelihood(*three.points, rng=rng, most=2000).measurement


def without_response(three, rng):
    return metrics.two_sample_test(*(x[:, 1:] for x in three.points), rng=rng).auc


KS = without_random(metrics.ks_distance)
TWINS = ("cold cell", "duplicated", "copied")
SHAPES = ("hot cell", "scale", "no late", "collapsed")

METRICS: dict[str, Row] = {
    # one observable
    "separation": Row(
        of_one(metrics.separation_power, n_bootstrap=0), sees=("hot cell", "scale", "collapsed"), blind=TWINS
    ),
    "jensen_shannon": Row(
        of_one(lambda *s, **o: metrics.histogram_divergence("jensen_shannon", *s, n_bootstrap=0, **o)),
        sees=("hot cell", "scale", "collapsed"),
        blind=TWINS,
    ),
    "chi2": Row(
        of_one(lambda *s, rng: metrics.chi2_test(*s).per_ndf),
        ideal=1.0,
        sees=("hot cell", "scale", "collapsed"),
        blind=TWINS,
    ),
    "ks": Row(of_one(KS), sees=("hot cell", "scale", "collapsed"), blind=TWINS),
    "ks of the depth": Row(
        of_one(KS, "depth"), sees=("no late", "collapsed"), blind=("scale", "hot cell", *TWINS)
    ),
    "wasserstein": Row(
        of_one(without_random(metrics.wasserstein)), sees=("hot cell", "scale", "collapsed"), blind=TWINS
    ),
    "single_feature_auc": Row(
        of_one(metrics.single_feature_auc),
        ideal=0.5,
        sees=("hot cell", "scale", "collapsed"),
        blind=("no late", *TWINS),
    ),
    # all of them
    "sliced_wasserstein": Row(of_all(metrics.sliced_wasserstein, projections=50), sees=SHAPES, blind=TWINS),
    "max_sliced_wasserstein": Row(
        of_all(metrics.max_sliced_wasserstein, projections=20), sees=SHAPES, blind=TWINS, halvings=20
    ),
    "ks_projected": Row(of_all(metrics.ks_projected, projections=50), sees=SHAPES, blind=TWINS, halvings=20),
    "earth_movers_distance": Row(
        of_all(metrics.earth_movers_distance, most=700), sees=SHAPES, blind=TWINS, halvings=8
    ),
    "wasserstein_critic": Row(
        of_all(metrics.wasserstein_critic, steps=150, width=64, batch_size=256),
        ideal=0.0,
        sees=SHAPES,
        blind=TWINS,
    ),
    "mmd": Row(
        of_all(metrics.mmd, most=1500, permutations=0),
        ideal=0.0,
        sees=("hot cell", "scale", "collapsed"),
        blind=TWINS,
    ),
    "fpd": Row(
        of_all(metrics.frechet_physics_distance, smallest_size=1000, largest_size=5000, points=4, batches=5),
        sees=SHAPES,
        blind=TWINS,
    ),
    "kpd": Row(
        of_all(metrics.kernel_physics_distance, size=1500), ideal=0.0, sees=("hot cell", "scale"), blind=TWINS
    ),
    "two_sample_test": Row(
        of_all(lambda *s, **o: metrics.two_sample_test(*s, **o).auc),
        ideal=0.5,
        sees=SHAPES,
        blind=("cold cell", "copied"),  # duplicates are in training and test folds: they add 0.01 to 0.02
    ),
    "two_sample_test, no response": Row(
        without_response, ideal=0.5, sees=("hot cell", "no late", "collapsed"), blind=("cold cell",)
    ),
    "parzen_log_likelihood": Row(
        parzen, sign=-1.0, sees=("hot cell", "scale", "collapsed"), blind=("no late", *TWINS), halvings=20
    ),
    # cells
    "network_test": Row(network, ideal=0.5, sees=("hot cell", "collapsed"), blind=("scale", "duplicated")),
    "spectrum of cells": Row(spectrum, sees=("no late", "collapsed"), blind=("cold cell", "scale")),
    "correlations of cells": Row(
        correlations, sees=("collapsed",), blind=("hot cell", "cold cell", "scale", "copied"), halvings=20
    ),
    # diversity
    "image_diversity": Row(images, ideal=0.0, sees=("collapsed",), blind=("hot cell", "scale", *TWINS)),
    "duplication": Row(
        of_all(lambda *s, **o: metrics.duplication(*s, n_bootstrap=0, **o).excess),
        ideal=0.0,
        sees=("duplicated", "collapsed"),
        blind=("cold cell", "scale", "no late", "copied"),
    ),
    "share_of_repeats": Row(
        lambda three, rng: metrics.share_of_repeats(three.sample.cells),
        ideal=0.0,
        sees=("duplicated", "collapsed"),
        blind=("hot cell", "cold cell", "scale", "no late", "copied"),
    ),
    "share_of_copies": Row(
        lambda three, rng: metrics.share_of_copies(three.sample.cells, three.training.cells),
        ideal=0.0,
        sees=("copied",),
        blind=("hot cell", "cold cell", "scale", "no late", "duplicated", "collapsed"),
    ),
    "memorisation": Row(memorised, ideal=0.0, sees=("copied",), blind=("cold cell", "no late", "duplicated")),
}


@cache
def floor(name, showers):
    """Mean and spread between random halves, the latter with the uncertainty of the former."""
    row = METRICS[name]
    values = []
    for k in range(row.halvings):
        rng = np.random.default_rng([8, k])
        values.append(row.measure(showers.halved(rng), rng)[0])
    return np.mean(values), np.std(values, ddof=1) * np.sqrt(1 + 1 / len(values))


def deviation(name, distortion, showers):
    """How far the metric of the distorted sample is from that of equal distributions, and one standard deviation."""
    row = METRICS[name]
    given = showers.with_sample(DISTORTIONS[distortion](showers))
    value, uncertainty = row.measure(given, np.random.default_rng(9))
    ideal = row.ideal
    if ideal is None:
        ideal, uncertainty = floor(name, showers)
    return row.sign * (value - ideal), uncertainty


@pytest.mark.slow
@pytest.mark.parametrize("name", METRICS)
def test_nothing_is_seen_between_halves(showers, name):
    difference, uncertainty = deviation(name, "nothing", showers)
    assert abs(difference) <= LIMIT * uncertainty
    if METRICS[name].ideal == 0.5 and name != "network_test":  # it judges a fifth of the events only
        assert abs(difference) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "distortion"), [(name, seen) for name, row in METRICS.items() for seen in row.sees]
)
def test_claims_are_kept(showers, name, distortion):
    difference, uncertainty = deviation(name, distortion, showers)
    assert difference > LIMIT * uncertainty


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "distortion"), [(name, unseen) for name, row in METRICS.items() for unseen in row.blind]
)
def test_blind_spots_are_as_said(showers, name, distortion):
    difference, uncertainty = deviation(name, distortion, showers)
    assert abs(difference) <= LIMIT * uncertainty


@pytest.mark.parametrize("distortion", [name for name in DISTORTIONS if name not in ("nothing", "cold cell")])
def test_each_distortion_is_seen_by_some_metric_and_not_by_another(distortion):
    assert any(distortion in row.sees for row in METRICS.values())
    assert any(distortion in row.blind for row in METRICS.values())


# Modes and species that are known


RING = {"centres": ring_centres(), "radius": 3 * RING_SIGMA}


def in_ring(sample):
    return np.column_stack([sample["x"], sample["y"]])


def modes(sample, reference, rng):
    result = metrics.mode_coverage(in_ring(sample), **RING)
    by_chance = (result.modes - 1) / (2 * len(sample["x"]))
    return result.divergence[0] - by_chance, result.divergence[1]


def species(sample, reference, rng):
    return metrics.classifier_score(
        in_ring(sample), in_ring(reference), reference_species=reference["mode"], rng=rng, folds=2
    ).difference


@pytest.mark.parametrize("metric", [modes, species])
def test_a_missing_mode_is_seen_and_duplicates_are_not(metric):
    rng = np.random.default_rng(1)
    reference, sample = ring(2000, rng=rng), ring(2000, rng=rng)
    seen = {}
    for name, rows in {
        "nothing": slice(None),
        "duplicated": repeated(2000, rng),
        "missing": sample["mode"] != 3,
    }.items():
        value, uncertainty = metric({key: column[rows] for key, column in sample.items()}, reference, rng)
        seen[name] = abs(value) > LIMIT * uncertainty
    assert seen == {"nothing": False, "duplicated": False, "missing": True}
    assert metrics.mode_coverage(in_ring(sample)[sample["mode"] != 3], **RING).covered == 7


# Weights


@dataclass(frozen=True)
class Weighted:
    """How a metric is tested with weights.

    Attributes:
        call: From sample, reference, weights of the sample and random numbers to values and uncertainties.
        twice: Whether an event of weight 2 is exactly two events; None: tested elsewhere.
        negative: Whether weights of both signs are tested here.
    """

    call: Callable[..., tuple[np.ndarray, np.ndarray]]
    twice: bool | None = None
    negative: bool = False


def both(metric, *, columns=0, pick=lambda result: result, **options):
    """A metric of two samples, of the first of their features or of all."""

    def call(y, x, weights, rng):
        arguments = (y[:, columns], x[:, columns])
        if "rng" in inspect.signature(metric).parameters:
            return pick(metric(*arguments, rng=rng, sample_weights=weights, **options))
        return pick(metric(*arguments, sample_weights=weights, **options))

    return call


def one(metric):
    return lambda y, x, weights, rng: metric(y[:, 0] + 3, weights)


def roc_area(y, x, weights, rng):
    false_positive, true_positive = metrics.roc_curve(y[:, 0], x[:, 0], sample_weights=weights)
    _, uncertainty = metrics.area_under_curve(y[:, 0], x[:, 0], sample_weights=weights)
    return np.trapezoid(true_positive, false_positive), uncertainty


EDGES = np.linspace(-2, 3, 6)
ALL = slice(None)
WEIGHTS: dict[str, Weighted] = {
    "area_under_curve": Weighted(both(metrics.area_under_curve), twice=True, negative=True),
    "roc_curve": Weighted(roc_area, twice=False, negative=True),
    "single_feature_auc": Weighted(both(metrics.single_feature_auc), twice=False),
    "two_sample_test": Weighted(
        both(metrics.two_sample_test, columns=ALL, folds=3, pick=lambda r: r.auc), twice=False
    ),
    "network_test": Weighted(
        both(
            metrics.network_test,
            columns=ALL,
            width=16,
            depth=2,
            epochs=10,
            batch_size=100,
            pick=lambda r: r.auc,
        ),
        twice=False,
    ),
    "max_sliced_wasserstein": Weighted(
        both(metrics.max_sliced_wasserstein, columns=ALL, projections=10, pick=lambda r: r.measurement),
        twice=False,
    ),
    "ks_in_bins": Weighted(
        lambda y, x, weights, rng: (
            metrics.ks_in_bins(
                y[:, 0],
                x[:, 0],
                sample_condition=y[:, 1],
                reference_condition=x[:, 1],
                edges=np.array([-5.0, 0.0, 5.0]),
                sample_weights=weights,
            ).T
        ),
        twice=True,
        negative=True,
    ),
    "ks_projected": Weighted(both(metrics.ks_projected, columns=ALL), twice=True, negative=True),
    "mean": Weighted(one(metrics.mean), negative=True),
    "relative_spread": Weighted(one(metrics.relative_spread), twice=True, negative=True),
    "profile": Weighted(
        lambda y, x, weights, rng: metrics.profile(y[:, 0], y[:, 1], EDGES, weights=weights).T,
        twice=True,
        negative=True,
    ),
    "histogram": Weighted(
        lambda y, x, weights, rng: (
            metrics.histogram(y[:, 0], EDGES, weights=weights) ** np.array([[1], [0.5]])
        ),
        twice=None,
        negative=True,
    ),
}
TWICE, NEGATIVE = "test_weight_two_is_an_event_twice", "test_negative_weights_subtract"
ELSEWHERE: dict[str, tuple[str, str, str]] = {
    "wasserstein": ("distance", TWICE, NEGATIVE),
    "ks_distance": ("ks", TWICE, NEGATIVE),
    "histogram": ("histograms", TWICE, ""),
    "separation_power": ("histograms", TWICE, "test_negative_weights"),
    "histogram_divergence": ("divergences", TWICE, NEGATIVE),
    "chi2_test": ("divergences", TWICE, "test_p_values_are_uniform_for_equal_distributions"),
    "sliced_wasserstein": ("transport", TWICE, NEGATIVE),
    "max_sliced_wasserstein": ("transport", "", NEGATIVE),
    "earth_movers_distance": ("transport", TWICE, "test_exact_distance_refuses_negative_weights"),
    "wasserstein_critic": ("critic", "test_weight_two_is_an_event_twice_on_average", NEGATIVE),
    "mmd": ("kernel", "test_weights_and_duplicates", NEGATIVE),
    "frechet_physics_distance": ("frechet", TWICE, NEGATIVE),
    "kernel_physics_distance": ("frechet", TWICE, NEGATIVE),
    "two_sample_test": ("classifier", "", NEGATIVE),
    "single_feature_auc": ("classifier", "", NEGATIVE),
    "network_test": ("network", "", "test_weights"),
    "reweighting": (
        "ratio",
        "test_weights_of_either_sample_are_honoured",
        "test_negative_weights_are_refused_with_the_reason",
    ),
    "parzen_log_likelihood": ("parzen", TWICE, "test_negative_weights_of_the_sample_are_refused"),
    "memorisation": ("copies", "test_weight_two_is_a_generated_event_twice", NEGATIVE),
    "share_of_copies": (
        "copies",
        "test_share_of_copies_with_weights",
        "test_share_of_copies_with_weights",
    ),
    "image_diversity": (
        "diversity",
        "test_weight_two_is_an_image_twice",
        "test_negative_weights_subtract_images",
    ),
    "mode_coverage": ("diversity", "test_modes_with_weights", "test_modes_with_weights"),
    "classifier_score": ("diversity", "test_score_with_weights", "test_score_with_weights"),
    "correlation_matrix": ("correlation", "test_weights", "test_weights"),
    "efficiency": ("efficiencies", TWICE, "test_negative_weights_subtract_a_background"),
    "mean": ("moments", "test_weight_two_is_an_event_twice_but_one_event_of_statistics", ""),
    "spread": (
        "moments",
        "test_weight_two_is_an_event_twice_but_one_event_of_statistics",
        "test_undefined_spreads",
    ),
}
"""Module of the metric, and its tests of weight 2 and of negative weights ("": here)."""

BY_HAND = {
    "share_of_repeats",
    "duplication",
    "quantile_edges",
    "uniform_edges",
    "correlated_groups",
}


def agree(first, second):
    return np.all(np.abs(first[0] - second[0]) <= LIMIT * np.hypot(first[1], second[1]))


@pytest.mark.parametrize("name", [name for name, row in WEIGHTS.items() if row.twice is not None])
def test_weight_two_is_an_event_twice(name):
    """A third of the sample is shifted: written twice, it is half of the events."""
    rng, row = np.random.default_rng(12), WEIGHTS[name]
    x, y = rng.normal(size=(2, 3000, 3))
    y[:1000] += 2
    weighted, written, ignored = (
        row.call(sample, x, weights, np.random.default_rng(2))
        for sample, weights in (
            (y, np.where(np.arange(3000) < 1000, 2.0, 1.0)),
            (np.concatenate([y, y[:1000]]), None),
            (y, None),
        )
    )
    assert np.allclose(weighted[0], written[0]) if row.twice else agree(weighted, written)
    assert not agree(weighted, ignored)


@pytest.mark.parametrize("name", [name for name, row in WEIGHTS.items() if row.negative])
def test_negative_weights_subtract(name):
    rng, row = np.random.default_rng(13), WEIGHTS[name]
    x, signal = rng.normal(size=(4000, 3)), rng.normal(0.3, 1, (4000, 3))
    mixed = np.concatenate([signal, rng.normal(1.5, 0.7, (6000, 3))])
    signs = np.repeat([1.0, 1.0, -0.5], [4000, 2000, 4000])
    clean, pure, dirty = (
        row.call(sample, x, weights, np.random.default_rng(2))
        for sample, weights in ((mixed, signs), (signal, None), (mixed[:6000], None))
    )
    assert agree(clean, pure)
    assert not agree(dirty, pure)


def test_weights_of_repetitions():
    """An event of weight 2 is one event; written twice it repeats itself, and a copy of weight -1 takes that back."""
    x, y = np.random.default_rng(14).normal(size=(2, 1000, 3))
    half, twice = np.where(np.arange(1000) < 500, 2.0, 1.0), np.concatenate([y, y[:500]])
    assert metrics.share_of_repeats(y, sample_weights=half)[0] == 0
    assert metrics.share_of_repeats(twice)[0] == pytest.approx(1 / 3)
    signs = np.where(np.arange(1500) < 1000, 1.0, -0.5)
    assert metrics.share_of_repeats(twice, sample_weights=signs)[0] == pytest.approx(-250 / 750)
    excess = [
        metrics.duplication(sample, x, rng=np.random.default_rng(k), sample_weights=weights).excess
        for k, (sample, weights) in enumerate([(y, half), (twice, None)])
    ]
    assert abs(excess[0][0]) < LIMIT * excess[0][1]
    assert excess[1][0] > 10 * excess[1][1]


def test_weight_two_is_one_event_of_statistics_for_the_chi2():
    x, y = np.random.default_rng(15).normal([[0.0], [0.1]], 1, (2, 2000))
    plain = metrics.chi2_test(y, x)
    assert metrics.chi2_test(y, x, sample_weights=np.full(2000, 2.0)).chi2 == pytest.approx(plain.chi2)
    assert metrics.chi2_test(np.tile(y, 2), x).chi2 > 1.2 * plain.chi2  # events that were never measured


def test_boosting_remembers_events_that_are_written_twice():
    x, y = np.random.default_rng(17).normal(size=(2, 2000, 5))
    value, uncertainty = metrics.two_sample_test(
        y, x, rng=np.random.default_rng(3), sample_weights=np.full(2000, 2.0)
    ).auc
    assert abs(value - 0.5) < LIMIT * uncertainty
    value, uncertainty = metrics.two_sample_test(np.tile(y, (2, 1)), x, rng=np.random.default_rng(3)).auc
    assert value - 0.5 > 5 * uncertainty


def test_edges_and_groups_with_weights():
    x = np.random.default_rng(16).normal(size=(900, 2))
    weights, twice = np.where(np.arange(900) < 300, 2.0, 1.0), np.concatenate([x, x[:300]])
    signs = np.where(np.arange(900) < 300, -1.0, 1.0)
    for edges in (metrics.quantile_edges, metrics.uniform_edges):
        assert np.allclose(edges(x[:, 0], 8, weights=weights), edges(twice[:, 0], 8))
        assert np.allclose(edges(x[:, 0], 8, weights=signs), edges(x[:, 0], 8, weights=signs.clip(0)))
    pair = np.column_stack([x, x[:, 0] + np.where(signs < 0, 2.0, 0.4) * x[:, 1]])
    assert metrics.correlated_groups(pair) == [[0], [1], [2]]
    assert metrics.correlated_groups(pair, weights=signs.clip(0)) == [[0, 2], [1]]
    assert metrics.correlated_groups(
        np.concatenate([pair, pair[:300]]), weights=np.append(np.ones(900), -np.ones(300))
    ) == [[0, 2], [1]]


def test_weights_of_every_metric_are_tested():
    here = Path(__file__).parent
    for name in metrics.__all__:
        metric = getattr(metrics, name)
        if not inspect.isfunction(metric) or name in BY_HAND:
            continue
        if not any(parameter.endswith("weights") for parameter in inspect.signature(metric).parameters):
            continue
        row, (module, twice, negative) = WEIGHTS.get(name), ELSEWHERE.get(name, ("", "", ""))
        text = (here / f"test_{module}.py").read_text("utf-8") if module else ""
        assert (row is not None and row.twice is not None) or (twice and f"def {twice}(" in text), name
        assert (row is not None and row.negative) or (negative and f"def {negative}(" in text), name
