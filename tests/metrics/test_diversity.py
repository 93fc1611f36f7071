import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from hepgan import toys
from hepgan.metrics.diversity import classifier_score, image_diversity, mode_coverage

GOOD_SHARE = 1 - np.exp(-4.5)  # of a two-dimensional Gaussian within three standard deviations


@pytest.fixture
def rng():
    return np.random.default_rng(41)


def showers(rng, n, shape=(12, 12)):
    """Cells that fluctuate independently around a profile."""
    rows, columns = (np.exp(-0.5 * ((np.arange(k) - (k - 1) / 2) / (k / 6)) ** 2) for k in shape)
    return rng.gamma(1 + 20 * np.outer(rows, columns), size=(n, *shape))


def test_similarity_of_two_kinds_of_images_by_hand(rng):
    """One row of three cells, all energy in the first or the last: half of the pairs are equal."""
    images = np.repeat([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]], 5000, axis=0)
    # reflected at the ends, the windows of three cells hold (0, 1, 0), (1, 0, 0), (0, 0, 0) or the reverse:
    # means 1/3, 1/3, 0, variances 2/9, 2/9, 0, covariances 0, -1/9, 0
    c1, c2 = 0.01**2, 0.03**2
    at_an_end = c1 / (1 / 9 + c1) * c2 / (2 / 9 + c2)
    in_the_middle = (-2 / 9 + c2) / (4 / 9 + c2)
    opposite = (2 * at_an_end + in_the_middle) / 3
    value, uncertainty = image_diversity(images, images, rng=rng).reference
    assert value == pytest.approx((1 + opposite) / 2, abs=4 * uncertainty)
    assert uncertainty == pytest.approx((1 - opposite) / 2 / np.sqrt(5000), rel=0.02)


@pytest.mark.parametrize("shape", [(3, 96), (12, 12), (12, 6), (1, 8), (8, 1), (2, 2), (1, 1), (40, 33)])
def test_equal_showers_have_similarity_one(shape, rng):
    reference = showers(rng, 60, shape)
    for collapsed in (np.repeat(reference[:1], 60, axis=0), np.zeros((60, *shape))):
        result = image_diversity(collapsed, reference, rng=rng)
        assert result.sample == (pytest.approx(1, abs=1e-9), pytest.approx(0, abs=1e-9))
    if shape == (1, 1):  # shares of a single cell
        assert result.ratio is None
    else:
        assert result.reference[0] < 0.95
        assert result.ratio[0] == pytest.approx(0, abs=1e-7)


def test_energy_is_no_diversity(rng):
    one = np.repeat(showers(rng, 1), 200, axis=0)
    assert image_diversity(one * rng.uniform(1, 100, (200, 1, 1)), one, rng=rng).difference[
        0
    ] == pytest.approx(0)


def test_halves_agree_and_collapse_is_seen(rng):
    reference, sample = showers(rng, 4000), showers(rng, 4000)
    same = image_diversity(sample, reference, rng=rng)
    value, uncertainty = same.difference
    assert abs(value) < 3 * uncertainty
    assert same.ratio[0] == pytest.approx(1, abs=3 * same.ratio[1])
    collapsed = image_diversity(sample[rng.integers(5, size=4000)], reference, rng=rng)  # five showers only
    assert 0.5 < collapsed.ratio[0] < 0.95  # one pair in five is of twins
    assert collapsed.difference[0] > 10 * collapsed.difference[1]


def test_five_percent_of_duplicates_are_not_seen(rng):
    reference, sample = showers(rng, 4000), showers(rng, 4000)
    sample[:200] = sample[200:400]
    for condition in (None, rng.uniform(size=4000)):
        twins = None if condition is None else condition.copy()
        if twins is not None:
            twins[:200] = twins[200:400]
        result = image_diversity(
            sample, reference, rng=rng, sample_condition=twins, reference_condition=condition
        )
        assert abs(result.ratio[0] - 1) < max(0.01, 3 * result.ratio[1])


def test_pairs_have_similar_conditions(rng):
    """The place of a shower follows its condition: at equal condition all are alike."""
    condition = rng.integers(0, 12, 2400)
    images = np.zeros((2400, 12, 12))
    images[np.arange(2400), condition] = 1.0
    given = {"reference_condition": condition, "sample_condition": condition + rng.uniform(0, 0.5, 2400)}
    paired = image_diversity(images, images, rng=rng, **given)
    free = image_diversity(images, images, rng=rng)
    assert min(paired.reference[0], paired.sample[0]) > 0.9
    assert free.reference[0] < 0.5


