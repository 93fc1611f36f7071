import functools

import numpy as np
import pytest

from hepgan.metrics import cells as metric
from hepgan.metrics import correlation_matrix, separation_power
from hepgan.metrics.groups import between_halves, jackknife, random_groups


@pytest.fixture
def rng():
    return np.random.default_rng(71)


def one(n):
    return np.zeros(n, np.intp)


def products(x, terms=None, **more):
    """Sums of products over all showers."""
    terms = metric.smooth_terms(np.empty((len(x), 0))) if terms is None else terms
    return metric.correlation_sums(x, terms, one(len(x)), **more)[0]


def chain(rng, n, cells, r):
    """Gaussian cells whose correlation is r to the power of their distance."""
    x = rng.normal(size=(n, cells))
    for k in range(1, cells):
        x[:, k] = r * x[:, k - 1] + np.sqrt(1 - r**2) * x[:, k]
    return x


# Spectrum


def test_spectrum_spans_the_decades_that_are_there(rng):
    energies = 10 ** rng.uniform(-3, 3, (2000, 4))
    edges = metric.spectrum_edges(energies)
    assert np.allclose(np.diff(np.log10(edges)), 1 / metric.BINS_PER_DECADE)
    assert edges[0] < energies.min() < energies.max() < edges[-1]
    assert len(edges) - 1 == pytest.approx(6 * metric.BINS_PER_DECADE + 2, abs=1)
    sums = metric.spectrum_sums(energies, edges, one(2000))[0]
    assert sums[-1] == 2000
    assert sums[:-1].sum() == energies.size  # nothing is lost
    flat = sums[2:-3]
    assert np.abs(flat / (energies.size / 48) - 1).max() < 5 / np.sqrt(energies.size / 48)
    assert metric.median_energy(sums, edges) == pytest.approx(1, rel=0.4)
    energies[0, 0] = 1e-24
    assert metric.spectrum_edges(energies)[0] > 1e-5  # a step of a nano-volt does not count
    assert metric.spectrum_edges(energies, threshold=1.0)[0] > 0.7
    assert metric.spectrum_edges(np.zeros((3, 2))) is None


def test_cells_below_threshold_and_beyond_the_edges():
    edges = np.geomspace(1, 100, 3)
    cells = np.array([[0, 0.5, 5], [50, 1e6, 0]])
    assert metric.spectrum_sums(cells, edges, one(2))[0].tolist() == [2, 2, 2]
    sums = metric.spectrum_sums(cells, edges, np.array([0, 1]), weights=[2, -1], threshold=1.0)
    assert sums.tolist()[0] == [2, 0, 2]
    assert sums.tolist()[1] == [0, -2, -1]


def test_spectrum_separation_is_the_separation_power(rng):
    reference, sample = 10 ** rng.normal(0, 1, (3000, 2)), 10 ** rng.normal(0.5, 1, (3000, 2))
    edges = metric.spectrum_edges(reference)
    of_reference, of_sample = (
        metric.spectrum_sums(x, edges, random_groups(3000, rng)) for x in (reference, sample)
    )
    value, uncertainty = jackknife(metric.spectrum_separation, of_sample, of_reference)
    expected = separation_power(
        np.log(sample.ravel()), np.log(reference.ravel()), edges=np.log(edges), rng=rng, n_bootstrap=100
    )
    assert value == pytest.approx(expected[0], rel=1e-3)
    assert uncertainty == pytest.approx(expected[1], rel=0.5)
    floor, scatter = between_halves(metric.spectrum_separation, of_reference, rng=rng)
    assert value > floor + 20 * scatter
    assert np.isnan(metric.spectrum_separation(0 * of_sample[0], of_reference[0]))
    assert metric.spectrum_separation(of_reference[0], of_reference[0]) == 0


# Profiles


def test_means_and_their_uncertainties(rng):
    n = 2000
    energy = rng.uniform(1, 10, n)
    cells = energy[:, None] * rng.exponential(np.array([0.1, 0.5]), (n, 2))
    sums = metric.cell_energy_sums(cells, random_groups(n, rng), scale=energy)
    value, uncertainty = jackknife(metric.means, sums)
    assert value == pytest.approx((cells / energy[:, None]).mean(axis=0), rel=1e-5)
    assert uncertainty == pytest.approx(value / np.sqrt(n), rel=0.5)
    assert np.isnan(metric.means(np.array([1.0, 2.0, 0.0]))).all()


