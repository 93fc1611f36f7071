"""Diversity: does a generator make all kinds of events of the reference, or the same few again and again?

Which one to use: `image_diversity` for images of showers (mode collapse: all are alike); `mode_coverage` where the
modes are known (toys); `classifier_score` for samples of several species (missing or blurred species). None of them is
a distance: a sample can be as diverse as the reference and have another distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.special import rel_entr

from hepgan.metrics.classifier import BOOSTING
from hepgan.metrics.efficiencies import efficiency
from hepgan.metrics.histograms import quantile_edges
from hepgan.metrics.moments import Measurement, checked, checked_pair, mean, relative_difference

__all__ = [
    "ClassifierScore",
    "ImageDiversity",
    "ModeCoverage",
    "classifier_score",
    "image_diversity",
    "mode_coverage",
]

Array = NDArray[np.float64]

SCALE_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, finest first (Wang, Simoncelli and Bovik, Asilomar 2003, section 3.2)."""

NEIGHBOURS = (
    32  # showers of similar condition among which pairs are drawn; even, so that each shower has a partner
)
_CHUNK = 1000  # pairs of images compared at once


@dataclass(frozen=True)
class ImageDiversity:
    """Outcome of `image_diversity`.

    Attributes:
        sample: Mean similarity of pairs of images of the sample; 1 - similarity is the diversity.
        reference: Mean similarity of pairs of images of the reference.
        difference: Similarity of the sample minus that of the reference; positive if the sample is less diverse.
        ratio: Diversity of the sample over that of the reference: 1 as diverse, 0 collapsed; None if the reference has
            no diversity.
    """

    sample: Measurement
    reference: Measurement
    difference: Measurement
    ratio: Measurement | None


@dataclass(frozen=True)
class ModeCoverage:
    """Outcome of `mode_coverage`.

    Attributes:
        covered: Number of modes with high-quality events.
        modes: Number of all modes.
        high_quality: Share of events within the radius of a mode.
        occupation: (K,) share of each mode among the high-quality events.
        divergence: Kullback-Leibler divergence of the occupation from the uniform occupation, 0 to ln K.
    """

    covered: int
    modes: int
    high_quality: Measurement
    occupation: Array
    divergence: Measurement


@dataclass(frozen=True)
class ClassifierScore:
    """Outcome of `classifier_score`.

    Attributes:
        sample: Score of the sample, from 1 to the number of species.
        reference: Score of the reference.
        difference: Score of the sample minus that of the reference.
    """

    sample: Measurement
    reference: Measurement
    difference: Measurement


def _difference(sample: Measurement, reference: Measurement) -> Measurement:
    """Difference of two independent measurements, sample - reference."""
    return sample[0] - reference[0], math.hypot(sample[1], reference[1])


def _scales(shape: tuple[int, ...], window: int) -> int:
    """Number of scales that an image has room for: each halves it, and torchmetrics needs space around the window."""
    n = min(shape)
    room = [
        n >= 2 ** (scale + 1) and n // scale**2 > window - 1 and n // 2**scale > window // 2
        for scale in range(1, len(SCALE_EXPONENTS))
    ]
    return 1 + [*room, False].index(False)