def test_weight_two_is_an_image_twice(rng):
    images = np.concatenate([showers(rng, 3000), np.repeat(showers(rng, 1), 3000, axis=0)])
    weights = np.repeat([1.0, 2.0], 3000)
    doubled = np.concatenate([images, images[3000:]])
    result = image_diversity(images, doubled, rng=rng, sample_weights=weights)
    assert abs(result.difference[0]) < 3 * result.difference[1]
    plain = image_diversity(images, doubled, rng=rng)
    assert abs(plain.difference[0]) > 5 * plain.difference[1]


def test_negative_weights_subtract_images(rng):
    collapsed = np.repeat(showers(rng, 1), 4000, axis=0)
    polluted = np.concatenate([showers(rng, 6000), collapsed])
    weights = np.concatenate([np.ones(8000), -np.ones(2000)])
    result = image_diversity(polluted, showers(rng, 6000), rng=rng, sample_weights=weights)
    assert abs(result.difference[0]) < 3 * result.difference[1]
    plain = image_diversity(polluted, showers(rng, 6000), rng=rng)
    assert plain.difference[0] > 5 * plain.difference[1]


def test_uncertainty_of_similarity_is_the_spread_of_repetitions(rng):
    repeated = [
        image_diversity(*(showers(rng, 60, (6, 6)) for _ in "ab"), rng=rng).difference for _ in range(150)
    ]
    values, uncertainties = np.array(repeated).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.2)


def test_bad_images(rng):
    x = showers(rng, 10)
    with pytest.raises(
        ValueError, match=r"same cells in both samples, got \(12, 6\) and \(12, 12\); compare"
    ):
        image_diversity(showers(rng, 10, (12, 6)), x, rng=rng)
    with pytest.raises(ValueError, match="sample: expected energies that are not negative, got -1 in a cell"):
        image_diversity(-np.ones((10, 12, 12)), x, rng=rng)
    with pytest.raises(ValueError, match="reference: expected at least 4 images, got 3; take more events"):
        image_diversity(x, x[:3], rng=rng)
    with pytest.raises(ValueError, match="window: expected an odd number of cells, got 4"):
        image_diversity(x, x, rng=rng, window=4)
    with pytest.raises(ValueError, match="condition: expected one for both samples or for none"):
        image_diversity(x, x, rng=rng, sample_condition=np.ones(10))
    with pytest.raises(
        ValueError, match="condition of the sample: expected one for each of 10 images, got 9"
    ):
        image_diversity(x, x, rng=rng, sample_condition=np.ones(9), reference_condition=np.ones(10))
    with pytest.raises(
        ValueError, match=r"sample: expected an array of 3 dimension\(s\), got shape \(10, 144\)"
    ):
        image_diversity(x.reshape(10, 144), x, rng=rng)
    with pytest.raises(ValueError, match="pairs of the sample: expected weights with a positive sum"):
        image_diversity(x[:4], x[:4], rng=np.random.default_rng(1), sample_weights=[-1, 2, 2, -1], pairs=1)


def test_ring_and_grid_are_covered(rng):
    for sample, centres, sigma in (
        (toys.ring(20_000, rng=rng), toys.ring_centres(), toys.RING_SIGMA),
        (toys.grid(20_000, rng=rng), toys.grid_centres(), toys.GRID_SIGMA),
    ):
        points = np.column_stack([sample["x"], sample["y"]])
        result = mode_coverage(points, centres, radius=3 * sigma)
        assert result.covered == result.modes == len(centres)
        value, uncertainty = result.high_quality
        assert value == pytest.approx(GOOD_SHARE, abs=4 * uncertainty)
        assert uncertainty == pytest.approx(np.sqrt(GOOD_SHARE * (1 - GOOD_SHARE) / 20_000), rel=0.1)
        assert result.occupation == pytest.approx(1 / len(centres), rel=0.2)
        floor = (len(centres) - 1) / 2 / (20_000 * GOOD_SHARE)
        assert 0 < result.divergence[0] < floor + 4 * result.divergence[1]


