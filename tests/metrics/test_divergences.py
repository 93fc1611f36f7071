import math

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare, norm

from hepgan.metrics.divergences import (
    DIVERGENCES,
    chi2_test,
    divergence,
    histogram_divergence,
    histogram_divergences,
)

PARAMETERS = {"weighted_jensen_shannon": {"pi": 0.3}, "alpha": {"alpha": 0.7}}
LATTICE = np.linspace(-14, 14, 40001)


@pytest.fixture
def rng():
    return np.random.default_rng(41)


def gaussian(centre=0.0, width=1.0):
    content = norm.pdf(LATTICE, centre, width)
    return content / content.sum()


def random_pair(rng, bins=12):
    return rng.dirichlet(np.full(bins, 0.7)), rng.dirichlet(np.full(bins, 0.7))


def kl_of_gaussians(a, s, b, t):
    return math.log(t / s) + ((b - a) ** 2 + s**2 - t**2) / (2 * t**2)


@pytest.mark.parametrize(("a", "s", "b", "t"), [(0, 1, 0.5, 1), (0.3, 1.2, -0.4, 1.0), (0, 1, 0, 1.3)])
def test_closed_forms_of_two_gaussians(a, s, b, t):
    p, q = gaussian(a, s), gaussian(b, t)
    close = {"rel": 1e-4}
    kl, reverse = kl_of_gaussians(a, s, b, t), kl_of_gaussians(b, t, a, s)
    assert divergence("kl", q, p) == pytest.approx(kl, **close)
    assert divergence("reverse_kl", q, p) == pytest.approx(reverse, **close)
    assert divergence("jeffrey", q, p) == pytest.approx(kl + reverse, **close)
    affinity = math.sqrt(2 * s * t / (s**2 + t**2)) * math.exp(-((a - b) ** 2) / (4 * (s**2 + t**2)))
    assert divergence("squared_hellinger", q, p) == pytest.approx(2 * (1 - affinity), **close)
    # int q^alpha p^(1 - alpha), Gaussian as long as the variance of the product is positive
    alpha = 0.3
    variance = (1 - alpha) * t**2 + alpha * s**2
    overlap = s**alpha * t ** (1 - alpha) / math.sqrt(variance)
    overlap *= math.exp(-alpha * (1 - alpha) * (a - b) ** 2 / (2 * variance))
    expected = (overlap - 1) / (alpha * (alpha - 1))
    assert divergence("alpha", q, p, alpha=alpha) == pytest.approx(expected, **close)


def test_closed_forms_of_shifted_gaussians():
    shift = 0.8
    p, q = gaussian(0), gaussian(shift)
    assert divergence("total_variation", q, p) == pytest.approx(2 * norm.cdf(shift / 2) - 1, rel=1e-5)
    for name in ("pearson", "neyman"):
        assert divergence(name, q, p) == pytest.approx(math.exp(shift**2) - 1, rel=1e-4)


def test_pearson_and_neyman_are_not_exchanged():
    # int q^2 / p of centred Gaussians is s^2 / (t sqrt(2 s^2 - t^2)), of the narrow over the wide one
    s, t = 1.3, 1.0
    expected = s**2 / (t * math.sqrt(2 * s**2 - t**2)) - 1
    assert divergence("pearson", gaussian(0, t), gaussian(0, s)) == pytest.approx(expected, rel=1e-4)
    assert divergence("neyman", gaussian(0, s), gaussian(0, t)) == pytest.approx(expected, rel=1e-4)
    assert divergence("neyman", gaussian(0, t), gaussian(0, s)) > 1.05 * expected


@pytest.mark.parametrize("name", DIVERGENCES)
def test_every_row_keeps_its_promises(rng, name):
    row, parameters = DIVERGENCES[name], PARAMETERS.get(name, {})
    for _ in range(50):
        p, q = random_pair(rng)
        value, swapped = divergence(name, q, p, **parameters), divergence(name, p, q, **parameters)
        assert row.lower < value <= row.upper(**parameters)
        assert (abs(value - swapped) < 1e-12) == row.symmetric
        joined = divergence(name, q.reshape(-1, 2).sum(1), p.reshape(-1, 2).sum(1), **parameters)
        assert joined <= value + 1e-12  # what is merged cannot be told apart
        assert divergence(name, p, p, **parameters) == pytest.approx(row.lower, abs=1e-12)
    apart = divergence(name, [0, 1, 0], [1, 0, 0], **parameters)
    assert apart == pytest.approx(row.upper(**parameters), abs=1e-12)