def _pairs(
    n: int, condition: Array | None, *, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of at most `most` disjoint random pairs of n events, of similar condition (n,) if given."""
    order = rng.permutation(n)
    if condition is not None:
        order = order[np.argsort(condition[order], kind="stable")]
        order = order[np.lexsort((rng.random(n), np.arange(n) // NEIGHBOURS))]
    pairs = order[: n // 2 * 2].reshape(-1, 2)
    if len(pairs) > most:
        pairs = pairs[rng.choice(len(pairs), most, replace=False)]
    return pairs[:, 0], pairs[:, 1]


def _root_of_share(energies: Array) -> Array:
    """Square roots of the share that each cell has of the energy of its image, (N, rows, columns)."""
    total = energies.sum((1, 2), keepdims=True)
    share = np.divide(energies, total, out=np.zeros_like(energies), where=total > 0)
    result: Array = np.sqrt(share, out=share)
    return result


def _similarities(first: Array, second: Array, *, window: int, data_range: float) -> Array:
    """Similarities (P,) of pairs of images, (P, rows, columns) each."""
    import torch
    from torchmetrics.functional.image import (  # heavy; only this metric needs it
        multiscale_structural_similarity_index_measure,
        structural_similarity_index_measure,
    )

    shape = first.shape[1:]
    scales = _scales(shape, window)
    exponents = np.array(SCALE_EXPONENTS[:scales]) / sum(SCALE_EXPONENTS[:scales])
    settings: dict[str, Any] = {
        "gaussian_kernel": False,
        "kernel_size": tuple(min(window, n - (1 - n % 2)) for n in shape),
        "data_range": data_range,
        "reduction": "none",
    }
    measure: Callable[..., Any] = structural_similarity_index_measure
    if scales > 1:
        measure = multiscale_structural_similarity_index_measure
        settings["betas"] = tuple(exponents.tolist())

    parts = []
    for start in range(0, len(first), _CHUNK):
        images = (torch.from_numpy(x[start : start + _CHUNK])[:, None] for x in (first, second))
        parts.append(measure(*images, **settings).numpy().reshape(-1))  # one pair comes without an axis
    result: Array = np.concatenate(parts)
    return result


def image_diversity(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    sample_condition: ArrayLike | None = None,
    reference_condition: ArrayLike | None = None,
    pairs: int = 5000,
    window: int = 3,
) -> ImageDiversity:
    r"""Mean multi-scale structural similarity (MS-SSIM) of pairs of images of the same sample, for both samples.

    Images that are all alike have similarity 1; the lower the similarity, the more diverse the images. A collapsed
    generator has a larger similarity than the reference. Blind to: 5 % of duplicates (two showers drawn at random are
    hardly ever twins; use `duplication`), a collapse to a few shapes that differ as showers do, and whether the images
    are right: noise is diverse. Compare values only within a geometry.

    The images hold :math:`\sqrt{e / \sum e}` of the cells. The share of the energy, because a spectrum of energies is
    not a diversity of shapes; its root, because fluctuations of a cell's energy grow as its root, so that bright cells
    do not dominate. The constants of SSIM follow from the range of values, which is the mean brightest cell of the
    reference in this quantity. Empty images are all zero and equal each other.

    Layers are too small for the five scales and the window of 11 pixels of the paper. Here the window is uniform,
    3 by 3 cells, and there are as many scales as fit (12 x 12 cells: 3; 12 x 6: 2; 3 x 96: 1), with the paper's
    exponents of these scales divided by their sum. With one scale it is SSIM itself, which may be negative; with
    more, a negative similarity of a scale counts as zero. Along an axis with fewer cells than the window, the window is
    the largest odd number that fits.

    Pairs are disjoint, hence independent, and no event is paired with itself. The cost is linear: about 0.2 s for 5000
    pairs of 12 x 12 cells.

    Args:
        sample: (N1, rows, columns) cell energies of one layer, not negative, in any unit.
        reference: (N2, rows, columns).
        rng: Draws the pairs (those of the reference first).
        sample_weights: (N1,), default ones; a pair counts with the product of its two weights, of either sign.
        reference_weights: (N2,), default ones.
        sample_condition: (N1,) condition such as the incident energy: each shower is then paired with one of the
            `NEIGHBOURS` showers of most similar condition, so that the similarity is that of showers at the same
            energy. The conditions of both samples should have the same distribution.
        reference_condition: (N2,); give both conditions or none.
        pairs: Largest number of pairs of each sample.
        window: Size of SSIM's window in cells, odd (the paper's is 11).

    Returns:
        Similarities (1 and below) of both samples, their difference and the ratio of diversities; the uncertainties
        are those of the mean of independent pairs.

    Raises:
        ValueError: If a sample has less than four events, negative energies or images of another shape, a condition
            does not fit, or the weights of the pairs have no positive sum.

    References:
        Wang, Simoncelli and Bovik, Asilomar 2003 (MS-SSIM, eq. 7); Odena, Olah and Shlens, arXiv:1610.09585, section
        4.2 (as a measure of diversity).
    """
    x1, w1 = checked(sample, sample_weights, name="sample", ndim=3)
    x2, w2 = checked(reference, reference_weights, name="reference", ndim=3)
    if x1.shape[1:] != x2.shape[1:]:
        raise ValueError(
            f"images: expected the same cells in both samples, got {x1.shape[1:]} and {x2.shape[1:]}; compare the "
            "same layer"
        )
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number of cells, got {window}; 3 is a good one")
    if (reference_condition is None) != (sample_condition is None):
        raise ValueError("condition: expected one for both samples or for none, got one; give the other too")

    def paired(x: Array, w: Array, given: ArrayLike | None, name: str) -> tuple[Array, Array, Array]:
        """First and second images (P, rows, columns), and weights (P,), of pairs."""
        if len(x) < 4:
            raise ValueError(f"{name}: expected at least 4 images, got {len(x)}; take more events")
        if x.min() < 0:
            raise ValueError(
                f"{name}: expected energies that are not negative, got {x.min():g} in a cell; set them to zero "
                "(a root is taken)"
            )
        condition = None
        if given is not None:
            condition = checked(given, None, name=f"condition of the {name}")[0]
            if len(condition) != len(x):
                raise ValueError(
                    f"condition of the {name}: expected one for each of {len(x)} images, got {len(condition)}"
                )
        one, other = _pairs(len(x), condition, most=pairs, rng=rng)
        return _root_of_share(x[one]), _root_of_share(x[other]), w[one] * w[other]

    *reference_images, reference_products = paired(x2, w2, reference_condition, "reference")  # drawn first
    *sample_images, sample_products = paired(x1, w1, sample_condition, "sample")
    brightest = float(np.mean([image.max((1, 2)) for image in reference_images]))
    data_range = brightest if brightest > 0 else 1.0  # all images are empty, and equal

    def similarity(images: list[Array], products: Array, name: str) -> Measurement:
        values = _similarities(*images, window=window, data_range=data_range)
        return mean(values, products, name=f"pairs of the {name}")

    of_sample = similarity(sample_images, sample_products, "sample")
    of_reference = similarity(reference_images, reference_products, "reference")
    change = relative_difference((1 - of_sample[0], of_sample[1]), (1 - of_reference[0], of_reference[1]))
    ratio = None if change is None or of_reference[0] == 1 else (1 + change[0], change[1])
    return ImageDiversity(of_sample, of_reference, _difference(of_sample, of_reference), ratio)


def mode_coverage(
    sample: ArrayLike,
    centres: ArrayLike,
    *,
    radius: float,
    sample_weights: ArrayLike | None = None,
) -> ModeCoverage:
    r"""Number of modes of a known mixture that a sample covers, and the share of its events that are in a mode.

    An event is of high quality if it is within the radius of the nearest centre, usually three standard deviations
    (which holds for :math:`1 - e^{-9/2}` = 98.9 % of the events of two-dimensional Gaussian modes). A mode is covered
    if its centre is the nearest of at least one such event. Blind to: the shape of a mode; one that shrank to a point
    is covered.

    The divergence :math:`\sum_k p_k \ln (K p_k)` of the occupation is 0 for equal shares of all K modes,
    :math:`\ln (K / m)` for equal shares of m modes, and about :math:`(K - 1) / 2N` for N events of equal modes.

    Args:
        sample: (N, F).
        centres: (K, F), such as `hepgan.toys.mixtures.ring_centres`.
        radius: Largest distance from a centre, in the unit of the sample: three standard deviations of a mode.
        sample_weights: (N,), default ones. With negative weights a mode is covered if the sum of its weights is
            positive; a negative sum counts as zero in the occupation.

    Returns:
        The numbers. The uncertainty of the share is binomial, as in `efficiency`. That of the divergence is the larger
        of the first and second order of its expansion around the occupation, for the effective number of events.

    Raises:
        ValueError: If the sample is empty or not finite, its weights have no positive sum, the centres do not fit the
            sample, or the radius is not positive.

    References:
        Srivastava et al. (VEEGAN), arXiv:1705.07761, section 4.1 (modes, high-quality samples); Lin et al. (PacGAN),
        arXiv:1712.04086, section 4 (divergence of the occupation).
    """
    x, w = checked(sample, sample_weights, name="sample", ndim=2)
    modes, _ = checked(centres, None, name="centres", ndim=2)
    if modes.shape[1] != x.shape[1]:
        raise ValueError(
            f"centres: expected {x.shape[1]} coordinates as the sample has, got {modes.shape[1]}"
        )
    if not radius > 0:
        raise ValueError(
            f"radius: expected a positive distance, got {radius}; three standard deviations of a mode"
        )
    distance, nearest = cKDTree(modes).query(x)
    good = distance <= radius
    ((share, share_error),) = efficiency(good, np.zeros(len(x)), np.array([0.0, 1.0]), weights=w)
    sums = np.bincount(nearest[good], w[good], len(modes))
    variance = np.bincount(nearest[good], w[good] ** 2, len(modes)).sum()
    content = np.maximum(sums, 0.0)
    total = float(content.sum())
    if total == 0:
        undefined = (math.nan, math.nan)
        return ModeCoverage(0, len(modes), (float(share), float(share_error)), content, undefined)
    occupation = content / total
    logarithm = np.log(len(modes) * np.where(occupation > 0, occupation, 1.0))
    divergence = float(occupation @ logarithm)
    effective = total**2 / variance
    second_order = (int((occupation > 0).sum()) - 1) / (2 * effective**2)
    first_order = (float(occupation @ logarithm**2) - divergence**2) / effective
    first_order -= 2 * second_order  # its mean value when the true first order is zero
    return ModeCoverage(
        int((sums > 0).sum()),
        len(modes),
        (float(share), float(share_error)),
        occupation,
        (divergence, math.sqrt(max(first_order, second_order))),
    )


def _binned(values: Array, edges: list[Array]) -> Array:
    """Bin numbers of features (N, F): scikit-learn's own weighted binning takes longer than growing the trees."""
    columns = [np.searchsorted(e, v, side="right") for e, v in zip(edges, values.T, strict=True)]
    return np.column_stack(columns).astype(np.float64)