def test_lost_modes_and_bad_points_are_seen(rng):
    sample = toys.ring(20_000, rng=rng)
    points = np.column_stack([sample["x"], sample["y"]])
    centres, radius = toys.ring_centres(), 3 * toys.RING_SIGMA
    fewer = mode_coverage(points[sample["mode"] != 3], centres, radius=radius)
    assert (fewer.covered, fewer.modes, fewer.occupation[3]) == (7, 8, 0)
    assert fewer.divergence[0] == pytest.approx(np.log(8 / 7), abs=1e-3)
    one = mode_coverage(points[sample["mode"] == 0], centres, radius=radius)
    assert one.covered == 1
    assert one.divergence[0] == pytest.approx(np.log(8))
    noise = mode_coverage(np.concatenate([points, np.zeros((20_000, 2))]), centres, radius=radius)
    assert noise.high_quality[0] == pytest.approx(GOOD_SHARE / 2, abs=4 * noise.high_quality[1])
    assert noise.covered == 8
    nothing = mode_coverage(np.zeros((50, 2)), centres, radius=radius)
    assert nothing.covered == 0
    assert nothing.high_quality == (0.0, pytest.approx(1 / 52))
    assert np.isnan(nothing.divergence).all()


def test_modes_with_weights(rng):
    sample = toys.ring(4000, rng=rng)
    points = np.column_stack([sample["x"], sample["y"]])
    first = sample["mode"] == 0
    doubled = np.concatenate([points, points[first]])
    settings = {"centres": toys.ring_centres(), "radius": 3 * toys.RING_SIGMA}
    weighted = mode_coverage(points, sample_weights=np.where(first, 2.0, 1.0), **settings)
    expected = mode_coverage(doubled, **settings)
    assert weighted.occupation == pytest.approx(expected.occupation)
    assert weighted.high_quality[0] == pytest.approx(expected.high_quality[0])
    assert weighted.divergence[0] == pytest.approx(expected.divergence[0])
    # points with weight -1 take mode 0 out again
    taken = mode_coverage(
        doubled, sample_weights=np.where(np.arange(len(doubled)) < len(points), 1.0, -1.0), **settings
    )
    assert taken.covered == 7
    assert taken.occupation[0] == 0


@pytest.mark.parametrize("shares", [np.full(8, 1 / 8), np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])])
def test_uncertainty_of_divergence_is_the_spread_of_repetitions(shares, rng):
    centres = toys.ring_centres()
    repeated = [
        mode_coverage(centres[rng.choice(8, 1000, p=shares)], centres, radius=0.1).divergence
        for _ in range(300)
    ]
    values, uncertainties = np.array(repeated).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.2)
    truth = np.sum(shares * np.log(8 * shares))
    assert values.mean() == pytest.approx(truth + 7 / 2000, abs=4 * values.std() / np.sqrt(300))


def test_bad_modes():
    with pytest.raises(ValueError, match="centres: expected 2 coordinates as the sample has, got 3"):
        mode_coverage(np.zeros((5, 2)), np.zeros((4, 3)), radius=1)
    with pytest.raises(ValueError, match="radius: expected a positive distance, got 0; three standard"):
        mode_coverage(np.zeros((5, 2)), np.zeros((4, 2)), radius=0)


def species(rng, n, shift, names=("e", "mu", "pi")):
    """Gaussians of unit width, a species each, next to each other in the first of two features."""
    number = np.arange(n) % len(names)
    x = rng.normal(size=(n, 2))
    x[:, 0] += shift * number
    return x, np.array(names)[number]


def test_separable_species_score_their_number(rng):
    x, labels = species(rng, 1500, 50)
    for sample, expected in ((species(rng, 1500, 50)[0], 3), (x[labels != "mu"], 2), (x[labels == "e"], 1)):
        result = classifier_score(sample, x, reference_species=labels, rng=rng, folds=3)
        assert result.reference[0] == pytest.approx(3, rel=0.01)
        assert result.sample[0] == pytest.approx(expected, rel=0.01)
        assert 1 <= result.sample[0] <= 3
    assert result.difference[0] == pytest.approx(-2, rel=0.02)


def test_species_without_information_score_one(rng):
    x, labels = species(rng, 3000, 0)
    result = classifier_score(species(rng, 3000, 0)[0], x, reference_species=labels, rng=rng, folds=3)
    assert 1 < result.reference[0] < 1.1  # a classifier trained on few events is too sure of itself
    assert abs(result.difference[0]) < 3 * result.difference[1]