def test_a_wider_profile_is_seen(rng):
    n = 4000
    cells = rng.poisson(np.array([100.0, 10.0, 0.001]), (n, 3)).astype(float)
    wider = cells * [1, 1.1, 5]
    reference, sample, same = (
        metric.cell_energy_sums(x, random_groups(len(x), rng)) for x in (cells[::2], wider[1::2], cells[1::2])
    )
    judged = np.array([True, True, False])  # the third cell has next to no energy
    difference = functools.partial(metric.largest_difference, judged=judged)
    value, uncertainty = jackknife(difference, sample, reference)
    assert value == pytest.approx(0.1, abs=4 * uncertainty)
    assert value > 10 * uncertainty
    floor = between_halves(difference, reference, rng=rng)
    assert jackknife(difference, same, reference)[0] < floor[0] + 3 * floor[1]
    bias, error = jackknife(metric.profile_differences, sample, reference)
    assert abs(bias[0]) < 4 * error[0]
    assert bias[1] == pytest.approx(0.1, abs=4 * error[1])  # the sample has more, not less
    nothing = np.array([0.0, 0.0, 0.0, 5.0])
    assert np.isnan(metric.largest_difference(sample[0], nothing, judged=judged))
    assert metric.largest_difference(nothing, reference[0], judged=judged) == 1


def test_rings_hold_cells_and_grow():
    centres = np.arange(-97.5, 100, 5)
    edges = metric.radial_edges(np.abs(centres), 5.0)
    assert edges[:5].tolist() == [0, 5, 10, 15, 20]
    assert edges[-1] > 97.5
    assert (np.diff(edges)[:-1] <= np.diff(edges)[1:] + 1e-9).all()
    sparse = metric.radial_edges([44.7, 72.1, 300.0], 10.0)
    assert (np.histogram([44.7, 72.1, 300.0], sparse)[0] > 0).all()
    assert metric.radial_edges([0.0], 2.0).tolist() == [0, 2]
    with pytest.raises(ValueError, match="step: expected a positive width of the rings, got 0"):
        metric.radial_edges([1.0], 0.0)


# Correlations


def test_correlations_are_those_of_double_precision(rng):
    x = rng.normal(size=(6000, 5)) @ rng.normal(size=(5, 5)) + 100
    weights = rng.uniform(0.5, 2, 6000)
    r, varies = metric.correlations(products(x, weights=weights), 5)
    assert varies.all()
    assert np.allclose(r, correlation_matrix(x, weights)[..., 0], atol=2e-4)


def test_what_conditions_explain_is_taken_out(rng):
    n, r = 20000, 0.4
    energy = rng.uniform(0, 1, (n, 1))
    x = chain(rng, n, 2, r) + 5 * energy**2 * [1, -2]
    assert metric.correlations(products(x), 2)[0][0, 1] < -0.5
    conditions = np.column_stack([energy, np.full(n, 3.0)])  # one that does not vary explains nothing
    assert metric.correlations(products(x, metric.smooth_terms(conditions)), 2)[0][0, 1] == pytest.approx(
        r, abs=4 * (1 - r**2) / np.sqrt(n)
    )


def test_correlation_falls_with_distance(rng):
    n, r = 20000, 0.6
    x = np.concatenate([chain(rng, n, 8, r), chain(rng, n, 8, r)], axis=1)  # two independent rows
    across, along = metric.correlations_by_distance(products(x), (2, 8))
    assert along == pytest.approx(r ** np.arange(1, 7), abs=4 / np.sqrt(n))
    assert across == pytest.approx([0], abs=4 / np.sqrt(8 * n))


def test_distance_on_a_circle(rng):
    noise = rng.normal(size=(10000, 6))
    x = noise + np.roll(noise, 1, axis=1)  # neighbours share half of their variance, the last and first too
    around, radial = metric.correlations_by_distance(products(x), (6, 1), periodic=True)
    assert around == pytest.approx([0.5, 0, 0], abs=0.03)
    assert len(radial) == 0
    straight, _ = metric.correlations_by_distance(products(x), (6, 1))
    assert straight == pytest.approx([0.5, 0, 0, 0], abs=0.03)


def test_independent_cells_are_seen_and_halves_agree(rng):
    n, cells, r = 3000, 10, 0.5
    x = np.exp(chain(rng, n, cells, r))
    y = np.exp(rng.normal(size=(n, cells)))
    group = random_groups(n, rng)
    difference = functools.partial(metric.correlation_difference, n=cells)
    terms = metric.smooth_terms(np.empty((n, 0)))
    reference, sample = (metric.correlation_sums(v, terms, group, scale=1e-6) for v in (x, y))
    value, uncertainty = jackknife(difference, sample, reference)
    apart = np.abs(np.subtract.outer(np.arange(cells), np.arange(cells)))[np.triu_indices(cells, 1)]
    noise = np.sqrt(2 / np.pi) * np.sqrt(2 / n)
    assert value == pytest.approx((r**apart).mean(), abs=noise)
    floor, scatter = between_halves(difference, reference, rng=rng)
    assert floor == pytest.approx(np.sqrt(2) * noise, rel=0.25)
    same = metric.correlation_sums(np.exp(chain(rng, n, cells, r)), terms, group, scale=1e-6)
    assert jackknife(difference, same, reference)[0] < floor + 3 * scatter
    assert value > floor + 20 * scatter
    measured = metric.cell_correlation_difference(y, x, rng=rng, scale=1e-6)
    assert measured[0] == pytest.approx(float(value))
    assert measured[1] == pytest.approx(float(uncertainty), rel=0.6)


