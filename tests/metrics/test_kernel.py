import numpy as np
import pytest

from hepgan.metrics.kernel import BANDWIDTHS, median_distance, mmd, pair_mean


@pytest.fixture
def rng():
    return np.random.default_rng(42)


def rbf_of_gaussians(shift, width, bandwidth, features):
    """MMD^2 of N(0, 1) and N(shift, width^2) in each of the features, for the mixture of kernels."""

    def mean_kernel(
        variance, distance, b
    ):  # of a Gaussian difference with this variance and mean in each feature
        return (b**2 / (b**2 + variance)) ** (features / 2) * np.exp(
            -features * distance**2 / (2 * (b**2 + variance))
        )

    terms = [
        mean_kernel(2, 0, b) + mean_kernel(2 * width**2, 0, b) - 2 * mean_kernel(1 + width**2, shift, b)
        for b in np.multiply(BANDWIDTHS, bandwidth)
    ]
    return float(np.mean(terms))


@pytest.mark.parametrize(("shift", "width"), [(0.3, 1.0), (0.0, 1.4), (1.0, 0.7)])
def test_rbf_of_two_gaussians(rng, shift, width):
    x, y = rng.normal(size=(1000, 3)), rng.normal(shift, width, (800, 3))
    result = mmd(y, x, rng=rng, standardise=False, bandwidth=1.5, permutations=0)
    assert result.value == pytest.approx(rbf_of_gaussians(shift, width, 1.5, 3), abs=4 * result.uncertainty)
    assert result.uncertainty < 0.3 * result.value
    assert result.measurement == (result.value, result.uncertainty)
    assert result.p_value == 1


def test_polynomial_kernel_compares_moments(rng):
    # one feature, degree 2: (xy + 1)^2 = x^2 y^2 + 2 x y + 1, so MMD^2 = (E x^2 - E y^2)^2 + 2 (E x - E y)^2
    x, y = rng.normal(0.2, 1, (1500, 1)), rng.normal(0.6, 1.3, (1500, 1))
    options = {"kernel": "polynomial", "standardise": False, "permutations": 0}
    result = mmd(y, x, rng=rng, degree=2, **options)
    expected = (0.2**2 + 1 - 0.6**2 - 1.3**2) ** 2 + 2 * 0.4**2
    assert result.value == pytest.approx(expected, abs=3 * result.uncertainty)
    assert result.uncertainty < 0.3 * expected
    # two points and a uniform of equal mean and variance: the second moments agree, the fourth (1 and 9/5) do not
    x, y = np.sign(rng.normal(size=(1500, 1))), rng.uniform(-np.sqrt(3), np.sqrt(3), (1500, 1))
    blind, seeing = (mmd(y, x, rng=rng, degree=d, **options) for d in (2, 4))
    assert abs(blind.value) < 3 * blind.uncertainty
    assert seeing.value > 3 * seeing.uncertainty


def test_unbiased_estimate_is_the_sum_over_pairs(rng):
    x, y = rng.normal(size=(12, 2)), rng.normal(0.4, 1, (9, 2))
    u, v = rng.uniform(-0.3, 1, 12), rng.uniform(-0.3, 1, 9)

    def kernel(a, b):
        return np.mean([np.exp(-np.sum((a - b) ** 2) / (2 * (0.8 * m) ** 2)) for m in BANDWIDTHS])

    def same(z, w):
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
        top = sum(w[i] * w[j] * kernel(z[i], z[j]) for i, j in pairs)
        return top / sum(w[i] * w[j] for i, j in pairs)

    cross = sum(u[i] * v[j] * kernel(x[i], y[j]) for i in range(12) for j in range(9)) / (u.sum() * v.sum())
    result = mmd(
        y, x, rng=rng, sample_weights=v, reference_weights=u, standardise=False, bandwidth=0.8, permutations=0
    )
    assert result.value == pytest.approx(same(x, u) + same(y, v) - 2 * cross)


