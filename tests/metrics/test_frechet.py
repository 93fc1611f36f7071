import numpy as np
import pytest
from scipy.linalg import sqrtm

from hepgan.metrics.frechet import frechet_distance, frechet_physics_distance, kernel_physics_distance

QUICK = {"smallest_size": 400, "largest_size": 1000, "points": 4, "batches": 10}
MEDIUM = {"points": 4, "batches": 8}
QUICK_KERNEL = {"size": 300, "batches": 10}


@pytest.fixture
def rng():
    return np.random.default_rng(43)


def moments(values):
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))


def of_whole_samples(sample, reference):
    """Fréchet distance of the normalised samples, the limit of the extrapolation."""
    largest = np.abs(reference).max(axis=0)
    return frechet_distance(*moments(sample / largest), *moments(reference / largest))


def test_frechet_distance_of_gaussians(rng):
    one = frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([0.5]), np.array([[9.0]]))
    assert one == pytest.approx(0.5**2 + (2 - 3) ** 2)
    a, b = (m @ m.T for m in rng.normal(size=(2, 5, 5)))
    mean1, mean2 = rng.normal(size=(2, 5))
    expected = np.sum((mean1 - mean2) ** 2) + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(mean1, a, mean2, b) == pytest.approx(expected)
    assert frechet_distance(mean2, b, mean1, a) == pytest.approx(expected)
    assert frechet_distance(mean1, a, mean1, a) == pytest.approx(0, abs=1e-10)
    singular = np.diag([1.0, 0.0])
    assert frechet_distance(np.zeros(2), singular, np.zeros(2), np.eye(2)) == pytest.approx(1)


def test_the_limit_is_the_distance_of_the_whole_samples(rng):
    mix = rng.normal(size=(4, 4))
    x, y = rng.normal(size=(3000, 4)) @ mix, 1.2 * rng.normal(size=(2500, 4)) @ mix + 0.3
    result = frechet_physics_distance(y, x, rng=rng)
    batches = 4 * result.jetnet[1]  # the samples are the same: only the batches fluctuate
    assert result.value == pytest.approx(of_whole_samples(y, x), abs=batches)
    assert batches < 0.2 * result.value
    assert result.uncertainty > result.jetnet[1]  # that does not contain the fluctuation of the samples
    assert result.small
    assert result.measurement == (result.value, result.uncertainty)


@pytest.mark.slow
def test_agrees_with_jetnet():
    # jetnet 0.2.5 with its defaults (scipy and numpy of constraints.txt) on these two arrays:
    # fpd (0.0059265, 0.0000599), kpd (0.0030640, 0.0003577)
    rng = np.random.default_rng(7)
    x = rng.normal(size=(5000, 4))
    y = 1.1 * rng.normal(size=(5000, 4)) + 0.1
    frechet = frechet_physics_distance(y, x, rng=rng)
    assert frechet.jetnet[0] == pytest.approx(0.0059265, abs=3 * np.hypot(0.0000599, frechet.jetnet[1]))
    assert frechet.jetnet[1] == pytest.approx(0.0000599, rel=0.8)
    kernel = kernel_physics_distance(y, x, rng=rng)
    assert kernel.value == pytest.approx(0.0030640, abs=3 * 0.0003577)
    assert kernel.jetnet == (kernel.value, pytest.approx(0.0003577, rel=0.8))


def test_equal_distributions_give_the_floor(rng):
    n = 1500
    results = []
    for _ in range(40):
        x, y = rng.uniform(size=(2, n, 5))
        results.append(frechet_physics_distance(y, x, rng=rng, **QUICK))
    values, floors = np.array([(r.value, r.floor) for r in results]).T
    assert values.mean() == pytest.approx(floors.mean(), rel=0.15)
    for r in results[:10]:
        assert r.value - r.floor < 3 * r.uncertainty


def test_jetnet_number_is_larger_where_there_is_nothing_to_see(rng):
    x, y = rng.normal(size=(2, 60000, 6))
    result = frechet_physics_distance(y, x, rng=rng, **MEDIUM)
    assert not result.small
    exact = of_whole_samples(y, x)
    assert result.value == pytest.approx(exact, abs=3 * result.uncertainty)
    assert result.jetnet[0] > 1.5 * exact  # its fit is not extrapolated: the bias of the batches stays