def test_known_inequalities_and_identities(rng):
    for _ in range(200):
        p, q = random_pair(rng)
        d = {name: divergence(name, q, p) for name in DIVERGENCES}
        tv, hellinger, kl, js = d["total_variation"], d["squared_hellinger"], d["kl"], d["jensen_shannon"]
        assert 2 * tv**2 <= kl  # Pinsker
        assert tv <= math.sqrt(1 - math.exp(-kl))  # Bretagnolle and Huber
        assert hellinger / 2 <= tv <= math.sqrt(hellinger * (1 - hellinger / 4))  # Le Cam
        assert hellinger <= kl <= math.log1p(d["neyman"]) <= d["neyman"]
        assert d["reverse_kl"] <= math.log1p(d["pearson"])
        assert tv**2 / 2 <= js <= tv * math.log(2)
        assert js <= d["jeffrey"] / 4
        assert d["jeffrey"] == pytest.approx(kl + d["reverse_kl"])
        assert d["gan"] == pytest.approx(2 * js - math.log(4))
        assert d["weighted_jensen_shannon"] == pytest.approx(js)
        assert divergence("alpha", q, p, alpha=2) == pytest.approx(d["pearson"] / 2)
        assert divergence("alpha", q, p, alpha=-1) == pytest.approx(d["neyman"] / 2)
        assert divergence("alpha", q, p, alpha=0.5) == pytest.approx(2 * hellinger)
        assert divergence("alpha", q, p, alpha=0) == pytest.approx(kl)
        assert divergence("alpha", q, p, alpha=1) == pytest.approx(d["reverse_kl"])


def test_limits_of_alpha_and_pi():
    p, q = gaussian(0, 1), gaussian(0.4, 1.2)
    kl, reverse = divergence("kl", q, p), divergence("reverse_kl", q, p)
    assert divergence("alpha", q, p, alpha=1e-4) == pytest.approx(kl, rel=1e-3)
    assert divergence("alpha", q, p, alpha=1 - 1e-4) == pytest.approx(reverse, rel=1e-3)
    assert divergence("weighted_jensen_shannon", q, p, pi=1e-4) / 1e-4 == pytest.approx(kl, rel=1e-2)
    assert divergence("weighted_jensen_shannon", q, p, pi=1 - 1e-4) / 1e-4 == pytest.approx(reverse, rel=1e-2)


def test_an_empty_bin_is_infinite_on_one_side_only():
    full, lacking = [0.5, 0.3, 0.2], [0.6, 0.4, 0.0]
    for name in ("kl", "neyman"):
        assert divergence(name, lacking, full) == math.inf
        assert math.isfinite(divergence(name, full, lacking))
    for name in ("reverse_kl", "pearson"):
        assert math.isfinite(divergence(name, lacking, full))
        assert divergence(name, full, lacking) == math.inf
    assert divergence("alpha", lacking, full, alpha=-0.5) == math.inf
    assert math.isfinite(divergence("alpha", lacking, full, alpha=1.5))
    assert divergence("alpha", full, lacking, alpha=1.5) == math.inf
    assert divergence("kl", [0.4, 0.6, 0], [0.5, 0.5, 0]) == divergence("kl", [0.4, 0.6], [0.5, 0.5])


@pytest.mark.parametrize("name", DIVERGENCES)
def test_samples_converge_to_the_closed_form(rng, name):
    edges = np.linspace(-2.5, 3, 26)
    outer = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    p, q = np.diff(norm.cdf(outer)), np.diff(norm.cdf(outer, 0.5))
    parameters = PARAMETERS.get(name, {})
    expected = divergence(name, q, p, **parameters)
    x, y = rng.normal(size=40000), rng.normal(0.5, 1, 40000)
    value, uncertainty = histogram_divergence(name, y, x, rng=rng, edges=edges, **parameters)
    assert value == pytest.approx(expected, abs=4 * uncertainty)
    assert 0 < uncertainty < 0.1 * (value - DIVERGENCES[name].lower)