def test_pairs_of_different_events_have_no_bias(rng):
    # k(x, y) = x y: the mean over pairs of different events estimates (E x)^2 = 0.09
    values, plain = [], []
    for _ in range(2000):
        x, w = rng.normal(0.3, 1, 8), rng.uniform(0, 2, 8)
        values.append(pair_mean(np.outer(x, x), w))
        plain.append(float((w @ x / w.sum()) ** 2))
    error = np.std(values) / np.sqrt(2000)
    assert np.mean(values) == pytest.approx(0.09, abs=4 * error)
    assert np.mean(plain) > 0.09 + 10 * error


@pytest.mark.parametrize("shift", [0.0, 0.6])
@pytest.mark.parametrize("weighted", [False, True])
def test_uncertainty_is_the_spread_of_repetitions(rng, shift, weighted):
    def once():
        x, y = rng.normal(size=(120, 2)), rng.normal(shift, 1, (100, 2))
        weights = rng.choice([-0.3, 1.0], 100, p=[0.2, 0.8]) if weighted else None
        result = mmd(y, x, rng=rng, standardise=False, bandwidth=1.5, sample_weights=weights, permutations=0)
        return result.measurement

    values, uncertainties = np.array([once() for _ in range(200)]).T
    # for equal distributions the estimate of the uncertainty fluctuates upwards
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.2 if shift else 0.4)
    expected = rbf_of_gaussians(shift, 1.0, 1.5, 2)
    assert values.mean() == pytest.approx(expected, abs=4 * values.std() / np.sqrt(200))


@pytest.mark.parametrize("kind", ["rbf", "polynomial", "weights"])
def test_p_values_are_uniform_for_equal_distributions(rng, kind):
    def once():
        x, y = rng.normal(size=(80, 2)), rng.normal(size=(60, 2))
        if kind != "weights":
            return mmd(y, x, rng=rng, kernel=kind, permutations=59).p_value
        # a sample from elsewhere, weighted to the same distribution
        y = rng.normal(0.3, 1, (120, 2))
        weights = np.exp(-0.5 * (y**2 - (y - 0.3) ** 2).sum(axis=1))
        return mmd(y, x, rng=rng, sample_weights=weights, permutations=59).p_value

    p_values = np.array([once() for _ in range(150)])
    # binomial: 7.5 +- 2.7 and 75 +- 6.1
    assert 1 <= (p_values <= 0.05).sum() <= 16
    assert 55 <= (p_values <= 0.5).sum() <= 95


@pytest.mark.parametrize("kernel", ["rbf", "polynomial"])
def test_differences_are_seen(rng, kernel):
    x = rng.normal(size=(400, 2))
    correlated = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 400)
    for y in (rng.normal(0.4, 1, (400, 2)), rng.normal(0, 1.4, (400, 2)), correlated):
        assert mmd(y, x, rng=rng, kernel=kernel, permutations=99).p_value == 0.01
    weights = np.where(np.arange(400) % 2, 1.0, 0.5)
    weighted = mmd(x + 0.5, x, rng=rng, kernel=kernel, sample_weights=weights, permutations=99)
    assert weighted.p_value == 0.01


def test_two_halves_of_a_sample_agree(rng):
    x = rng.gamma(2.0, size=(6000, 5)) * [1, 1e3, 1e-3, 1, 1]
    result = mmd(x[3000:], x[:3000], rng=rng, most=800)
    assert abs(result.value) < 3 * result.uncertainty
    assert result.p_value > 0.01


def test_features_are_standardised_on_the_reference(rng):
    x, y = rng.normal(size=(300, 2)), rng.normal(0.3, 1, (300, 2))
    scale, offset = np.array([1e3, 1e-2]), np.array([5.0, -1.0])
    plain = mmd(y, x, rng=np.random.default_rng(1))
    scaled = mmd(y * scale + offset, x * scale + offset, rng=np.random.default_rng(1))
    assert scaled.measurement == pytest.approx(plain.measurement)
    narrow = 0.1 * y[:, :1]  # the bandwidth is in spreads of the reference
    options = {"bandwidth": 1.0, "permutations": 0}
    forward = mmd(narrow, x[:, :1], rng=rng, **options).value
    assert forward == pytest.approx(rbf_of_gaussians(0.03, 0.1, 1.0, 1), abs=0.05)
    assert mmd(x[:, :1], narrow, rng=rng, **options).value > 1.5 * forward
    constant = mmd(np.column_stack([y, np.full(300, 7.3)]), np.column_stack([x, np.full(300, 7.3)]), rng=rng)
    assert np.isfinite(constant.value)