def classifier_score(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    reference_species: ArrayLike,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    folds: int = 5,
    most: int = 20_000,
) -> ClassifierScore:
    r"""Inception-style score :math:`\exp(E_x KL(p(y|x) \| p(y)))` of a classifier of species y, for both samples.

    The score is high if each event clearly belongs to one species and all species occur: at best the number of species
    (separable species in equal shares), and 1 if the classifier learns nothing or there is only one species. For the
    true :math:`p(y|x)` it is the exponential of the mutual information of features and species. A sample should reach
    the score of the reference: a lower score means events between the species, or missing species; a HIGHER score means
    events more typical than real ones. Blind to: copies, a species whose events are all equal, two swapped species, and
    events blurred into regions without real events where the classifier is sure. A classifier trained on few events is
    too sure, and the scores of both samples are too high (two identical species: 1.04 with 2000 events of ten features,
    1.004 with 20,000; three species: 1.14 and 1.014): compare the samples with each other, not with the number of
    species.

    The classifier is gradient boosting with the settings `hepgan.metrics.classifier.BOOSTING`, trained on the reference
    by cross-validation. Each event of the reference is scored by the classifier that was trained without it; the events
    of the sample are shared at random among the same classifiers. 20,000 events of 35 features and three species take
    5 s.

    Args:
        sample: (N1, F) features.
        reference: (N2, F) features.
        reference_species: (N2,) labels of any type, at least two different ones.
        rng: Draws subsets (those of the reference first), and folds.
        sample_weights: (N1,), default ones; classifiers are trained with magnitudes, scores count with signs.
        reference_weights: (N2,), default ones.
        folds: Number of classifiers.
        most: Largest number of events taken of each sample.

    Returns:
        Scores of both samples, from 1 to the number of species, and their difference. The uncertainties are those of
        the mean divergence for given classifiers (delta method); that of the difference is too large where the
        fluctuation of the classifier dominates.

    Raises:
        ValueError: If a sample is empty or not finite, there are fewer than two species or too few events of one, the
            sample has other features, or negative weights make the share of a species negative.

    References:
        Salimans et al., arXiv:1606.03498, section 4; Barratt and Sharma, arXiv:1801.01973 (limits of the score).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # heavy; only this metric needs it
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    (x1, w1), (x2, w2) = checked_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        what="classifier score",
    )
    labels = np.asarray(reference_species)
    if labels.shape != (len(x2),):
        raise ValueError(
            f"species: expected one for each of {len(x2)} events of the reference, got shape {labels.shape}"
        )
    chosen2, chosen1 = (rng.permutation(len(x))[:most] for x in (x2, x1))
    names, number, counts = np.unique(labels[chosen2], return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"species: expected at least two, got {names.tolist()}; give a sample of several")
    if counts.min() < 2 * folds:
        raise ValueError(
            f"species {names[counts.argmin()]}: {folds} folds need at least {2 * folds} events, got {counts.min()}; "
            "take more events or fewer folds"
        )
    x1, w1, x2, w2 = x1[chosen1], w1[chosen1], x2[chosen2], w2[chosen2]
    seed = int(rng.integers(2**31))
    part = np.arange(len(x1)) % folds  # the events are in random order already
    of_sample, of_reference = np.empty((len(x1), len(names))), np.empty((len(x2), len(names)))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(x2, number)
    with threadpool_limits(limits=1, user_api="openmp"):  # as in `two_sample_test`
        for k, (train, held) in enumerate(split):
            edges = [quantile_edges(column, BOOSTING["max_bins"] - 1) for column in x2[train].T]
            classifier = HistGradientBoostingClassifier(**BOOSTING, random_state=seed)
            classifier.fit(_binned(x2[train], edges), number[train], sample_weight=np.abs(w2[train]))
            of_sample[part == k] = classifier.predict_proba(_binned(x1[part == k], edges))
            of_reference[held] = classifier.predict_proba(_binned(x2[held], edges))

    def score(probability: Array, weights: Array, name: str) -> Measurement:
        shares = np.average(probability, axis=0, weights=weights)
        if shares.min() <= 0:
            raise ValueError(
                f"{name}: negative weights give species {names[shares.argmin()]} a share of {shares.min():g}, whose "
                "logarithm is not defined; take more events"
            )
        divergence, uncertainty = mean(rel_entr(probability, shares).sum(axis=1), weights, name=name)
        return math.exp(divergence), math.exp(divergence) * uncertainty

    scores = score(of_sample, w1, "sample"), score(of_reference, w2, "reference")
    return ClassifierScore(*scores, _difference(*scores))