@pytest.mark.slow
def test_score_is_the_mutual_information(rng):
    """Two unit Gaussians at a distance d: I = H(mixture) - H(Gaussian), by numerical integration."""
    distance = 2.0

    def entropy_density(x):
        density = 0.5 * (norm.pdf(x) + norm.pdf(x - distance))
        return -density * np.log(density)

    information = quad(entropy_density, -10, 12)[0] - 0.5 * np.log(2 * np.pi * np.e)
    x, labels = species(rng, 20_000, distance, ("K", "pi"))
    result = classifier_score(species(rng, 20_000, distance)[0][:100], x, reference_species=labels, rng=rng)
    assert result.reference[0] == pytest.approx(np.exp(information), abs=0.02)
    assert np.exp(information) == pytest.approx(1.4, abs=0.1)  # so that 0.02 is a small part of the range


def test_score_sees_confused_and_missing_species(rng):
    x, labels = species(rng, 3000, 3)
    other = species(rng, 3000, 3)[0]
    seen = {
        name: classifier_score(sample, x, reference_species=labels, rng=rng, folds=3).difference
        for name, sample in (
            ("same", other),
            ("between", species(rng, 3000, 1.5)[0] + [1.5, 0]),
            ("missing", other[np.arange(3000) % 3 != 0]),
        )
    }
    assert abs(seen["same"][0]) < 3 * seen["same"][1]
    assert seen["between"][0] < -5 * seen["between"][1]
    assert seen["missing"][0] < -5 * seen["missing"][1]


def test_score_with_weights(rng):
    x, labels = species(rng, 1500, 50)
    weights = np.where(labels == "mu", 0.0, 1.0)
    result = classifier_score(x, x, reference_species=labels, rng=rng, folds=3, sample_weights=weights)
    assert result.sample[0] == pytest.approx(2, rel=0.01)
    doubled = np.concatenate([x, x[labels == "e"]])
    expected = 2**1.5  # exponential of the entropy of the shares 1/2, 1/4, 1/4
    for sample, given in ((doubled, None), (x, np.where(labels == "e", 2.0, 1.0))):
        score = classifier_score(
            sample, x, reference_species=labels, rng=rng, folds=3, sample_weights=given
        ).sample
        assert score[0] == pytest.approx(expected, rel=0.01)
    # one species added and subtracted again
    both = np.concatenate([x, x[labels == "e"]])
    signed = np.concatenate([np.ones(1500), -np.ones(500)])
    score = classifier_score(
        both, x, reference_species=labels, rng=rng, folds=3, sample_weights=signed
    ).sample
    assert score[0] == pytest.approx(2, rel=0.02)
    signed[1500:] = -1.5
    with pytest.raises(
        ValueError, match=r"sample: negative weights give species e a share of -.*; take more"
    ):
        classifier_score(both, x, reference_species=labels, rng=rng, folds=3, sample_weights=signed)


def test_score_is_reproducible(rng):
    x, labels = species(rng, 300, 2)
    first, second = (
        classifier_score(x, x, reference_species=labels, rng=np.random.default_rng(2), folds=2)
        for _ in range(2)
    )
    assert first == second


@pytest.mark.slow
def test_uncertainty_of_score_is_the_spread_of_repetitions(rng):
    repeated = []
    for _ in range(40):
        x, labels = species(rng, 400, 1, ("K", "pi"))
        sample = species(rng, 400, 1, ("K", "pi"))[0]
        repeated.append(classifier_score(sample, x, reference_species=labels, rng=rng, folds=2).difference)
    values, uncertainties = np.array(repeated).T
    assert values.std() < 1.4 * uncertainties.mean()
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(40)
    assert values.std() > 0.5 * uncertainties.mean()


def test_bad_species(rng):
    x, labels = species(rng, 60, 2)
    with pytest.raises(ValueError, match=r"species: expected at least two, got \['e'\]"):
        classifier_score(x, x, reference_species=["e"] * 60, rng=rng)
    with pytest.raises(
        ValueError, match=r"species: expected one for each of 60 events .*, got shape \(59,\)"
    ):
        classifier_score(x, x, reference_species=labels[1:], rng=rng)
    with pytest.raises(ValueError, match="got 1 columns in the sample and 2 in the reference; select"):
        classifier_score(x[:, :1], x, reference_species=labels, rng=rng)
    with pytest.raises(ValueError, match="species mu: 15 folds need at least 30 events, got 20; take more"):
        classifier_score(x, x, reference_species=np.where(labels == "mu", "mu", "e"), rng=rng, folds=15)