@pytest.mark.parametrize("name", ["kl", "neyman", "total_variation"])
def test_uncertainty_is_the_spread_of_repetitions(rng, name):
    edges = np.linspace(-2, 3, 11)
    repeated = [
        histogram_divergence(name, rng.normal(0.6, 1, 1500), rng.normal(size=1500), rng=rng, edges=edges)
        for _ in range(150)
    ]
    values, uncertainties = np.array(repeated).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.25)


def test_equal_distributions_have_the_known_bias(rng):
    # half a chi-square of B - 1 degrees of freedom, times the curvature f''(1)
    bins, n, m = 20, 2000, 1000
    for name, curvature in (("kl", 1), ("pearson", 2), ("jensen_shannon", 0.25)):
        values = [
            histogram_divergence(
                name, rng.normal(size=m), rng.normal(size=n), rng=rng, bins=bins, n_bootstrap=0
            )[0]
            for _ in range(150)
        ]
        assert np.mean(values) == pytest.approx(curvature * (bins - 1) * (1 / n + 1 / m) / 2, rel=0.15)


def test_weight_two_is_an_event_twice(rng):
    reference, sample = rng.normal(size=400), rng.normal(0.3, 1, 400)
    weights = np.where(np.arange(400) < 100, 2.0, 1.0)
    doubled = np.concatenate([sample, sample[:100]])
    for name in DIVERGENCES:
        both = (
            histogram_divergence(name, sample, reference, rng=rng, bins=8, sample_weights=weights)[0],
            histogram_divergence(name, doubled, reference, rng=rng, bins=8)[0],
        )
        assert both[0] == pytest.approx(both[1])
    edges = np.linspace(-2, 2, 9)
    scaled = chi2_test(
        sample,
        reference,
        edges=edges,
        sample_weights=np.full(400, 0.1),
        reference_weights=np.full(400, 3.0),
    )
    assert scaled.chi2 == pytest.approx(chi2_test(sample, reference, edges=edges).chi2)


def test_negative_weights_subtract(rng):
    signal, background = rng.normal(size=20000), rng.normal(2, 0.5, 20000)
    sample = np.concatenate([signal, background, rng.normal(2, 0.5, 20000)])
    weights = np.repeat([1.0, 1.0, -1.0], 20000)
    reference = rng.normal(size=20000)
    for name, row in DIVERGENCES.items():
        dirty = histogram_divergence(name, sample[:40000], reference, rng=rng, bins=20)
        clean = histogram_divergence(name, sample, reference, rng=rng, bins=20, sample_weights=weights)
        assert 0 <= clean[0] - row.lower < 0.05 * (dirty[0] - row.lower)
    joined = histogram_divergence(
        "kl",
        np.arange(3) + 0.5,
        np.arange(3) + 0.5,
        rng=rng,
        edges=np.arange(4.0),
        sample_weights=[2, -0.5, 1],
    )
    assert joined[0] == pytest.approx(divergence("kl", [0.6, 0.4], [2 / 3, 1 / 3]))


def test_a_lost_mode_is_large_but_finite(rng):
    reference = np.concatenate([rng.normal(-3, 0.5, 5000), rng.normal(3, 0.5, 5000)])
    sample = reference[:5000]
    lost, invented = (
        histogram_divergence(name, sample, reference, rng=rng)[0] for name in ("kl", "reverse_kl")
    )
    assert invented == pytest.approx(math.log(2), rel=0.05)
    assert math.isfinite(lost)
    assert lost > 2  # half of p times ln(p / half an event)
    # without overlap it does not fall back to zero, and grows with the number of events
    apart = [
        histogram_divergence("kl", reference[:n] + 50, reference[:n], rng=rng, bins=10)[0]
        for n in (300, 3000)
    ]
    assert apart[1] - apart[0] == pytest.approx(0.9 * math.log(10), rel=0.02)  # nine of ten bins are empty


def test_a_handful_of_events(rng):
    value, uncertainty = histogram_divergence(
        "jensen_shannon", [2.0], [1.0], rng=rng, edges=np.arange(0.5, 4)
    )
    assert (value, uncertainty) == (pytest.approx(math.log(2)), pytest.approx(0))
    assert histogram_divergence("kl", [1.0], [1.0, 1.0], rng=rng)[0] == 0


