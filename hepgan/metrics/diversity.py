"""Diversity: does a generator make everything that the reference holds, or the same few events again and again?

Which one to use: `image_diversity` for images of showers (mode collapse: all alike); `mode_coverage` where the modes
are known (toys); `classifier_score` for samples of several species (species that are missing or blurred). None of them
is a distance: a sample can be as diverse as the reference and yet another distribution.
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
from hepgan.metrics.efficiency import efficiency
from hepgan.metrics.histogram import quantile_edges
from hepgan.metrics.moments import Measurement, checked, mean, relative_difference

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

NEIGHBOURS = 32  # showers of similar condition among which pairs are drawn; even, so that each has a partner
_CHUNK = 1000  # pairs of images compared at once


@dataclass(frozen=True)
class ImageDiversity:
    """Outcome of `image_diversity`.

    Attributes:
        reference: Mean similarity of pairs of the reference; 1 - similarity is its diversity.
        sample: The same of the sample.
        difference: Sample minus reference; positive if the sample is less diverse.
        ratio: Diversity of the sample over that of the reference: 1 as diverse, 0 collapsed; None if the reference
            has none.
    """

    reference: Measurement
    sample: Measurement
    difference: Measurement
    ratio: Measurement | None


@dataclass(frozen=True)
class ModeCoverage:
    """Outcome of `mode_coverage`.

    Attributes:
        found: Number of modes with high-quality events.
        modes: Number of modes.
        high_quality: Share of events within the radius of a mode.
        occupation: (K,) share of each mode among the high-quality events.
        divergence: Kullback-Leibler divergence of the occupation from the uniform one, 0 to ln K.
    """

    found: int
    modes: int
    high_quality: Measurement
    occupation: Array
    divergence: Measurement


@dataclass(frozen=True)
class ClassifierScore:
    """Outcome of `classifier_score`.

    Attributes:
        reference: Score of the reference, 1 to the number of species.
        sample: Score of the sample.
        difference: Sample minus reference.
    """

    reference: Measurement
    sample: Measurement
    difference: Measurement


def _difference(sample: Measurement, reference: Measurement) -> Measurement:
    return sample[0] - reference[0], math.hypot(sample[1], reference[1])


def _scales(shape: tuple[int, ...], window: int) -> int:
    """How many scales an image has room for: each halves it, and torchmetrics wants space around the window."""
    n = min(shape)
    room = [
        n >= 2 ** (scale + 1) and n // scale**2 > window - 1 and n // 2**scale > window // 2
        for scale in range(1, len(SCALE_EXPONENTS))
    ]
    return 1 + [*room, False].index(False)


def _pairs(
    n: int, condition: Array | None, *, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Disjoint random pairs of n events, of similar condition if there is one."""
    order = rng.permutation(n)
    if condition is not None:
        order = order[np.argsort(condition[order], kind="stable")]
        order = order[np.lexsort((rng.random(n), np.arange(n) // NEIGHBOURS))]
    pairs = order[: n // 2 * 2].reshape(-1, 2)
    if len(pairs) > most:
        pairs = pairs[rng.choice(len(pairs), most, replace=False)]
    return pairs[:, 0], pairs[:, 1]


def _root_of_share(energies: Array) -> Array:
    """Images (N, rows, columns) on the scale on which they are compared."""
    total = energies.sum((1, 2), keepdims=True)
    share = np.divide(energies, total, out=np.zeros_like(energies), where=total > 0)
    result: Array = np.sqrt(share, out=share)
    return result


def _similarities(first: Array, second: Array, *, window: int, data_range: float) -> Array:
    """(P,) similarities of images (P, rows, columns)."""
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

    Images that are all alike have similarity 1; the lower, the more diverse. A collapsed generator has a greater
    similarity than the reference. Not seen: 5 % of showers that are duplicates (two showers drawn at random are hardly
    ever twins; use `hepgan.metrics.memorisation.duplication`), a collapse to a few shapes that differ as showers do,
    and whether the images are right: noise is diverse. Compare only within a geometry.

    What is compared is :math:`\sqrt{e / \sum e}` of the cells: the share, because the energy spectrum is no diversity
    of shapes, and its root, because sampling fluctuations of a cell's energy grow as its root, so that bright cells do
    not decide alone. The range of values, from which the constants of SSIM follow, is the mean brightest cell of the
    reference in this quantity. An empty image is all zero and equals another.

    Layers are too small for the five scales and the window of 11 pixels of the paper. Here the window is uniform,
    3 by 3 cells, and there are as many scales as fit (12 x 12 cells: 3; 12 x 6: 2; 3 x 96: 1), with the paper's
    exponents of these scales divided by their sum. With one scale it is SSIM itself, which may be negative; with
    more, a negative similarity of a scale counts as zero. Along an axis with fewer cells than the window, the window is
    the largest odd number that fits.

    Pairs are disjoint: independent, and no event with itself. The cost is linear: about 0.2 s for 5000 pairs of
    12 x 12 cells.

    Args:
        reference: (N1, rows, columns) cell energies of one layer, not negative, in any unit.
        sample: (N2, rows, columns).
        rng: Draws the pairs.
        reference_weights: (N1,), default ones; a pair counts with the product of its two weights, of either sign.
        sample_weights: (N2,), default ones.
        reference_condition: (N1,) such as the incident energy: showers are then paired with one of the `NEIGHBOURS`
            of most similar condition, so that the similarity is that of showers at the same energy. The conditions
            of both samples should have the same distribution.
        sample_condition: (N2,); give both conditions or none.
        pairs: Largest number of pairs of each sample.
        window: Size of SSIM's window in cells, odd (the paper's is 11).

    Returns:
        Similarities of both samples and how they compare; uncertainties are those of the mean of independent pairs.

    Raises:
        ValueError: If a sample has less than four events, negative energies or images of another shape, a condition
            does not fit, or the weights of the pairs have no positive sum.

    References:
        Wang, Simoncelli and Bovik, Asilomar 2003 (MS-SSIM, eq. 7); Odena, Olah and Shlens, arXiv:1610.09585, section
        4.2 (as a measure of diversity).
    """
    first, second = (
        checked(reference, reference_weights, name="reference", ndim=3),
        checked(sample, sample_weights, name="sample", ndim=3),
    )
    if first[0].shape[1:] != second[0].shape[1:]:
        raise ValueError(
            f"images: expected the same cells in both samples, got {first[0].shape[1:]} and {second[0].shape[1:]}; "
            "compare the same layer"
        )
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number of cells, got {window}; 3 is a good one")
    if (reference_condition is None) != (sample_condition is None):
        raise ValueError("condition: expected one for both samples or for none, got one; give the other too")
    results = []
    data_range = 1.0
    for name, (x, w), given in (
        ("reference", first, reference_condition),
        ("sample", second, sample_condition),
    ):
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
        images = _root_of_share(x[one]), _root_of_share(x[other])
        if name == "reference":
            brightest = float(np.mean([image.max((1, 2)) for image in images]))
            data_range = brightest if brightest > 0 else 1.0  # all empty, all equal
        similarity = _similarities(*images, window=window, data_range=data_range)
        results.append(mean(similarity, w[one] * w[other], name=f"pairs of the {name}"))
    of_reference, of_sample = results
    change = relative_difference((1 - of_sample[0], of_sample[1]), (1 - of_reference[0], of_reference[1]))
    ratio = None if change is None or of_reference[0] == 1 else (1 + change[0], change[1])
    return ImageDiversity(of_reference, of_sample, _difference(of_sample, of_reference), ratio)


def mode_coverage(
    sample: ArrayLike,
    centres: ArrayLike,
    *,
    radius: float,
    sample_weights: ArrayLike | None = None,
) -> ModeCoverage:
    r"""Modes that a sample covers, and the share of its events that are in one.

    An event is of high quality if it is within the radius of the nearest centre, which is usually three standard
    deviations (for two-dimensional Gaussian modes :math:`1 - e^{-9/2}` = 98.9 % are); a mode is found if it is the
    nearest of at least one of them. Not seen: the shape inside a mode. One that shrank to a point is found.

    The divergence :math:`\sum_k p_k \ln (K p_k)` of the occupation is 0 for equal shares, :math:`\ln (K / m)` for equal
    shares of m modes, and about :math:`(K - 1) / 2N` for N events of equal modes.

    Args:
        sample: (N, F).
        centres: (K, F), such as those of `hepgan.toys.mixtures.ring_centres`.
        radius: Distance from a centre, in the unit of the sample: three standard deviations of a mode.
        sample_weights: (N,), default ones. With negative ones a mode is found if its sum is positive, and a
            negative sum counts as zero in the occupation.

    Returns:
        The numbers; uncertainty of the share binomial as in `efficiency`, of the divergence the larger of the first and
        second order of its expansion around the occupation, both with the effective number of events.

    Raises:
        ValueError: If the centres do not fit the sample or the radius is not positive.

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
        nothing = (math.nan, math.nan)
        return ModeCoverage(0, len(modes), (float(share), float(share_error)), content, nothing)
    occupation = content / total
    logarithm = np.log(len(modes) * np.where(occupation > 0, occupation, 1.0))
    divergence = float(occupation @ logarithm)
    effective = total**2 / variance
    second_order = (int((occupation > 0).sum()) - 1) / (2 * effective**2)
    first_order = (float(occupation @ logarithm**2) - divergence**2) / effective
    first_order -= 2 * second_order  # what it is on average when there is none
    return ModeCoverage(
        int((sums > 0).sum()),
        len(modes),
        (float(share), float(share_error)),
        occupation,
        (divergence, math.sqrt(max(first_order, second_order))),
    )


def _binned(values: Array, edges: list[Array]) -> Array:
    """Bin numbers instead of features: scikit-learn's own weighted binning takes longer than growing the trees."""
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
    r"""Inception-style score :math:`\exp(E_x KL(p(y|x) \| p(y)))` with a classifier of particle species.

    High if each event is clearly of one species and all species occur: the number of species at best (separable, equal
    shares), 1 if the classifier learns nothing or there is one species only. For the true :math:`p(y|x)` it is the
    exponential of the mutual information of features and species. A sample should reach the score of the reference; a
    lower one means events between the species, or missing species, a HIGHER one events more typical than real ones.
    Not seen: copies, a species of which all events are equal, two species that are swapped, and events that are
    blurred into regions where the classifier is sure although nothing real is there. A classifier trained on few
    events is too sure of itself and its scores are too high, for both samples alike (two species that cannot be told
    apart: 1.04 with 2000 events of ten features, 1.004 with 20,000; three species: 1.14 and 1.014): compare the samples
    with each other, not with the number of species.

    The classifier is gradient boosting with the settings `hepgan.metrics.classifier.BOOSTING`, trained on the reference
    by cross-validation. Each event of the reference is scored by the classifier that did not see it; the events of the
    sample are shared among the same classifiers at random. 20,000 events of 35 features and three species take 5 s.

    Args:
        reference: (N1, F) features.
        sample: (N2, F) features.
        reference_species: (N1,) labels of any type, at least two different ones.
        rng: Draws folds and subsets.
        reference_weights: (N1,), default ones; the training takes their magnitude, the score their sign.
        sample_weights: (N2,), default ones.
        folds: Number of classifiers.
        most: Largest number of events taken of each sample.

    Returns:
        Scores of both samples; uncertainties are those of the mean divergence for the classifiers at hand (delta
        method). Those of the difference are too large where the classifier itself is what fluctuates.

    Raises:
        ValueError: If there are less than two species, too few events of one, other features in the sample, or
            negative weights that make the share of a species negative.

    References:
        Salimans et al., arXiv:1606.03498, section 4; Barratt and Sharma, arXiv:1801.01973 (what it does not tell).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # heavy; only this metric needs it
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    x1, w1 = checked(reference, reference_weights, name="reference", ndim=2)
    x2, w2 = checked(sample, sample_weights, name="sample", ndim=2)
    labels = np.asarray(reference_species)
    if labels.shape != (len(x1),):
        raise ValueError(
            f"species: expected one for each of {len(x1)} events of the reference, got shape {labels.shape}"
        )
    if x1.shape[1] != x2.shape[1]:
        raise ValueError(
            f"classifier score: expected the same features in both samples, got {x1.shape[1]} and {x2.shape[1]} columns"
        )
    one, other = (rng.permutation(len(x))[:most] for x in (x1, x2))
    names, number, counts = np.unique(labels[one], return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"species: expected at least two, got {names.tolist()}; give a sample of several")
    if counts.min() < 2 * folds:
        raise ValueError(
            f"species {names[counts.argmin()]}: {folds} folds need at least {2 * folds} events, got {counts.min()}; "
            "take more events or fewer folds"
        )
    x1, w1, x2, w2 = x1[one], w1[one], x2[other], w2[other]
    seed = int(rng.integers(2**31))
    part = np.arange(len(x2)) % folds  # they are in random order already
    of_reference, of_sample = np.empty((len(x1), len(names))), np.empty((len(x2), len(names)))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(x1, number)
    with threadpool_limits(limits=1, user_api="openmp"):  # as in `two_sample_test`
        for k, (train, held) in enumerate(split):
            edges = [quantile_edges(column, BOOSTING["max_bins"] - 1) for column in x1[train].T]
            model = HistGradientBoostingClassifier(**BOOSTING, random_state=seed)
            model.fit(_binned(x1[train], edges), number[train], sample_weight=np.abs(w1[train]))
            of_reference[held] = model.predict_proba(_binned(x1[held], edges))
            of_sample[part == k] = model.predict_proba(_binned(x2[part == k], edges))

    def score(probability: Array, weights: Array, name: str) -> Measurement:
        shares = np.average(probability, axis=0, weights=weights)
        if shares.min() <= 0:
            raise ValueError(
                f"{name}: negative weights give species {names[shares.argmin()]} a share of {shares.min():g}, whose "
                "logarithm is not defined; take more events"
            )
        divergence, uncertainty = mean(rel_entr(probability, shares).sum(axis=1), weights, name=name)
        return math.exp(divergence), math.exp(divergence) * uncertainty

    scores = score(of_reference, w1, "reference"), score(of_sample, w2, "sample")
    return ClassifierScore(*scores, _difference(scores[1], scores[0]))