def test_weights_and_duplicates(rng):
    # the cross term takes weight 2 as an event twice; pairs within a sample differ by k / N, as documented
    x, y = rng.normal(size=(400, 2)), rng.normal(0.5, 1, (400, 2))
    weights = np.where(np.arange(400) < 100, 2.0, 1.0)
    options = {"rng": rng, "standardise": False, "bandwidth": 1.0, "permutations": 0}
    with_weights = mmd(y, x, sample_weights=weights, **options).value
    doubled = mmd(np.concatenate([y, y[:100]]), x, **options).value
    # 100 pairs of copies, k = 1 instead of the mean kernel: 2 * 100 / 500^2 at most
    assert 0 < doubled - with_weights < 2 * 100 / 500**2
    third = mmd(y, x, sample_weights=np.full(400, 0.3), **options).value
    assert third == pytest.approx(mmd(y, x, **options).value)


def test_negative_weights_subtract(rng):
    signal, background = rng.normal(size=(600, 2)), rng.normal(3, 1, (600, 2))
    sample = np.concatenate([signal, rng.normal(3, 1, (600, 2)), background])
    weights = np.repeat([1.0, 1.0, -1.0], 600)
    reference = rng.normal(size=(600, 2))
    clean = mmd(sample, reference, rng=rng, sample_weights=weights)
    assert abs(clean.value) < 3 * clean.uncertainty
    assert clean.p_value > 0.01
    assert mmd(sample[:1200], reference, rng=rng).value > 0.1


def test_large_samples_are_subsampled(rng):
    x, y = rng.normal(size=(20000, 2)), rng.normal(0.5, 1, (20000, 2))
    few, many = (
        mmd(y, x, rng=rng, bandwidth=1.0, standardise=False, most=n, permutations=0) for n in (200, 1000)
    )
    assert few.value == pytest.approx(many.value, abs=4 * few.uncertainty)
    assert few.uncertainty == pytest.approx(many.uncertainty * np.sqrt(5), rel=0.3)


def test_median_distance(rng):
    # distances of Gaussians in two features: sqrt(2) times Rayleigh
    assert median_distance(rng.normal(size=(1500, 2))) == pytest.approx(2 * np.sqrt(np.log(2)), rel=0.03)
    masses = np.concatenate([np.zeros((90, 1)), np.ones((10, 1))])
    assert median_distance(masses) == pytest.approx(1)


def test_seeded(rng):
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(100, 3))
    first, second = (mmd(y, x, rng=np.random.default_rng(3), most=50) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("sample", "reference", "options", "message"),
    [
        (
            [[0.0], [1.0]],
            [[0.0], [1.0]],
            {"kernel": "linear"},
            "expected kernel 'rbf' or 'polynomial', got 'linear'",
        ),
        (
            [[0.0, 1.0]],
            [[0.0], [1.0]],
            {},
            "expected the same features in both samples, got 2 columns in the sample and 1 in the reference",
        ),
        ([[0.0]], [[0.0], [1.0]], {}, "sample: expected at least two events .* got 1 effective"),
        ([[0.0], [2.0]], [[1.0], [1.0]], {}, "expected different events, got 2 equal ones; give a bandwidth"),
        ([[0.0], [2.0]], [[0.0], [1.0]], {"bandwidth": 0.0}, "expected a positive bandwidth, got 0"),
        ([], [[0.0], [1.0]], {}, "sample: expected an array of 2 dimension"),
        (
            [[0.0], [1.0]],
            [[0.0], [1.0]],
            {"sample_weights": [1, -1]},
            "sample: expected weights with a positive sum",
        ),
    ],
)
def test_bad_input(rng, sample, reference, options, message):
    with pytest.raises(ValueError, match=message):
        mmd(sample, reference, rng=rng, **options)