@pytest.mark.parametrize(
    ("name", "reference", "sample", "parameters", "message"),
    [
        ("kullback", [1.0], [1.0], {}, r"expected one of \['total_variation', .*got 'kullback'"),
        ("kl", [1.0], [1.0], {"alpha": 1}, r"divergence kl: expected parameters \[\], got 'alpha'"),
        ("weighted_jensen_shannon", [1.0], [1.0], {"pi": 1.0}, "expected pi between 0 and 1, got 1"),
        ("kl", [1.0], [0.5, 0.5], {}, r"same bins, got shapes \(2,\) and \(1,\)"),
        (
            "kl",
            [1.0, 2.0],
            [0.5, 0.5],
            {},
            "expected a reference without negative bins and with sum 1, .* a sum of 3",
        ),
        ("kl", [0.5, 0.5], [1.5, -0.5], {}, "expected a sample .* got a smallest bin of -0.5"),
        ("kl", [np.nan, 0.5], [0.5, 0.5], {}, "expected a reference without negative bins"),
        ("kl", [], [], {}, "and a sum of 0"),
    ],
)
def test_bad_input(name, reference, sample, parameters, message):
    with pytest.raises(ValueError, match=message):
        divergence(name, sample, reference, **parameters)


def test_bad_samples(rng):
    with pytest.raises(ValueError, match="sample: expected at least one event, got none"):
        histogram_divergence("kl", [], [1.0], rng=rng)
    with pytest.raises(ValueError, match="reference: expected weights with a positive sum, got -1"):
        chi2_test([1.0], [1.0], reference_weights=[-1.0])


def test_chi2_without_weights_is_that_of_a_table(rng):
    edges = np.linspace(-2, 2, 9)
    x, y = rng.normal(size=500), rng.normal(0.1, 1, 900)
    outer = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    table = [np.histogram(v, outer)[0] for v in (x, y)]
    expected = chi2_contingency(table)
    result = chi2_test(y, x, edges=edges)
    assert (result.chi2, result.ndf) == (pytest.approx(expected.statistic), expected.dof)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert result.per_ndf == (pytest.approx(expected.statistic / 7), pytest.approx(math.sqrt(2 / 7)))


@pytest.mark.parametrize("kind", ["plain", "sizes", "weights", "negative"])
def test_p_values_are_uniform_for_equal_distributions(rng, kind):
    def once():
        x = rng.normal(size=2000)
        if kind == "plain":
            return chi2_test(rng.normal(size=2000), x, bins=20)
        if kind == "sizes":  # a few events a bin
            return chi2_test(rng.normal(size=150), x, bins=20)
        if kind == "weights":  # that depend on the observable
            y = rng.normal(0.5, 1.2, 2000)
            return chi2_test(y, x, bins=20, sample_weights=norm.pdf(y) / norm.pdf(y, 0.5, 1.2))
        return chi2_test(
            rng.normal(size=2000), x, bins=20, sample_weights=rng.choice([-0.3, 1], 2000, p=[0.2, 0.8])
        )

    results = [once() for _ in range(300)]
    assert np.mean([r.per_ndf[0] for r in results]) == pytest.approx(1, abs=0.06)
    counts = np.histogram([r.p_value for r in results], np.linspace(0, 1, 6))[0]
    assert chisquare(counts).pvalue > 1e-3


def test_chi2_sees_a_shift_and_one_bin_says_nothing(rng):
    x = rng.normal(size=5000)
    assert chi2_test(rng.normal(0.2, 1, 5000), x).p_value < 1e-6
    single = chi2_test([1.0], [1.0, 1.0])
    assert (single.chi2, single.ndf, single.p_value, single.per_ndf) == (0, 0, 1, (0, 0))


def test_the_whole_table_at_once_is_each_of_its_rows(rng):
    x, y = rng.normal(size=400), rng.normal(0.2, 1, 300)
    shared = {"bins": 15, "n_bootstrap": 10, "sample_weights": rng.choice([-0.5, 1.0], 300, p=[0.1, 0.9])}
    table = histogram_divergences(y, x, rng=np.random.default_rng(3), **shared)
    assert list(table) == list(DIVERGENCES)
    for name, measured in table.items():
        assert measured == histogram_divergence(name, y, x, rng=np.random.default_rng(3), **shared)
        assert measured[1] > 0