def test_uncertainty_of_the_difference_is_its_scatter(rng):
    measured = [
        metric.cell_correlation_difference(chain(rng, 500, 4, 0.2), chain(rng, 500, 4, 0.6), rng=rng)
        for _ in range(60)
    ]
    values, uncertainties = np.array(measured).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.3)


def test_cells_that_do_not_vary(rng):
    x = chain(rng, 1000, 3, 0.5)
    x[:, 1] = 7.0
    r, varies = metric.correlations(products(x), 3)
    assert varies.tolist() == [True, False, True]
    assert r[1].tolist() == [0, 0, 0]
    assert r[0, 2] == pytest.approx(0.25, abs=0.1)
    assert np.isnan(metric.correlation_difference(products(x), products(0 * x), n=3))
    # cells that are dead in the sample only count against it
    assert metric.correlation_difference(products(0 * x[:, ::2]), products(x[:, ::2]), n=2) == pytest.approx(
        r[0, 2], abs=1e-4
    )
    assert np.isnan(metric.cell_correlation_difference(x[:, ::2], 0 * x[:, ::2], rng=rng)[0])
    dead = metric.cell_correlation_difference(0 * x[:, ::2], x[:, ::2], rng=rng)
    assert dead[0] == pytest.approx(r[0, 2], abs=1e-4)
    assert np.isnan(metric.correlations_by_distance(products(0 * x), (3, 1))[0]).all()


# Weights


def test_weight_two_is_a_shower_twice(rng):
    n = 300
    x = np.exp(chain(rng, n, 4, 0.5))
    twice = np.arange(n) < 100
    weights, doubled = np.where(twice, 2.0, 1.0), np.concatenate([x, x[twice]])
    conditions = x.sum(axis=1, keepdims=True)
    edges = metric.spectrum_edges(x)
    for function in (
        lambda v, **w: metric.spectrum_sums(v, edges, one(len(v)), **w),
        lambda v, **w: metric.cell_energy_sums(v, one(len(v)), scale=v[:, 0], **w),
    ):
        assert np.allclose(function(x, weights=weights), function(doubled))
    pair = [
        metric.correlations(products(v, metric.smooth_terms(c), scale=1.0, weights=w), 4)[0]
        for v, c, w in (
            (x, conditions, weights),
            (doubled, np.concatenate([conditions, conditions[twice]]), None),
        )
    ]
    assert np.allclose(*pair, atol=1e-4)


def test_negative_weights_subtract_a_background(rng):
    n = 20000
    signal, background = np.exp(chain(rng, n, 3, 0.5)), np.exp(chain(rng, 2 * n, 3, 0.0) + 2)
    mixed = np.concatenate([signal, background])
    weights = np.repeat([1.0, 1.0, -1.0], n)
    r, varies = metric.correlations(products(mixed, scale=1e-6, weights=weights), 3)
    assert varies.all()
    assert np.allclose(r, metric.correlations(products(signal, scale=1e-6), 3)[0], atol=0.1)
    assert np.abs(metric.correlations(products(mixed, scale=1e-6), 3)[0] - r).max() > 0.1
    edges = metric.spectrum_edges(mixed)
    subtracted = metric.spectrum_sums(mixed, edges, one(3 * n), weights=weights)[0]
    assert 0 <= metric.spectrum_separation(metric.spectrum_sums(signal, edges, one(n))[0], subtracted) < 0.02


@pytest.mark.parametrize(
    ("cells", "group", "weights", "message"),
    [
        (
            np.zeros((0, 3)),
            one(0),
            None,
            r"cells: expected \(N, C\) energies of at least one shower, got shape \(0, 3\)",
        ),
        (np.zeros(3), one(3), None, r"cells: expected \(N, C\) energies .* got shape \(3,\)"),
        (
            np.array([[1.0, np.nan]]),
            one(1),
            None,
            "cells: expected finite energies, got others; remove or repair",
        ),
        (np.ones((2, 3)), one(2), [1.0], r"weights: expected one for each of 2 showers, got shape \(1,\)"),
        (np.ones((2, 3)), one(3), None, r"groups: expected one for each of 2 showers, got shape \(3,\)"),
        (np.ones((2, 3)), one(2), [1.0, -1.0], "weights: expected finite ones with a positive sum, got 0"),
    ],
)
def test_bad_cells(cells, group, weights, message):
    with pytest.raises(ValueError, match=message):
        metric.cell_energy_sums(cells, group, weights=weights)