@pytest.mark.parametrize(
    ("distance", "options"), [(frechet_physics_distance, QUICK), (kernel_physics_distance, QUICK_KERNEL)]
)
def test_uncertainty_is_the_spread_of_repetitions(rng, distance, options):
    def once():
        x, y = rng.uniform(size=(1000, 3)), rng.uniform(0.1, 1.1, (800, 3))
        x[0] = 1.0  # so that the normalisation does not fluctuate
        return distance(y, x, rng=rng, **options).measurement

    values, uncertainties = np.array([once() for _ in range(80)]).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.3)


def test_kernel_distance_has_no_bias(rng):
    # a tenth of the events of a batch are drawn more than once; with their pairs the mean would be 1e-3 too large
    results = [
        kernel_physics_distance(
            rng.uniform(size=(600, 3)), rng.uniform(size=(600, 3)), rng=rng, **QUICK_KERNEL
        )
        for _ in range(60)
    ]
    values, uncertainties = np.array([r.measurement for r in results]).T
    assert values.mean() == pytest.approx(0, abs=4 * values.std() / np.sqrt(60))
    assert uncertainties.mean() < 4 * values.std()
    assert results[0].floor == 0


def test_kernel_distance_of_moments(rng):
    # one feature: (x y + 1)^4 = sum of binomial(4, k) x^k y^k, so the distance is that of the moments
    x, y = rng.uniform(-1, 1, (4000, 1)), rng.uniform(-0.9, 0.9, (4000, 1))
    x[0] = 1.0
    even = {2: (1 / 3, 0.9**2 / 3), 4: (1 / 5, 0.9**4 / 5)}
    expected = 6 * np.diff(even[2])[0] ** 2 + np.diff(even[4])[0] ** 2
    result = kernel_physics_distance(y, x, rng=rng, size=1000, batches=20)
    assert result.value == pytest.approx(expected, abs=4 * result.uncertainty)


@pytest.mark.parametrize(
    ("distance", "options"), [(frechet_physics_distance, MEDIUM), (kernel_physics_distance, {"size": 1000})]
)
def test_differences_are_seen(rng, distance, options):
    x = rng.multivariate_normal([1, 0], [[1, 0.5], [0.5, 1]], 4000)
    for y in (rng.normal([1, 0], 1, (4000, 2)), x[::-1] * 1.3, x[::-1] + 0.3):
        result = distance(y, x, rng=rng, **options)
        assert result.value - result.floor > 3 * result.uncertainty
        assert result.value > result.floor


def test_what_the_frechet_distance_cannot_see(rng):
    x = rng.uniform(-1, 1, (20000, 1))
    y = np.sign(rng.normal(size=(20000, 1))) / np.sqrt(3)  # the same mean and variance
    blind = frechet_physics_distance(y, x, rng=rng, **MEDIUM)
    assert blind.value - blind.floor < 3 * blind.uncertainty
    seeing = kernel_physics_distance(y, x, rng=rng, size=3000)
    assert seeing.value > 3 * seeing.uncertainty


def test_features_are_normalised_on_the_reference(rng):
    x, y = rng.normal(size=(2000, 2)), rng.normal(0.2, 1, (2000, 2))
    scale = np.array([1e4, 1e-3])
    for distance, options in ((frechet_physics_distance, QUICK), (kernel_physics_distance, QUICK_KERNEL)):
        plain, scaled = (
            distance(b, a, rng=np.random.default_rng(1), **options)
            for a, b in ((x, y), (x * scale, y * scale))
        )
        assert scaled.measurement == pytest.approx(plain.measurement, rel=1e-6)
        nothing = np.zeros((2000, 1))
        empty = distance(np.hstack([y, nothing]), np.hstack([x, nothing]), rng=rng, **options)
        assert np.isfinite(empty.measurement).all()
        narrow = distance(0.2 * y, x, rng=rng, **options)  # in units of the largest of x, five times larger
        assert distance(x, 0.2 * y, rng=rng, **options).value > 10 * narrow.value > 0


def test_weight_two_is_an_event_twice(rng):
    # random batches: the limit is the same, the numbers are equal within the batches' fluctuation
    x, y = rng.uniform(size=(1000, 3)), rng.uniform(size=(1000, 3))
    order = np.argsort(y[:, 0])
    y = y[order]
    weights = np.where(np.arange(1000) < 300, 3.0, 1.0)
    tripled = np.concatenate([y, y[:300], y[:300]])
    with_weights, written = (
        frechet_physics_distance(b, x, rng=rng, sample_weights=w, **MEDIUM)
        for b, w in ((y, weights), (tripled, None))
    )
    spread = 4 * np.hypot(with_weights.jetnet[1], written.jetnet[1])
    assert with_weights.value == pytest.approx(written.value, abs=spread)
    assert with_weights.value == pytest.approx(of_whole_samples(tripled, x), abs=spread)
    assert with_weights.value > 10 * spread
    with_weights, written = (
        kernel_physics_distance(b, x, rng=rng, size=1000, batches=30, sample_weights=w)
        for b, w in ((y, weights), (tripled, None))
    )
    # four standard deviations of the median of 30 batches
    spread = 4 * np.sqrt(np.pi / 2 / 30) * np.hypot(with_weights.jetnet[1], written.jetnet[1])
    assert with_weights.value == pytest.approx(written.value, abs=spread)
    assert with_weights.value > 3 * spread


def test_negative_weights_subtract(rng):
    signal, background = rng.normal(size=(4000, 2)), rng.normal(1, 1, (4000, 2))
    sample = np.concatenate([signal, rng.normal(1, 1, (4000, 2)), background])
    weights = np.repeat([1.0, 1.0, -1.0], 4000)
    reference = rng.normal(size=(4000, 2))
    for distance, options in ((frechet_physics_distance, MEDIUM), (kernel_physics_distance, {"size": 2000})):
        clean = distance(sample, reference, rng=rng, sample_weights=weights, **options)
        dirty = distance(sample[:8000], reference, rng=rng, **options)
        assert clean.value - clean.floor < 3 * clean.uncertainty
        assert dirty.value - dirty.floor > 5 * dirty.uncertainty


def test_negative_weights_that_give_a_negative_variance_are_refused(rng):
    narrow, wide = rng.normal(size=(3000, 2)), rng.normal(0, 5, (1000, 2))
    sample, weights = np.concatenate([narrow, wide]), np.repeat([1.0, -1.0], [3000, 1000])
    with pytest.raises(ValueError, match="sample: expected a covariance without negative variances, got -"):
        frechet_physics_distance(sample, narrow, rng=rng, sample_weights=weights, **QUICK)
    cancelling = np.repeat([1.0, -2.999], [3000, 1000])
    with pytest.raises(ValueError, match=r"sample: expected weights with a positive sum in each batch"):
        frechet_physics_distance(sample, narrow, rng=rng, sample_weights=cancelling, **QUICK)


def test_seeded(rng):
    x, y = rng.normal(size=(2, 200, 3))
    for distance, options in ((frechet_physics_distance, QUICK), (kernel_physics_distance, QUICK_KERNEL)):
        first, second = (distance(y, x, rng=np.random.default_rng(3), **options) for _ in range(2))
        assert first == second


@pytest.mark.parametrize(
    ("distance", "sample", "options", "message"),
    [
        (
            frechet_physics_distance,
            [[0.0, 1.0]],
            {},
            "same features in both samples, got 2 columns in the sample and 1 in the reference",
        ),
        (frechet_physics_distance, [[0.0]], {}, "sample: expected at least two events, got 1 effective"),
        (frechet_physics_distance, [[np.nan], [1.0]], {}, "sample: 1 of 2 events are not finite"),
        (frechet_physics_distance, [[1.0], [2.0]], {"smallest_size": 60000}, "sizes 60000 and 50000"),
        (frechet_physics_distance, [[1.0], [2.0]], {"points": 1}, "got 1 points, 20 batches"),
        (
            kernel_physics_distance,
            [[1.0], [2.0]],
            {"batches": 1},
            "expected at least 2 batches .* got 1 of 5000",
        ),
        (kernel_physics_distance, [[1.0], [2.0]], {"sample_weights": [1, -2]}, "positive sum, got -1"),
    ],
)
def test_bad_input(rng, distance, sample, options, message):
    with pytest.raises(ValueError, match=message):
        distance(sample, [[0.0], [1.0]], rng=rng, **options)
