r"""f-divergences of binned distributions: one table, `DIVERGENCES`, and the chi-square test.

:math:`P` is the data (the reference), :math:`Q` the model (the sample); all are zero for equal histograms, except
``gan``, which is :math:`-\ln 4`. None of them knows how far one bin is from another: for that, see `wasserstein`.

Which one to use: ``total_variation``, ``squared_hellinger`` and ``jensen_shannon`` are finite whatever the samples are,
and safe in a table. ``kl`` weighs what the model lacks (it is infinite where the data have events and the model has
none), ``reverse_kl`` what the model invents; ``neyman`` and ``pearson`` do the same more violently. ``alpha`` runs from
one kind to the other. A generator that lost a mode has a large ``kl`` and a small ``reverse_kl``.

Merging bins can only lower an f-divergence, so a value from a histogram is below that of the densities, apart from the
statistical fluctuation, which adds about :math:`f''(1) (B - 1) (1/N_1 + 1/N_2) / 2` for B bins.

References:
    Nowozin et al., arXiv:1606.00709, tables 1 and 5; Liese and Vajda, IEEE Trans. Inf. Theory 52 (2006) 4394.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr
from scipy.stats import chi2 as chi2_distribution

from hepgan.metrics.histogram import histogram_pair, poisson_replicas
from hepgan.metrics.moments import Measurement

__all__ = [
    "DIVERGENCES",
    "Chi2Test",
    "Divergence",
    "chi2_test",
    "divergence",
    "histogram_divergence",
    "histogram_divergences",
]

Array = NDArray[np.float64]

UNIT_SUM = 1e-6  # how far the sum of a density may be from 1: single precision has been seen in histograms
EMPTY_BIN = 0.5  # events that an empty bin counts as where a divergence would be infinite without (see below)


@dataclass(frozen=True)
class Divergence:
    """One row of the table.

    Attributes:
        name: Its key.
        title: Its name in text.
        integrand: From the probabilities of the data and of the model in each bin, (..., B) both, and the
            parameters, to the contributions (..., B); infinite where the definition is. Bins that are empty in both
            are not given to it.
        symmetric: Whether data and model can be exchanged, whatever the parameters are.
        lower: Its value for equal histograms, the smallest one.
        upper: From the parameters to its value for histograms without overlap, the largest one.
        parameters: Names and defaults of its parameters.
        allowed: Open or closed interval of a parameter: lowest and highest value.
    """

    name: str
    title: str
    integrand: Callable[..., Array]
    symmetric: bool
    lower: float
    upper: Callable[..., float]
    parameters: Mapping[str, float] = field(default_factory=dict)
    allowed: tuple[float, float] = (-math.inf, math.inf)


def _divided(numerator: Array, denominator: Array) -> Array:
    with np.errstate(divide="ignore", over="ignore"):
        result: Array = numerator / denominator
    return result


def _weighted_jensen_shannon(p: Array, q: Array, *, pi: float) -> Array:
    mixture = pi * p + (1 - pi) * q
    result: Array = pi * rel_entr(p, mixture) + (1 - pi) * rel_entr(q, mixture)
    return result


def _jensen_shannon(p: Array, q: Array) -> Array:
    return _weighted_jensen_shannon(p, q, pi=0.5)


def _alpha(p: Array, q: Array, *, alpha: float) -> Array:
    if alpha in (0.0, 1.0):  # the limits
        result: Array = rel_entr(p, q) if alpha == 0 else rel_entr(q, p)
        return result
    # p ((q/p)^alpha - 1) - alpha (q - p), written so that one empty bin gives its limit, zero or infinity
    with np.errstate(divide="ignore", over="ignore"):
        overlap = np.where((p == 0) & (alpha < 1) | (q == 0) & (alpha > 0), 0.0, q**alpha * p ** (1 - alpha))
    result = (overlap - (1 - alpha) * p - alpha * q) / (alpha * (alpha - 1))
    return result


def _entropy(pi: float) -> float:
    return -pi * math.log(pi) - (1 - pi) * math.log(1 - pi)


def _infinite(**_: float) -> float:
    return math.inf


_ROWS = (
    Divergence(
        "total_variation", "total variation", lambda p, q: 0.5 * np.abs(p - q), True, 0.0, lambda: 1.0
    ),
    Divergence("kl", "Kullback-Leibler", lambda p, q: rel_entr(p, q), False, 0.0, _infinite),
    Divergence("reverse_kl", "reverse Kullback-Leibler", lambda p, q: rel_entr(q, p), False, 0.0, _infinite),
    Divergence("pearson", "Pearson χ²", lambda p, q: _divided((q - p) ** 2, p), False, 0.0, _infinite),
    Divergence("neyman", "Neyman χ²", lambda p, q: _divided((p - q) ** 2, q), False, 0.0, _infinite),
    Divergence(
        "squared_hellinger",
        "squared Hellinger",
        lambda p, q: (np.sqrt(p) - np.sqrt(q)) ** 2,
        True,
        0.0,
        lambda: 2.0,
    ),
    Divergence("jeffrey", "Jeffrey", lambda p, q: rel_entr(p, q) + rel_entr(q, p), True, 0.0, _infinite),
    Divergence("jensen_shannon", "Jensen-Shannon", _jensen_shannon, True, 0.0, lambda: math.log(2)),
    Divergence(
        "weighted_jensen_shannon",
        "weighted Jensen-Shannon",
        _weighted_jensen_shannon,
        False,
        0.0,
        lambda pi: _entropy(pi),
        {"pi": 0.5},
        (0.0, 1.0),
    ),
    Divergence(
        "gan",
        "GAN",
        lambda p, q: rel_entr(p, p + q) + rel_entr(q, p + q),
        True,
        -math.log(4),
        lambda: 0.0,
    ),
    Divergence(
        "alpha",
        "α-divergence",
        _alpha,
        False,
        0.0,
        lambda alpha: 1 / (alpha * (1 - alpha)) if 0 < alpha < 1 else math.inf,
        {"alpha": 0.5},
    ),
)

DIVERGENCES: dict[str, Divergence] = {row.name: row for row in _ROWS}
r"""Every f-divergence by name, :math:`p` of the data, :math:`q` of the model:

========================  ====================================================================================
total_variation           :math:`\frac{1}{2} \sum |p - q|`
kl                        :math:`\sum p \ln(p/q)`
reverse_kl                :math:`\sum q \ln(q/p)`
pearson                   :math:`\sum (q - p)^2 / p`
neyman                    :math:`\sum (p - q)^2 / q`
squared_hellinger         :math:`\sum (\sqrt{p} - \sqrt{q})^2`
jeffrey                   :math:`\sum (p - q) \ln(p/q)`
jensen_shannon            :math:`\frac{1}{2} \sum p \ln \frac{2p}{p + q} + q \ln \frac{2q}{p + q}`
weighted_jensen_shannon   :math:`\sum \pi p \ln(p/m) + (1 - \pi) q \ln(q/m)`, :math:`m = \pi p + (1 - \pi) q`
gan                       twice Jensen-Shannon minus :math:`\ln 4`: the value of the best discriminator's game
alpha                     :math:`\frac{1}{\alpha (\alpha - 1)} \sum p [(q/p)^\alpha - 1] - \alpha (q - p)`; the limits
                          0 and 1 are kl and reverse_kl, 1/2 is twice squared_hellinger, 2 half of pearson, -1 half
                          of neyman
========================  ====================================================================================
"""


def _chosen(name: str, parameters: Mapping[str, float]) -> tuple[Divergence, dict[str, float]]:
    if name not in DIVERGENCES:
        raise ValueError(
            f"divergence: expected one of {list(DIVERGENCES)}, got {name!r}; choose one of these"
        )
    row = DIVERGENCES[name]
    for parameter, value in parameters.items():
        if parameter not in row.parameters:
            raise ValueError(
                f"divergence {name}: expected parameters {list(row.parameters)}, got {parameter!r}; remove it"
            )
        low, high = row.allowed
        if not low < value < high:
            raise ValueError(
                f"divergence {name}: expected {parameter} between {low:g} and {high:g}, got {value:g}; choose "
                "one inside"
            )
    return row, {**row.parameters, **parameters}


def _summed(row: Divergence, p: Array, q: Array, parameters: dict[str, float]) -> Array:
    empty = (p == 0) & (q == 0)
    terms = row.integrand(np.where(empty, 1.0, p), np.where(empty, 1.0, q), **parameters)
    result: Array = np.where(empty, 0.0, terms).sum(-1)
    return result


def divergence(name: str, p: ArrayLike, q: ArrayLike, **parameters: float) -> float:
    """Divergence of two binned distributions (see `DIVERGENCES`).

    Args:
        name: Key of `DIVERGENCES`.
        p: (B,) probabilities of the bins in the data, sum 1.
        q: (B,) the same in the model.
        **parameters: `pi` or `alpha`, where the divergence has it.

    Returns:
        Its value; infinity where the definition is infinite.

    Raises:
        ValueError: If the name or a parameter is unknown, or `p` and `q` are not densities in the same bins.
    """
    row, chosen = _chosen(name, parameters)
    arrays = [np.asarray(values, dtype=np.float64) for values in (p, q)]
    if arrays[0].ndim != 1 or arrays[0].shape != arrays[1].shape:
        raise ValueError(
            f"divergence {name}: expected two histograms with the same bins, got shapes {arrays[0].shape} and "
            f"{arrays[1].shape}"
        )
    for label, values in zip(("p", "q"), arrays, strict=True):
        if not (values >= 0).all() or not abs(values.sum() - 1) < UNIT_SUM:
            raise ValueError(
                f"divergence {name}: expected {label} without negative bins and with sum 1, got a smallest bin of "
                f"{values.min(initial=math.inf):g} and a sum of {values.sum():g}; divide by the sum"
            )
    return float(_summed(row, arrays[0], arrays[1], chosen))


def _unit_sum(content: Array) -> Array:
    result: Array = content / content.sum(-1, keepdims=True)
    return result


def _occupied(content: Array, other: Array, event: float) -> Array:
    """Half an event in each empty bin where the other histogram has some."""
    return np.where((content == 0) & (other > 0), EMPTY_BIN * event, content)


def histogram_divergence(
    name: str,
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    bins: int = 40,
    edges: Array | None = None,
    n_bootstrap: int = 50,
    **parameters: float,
) -> Measurement:
    """Divergence of two samples of one observable, in bins.

    A divergence that is infinite where one sample has events and the other has none would be decided by the tails
    of a finite sample. There an empty bin counts as half an event (of the sample's mean weight): the value stays
    finite and grows with the logarithm (``kl``, ``reverse_kl``, ``jeffrey``) or a power (``pearson``, ``neyman``,
    ``alpha``) of the number of events; read it as "at least". Divergences that stay finite take the bin as empty.

    Args:
        name: Key of `DIVERGENCES`.
        reference: (N1,), the data.
        sample: (N2,), the model.
        rng: Draws the bootstrap replicas.
        reference_weights: (N1,), default ones; where negative weights make a bin negative, it is joined with its
            neighbour, as in `separation_power`.
        sample_weights: (N2,), default ones.
        bins: Number of quantile bins of the reference, when no edges are given.
        edges: (B + 1,) edges to use instead.
        n_bootstrap: Replicas for the uncertainty; 0 gives an uncertainty of 0.
        **parameters: `pi` or `alpha`, where the divergence has it.

    Returns:
        Value and bootstrap uncertainty. Equal distributions give a little more than the smallest value (see the
        module's text): compare with the value between two halves of the reference.

    Raises:
        ValueError: If the name or a parameter is unknown, a sample is empty or not finite, or its weights have no
            positive sum.
    """
    row, chosen = _chosen(name, parameters)
    histograms = histogram_pair(
        sample,
        reference,
        reference_weights=reference_weights,
        sample_weights=sample_weights,
        bins=bins,
        edges=edges,
    )
    return _measured(row, chosen, histograms, _replicas(histograms, n_bootstrap, rng))


def histogram_divergences(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    bins: int = 40,
    edges: Array | None = None,
    n_bootstrap: int = 50,
) -> dict[str, Measurement]:
    """Every divergence of `DIVERGENCES`, with its default parameters, from one binning and the same replicas.

    Arguments and errors are those of `histogram_divergence`.

    Returns:
        Value and bootstrap uncertainty by name.
    """
    histograms = histogram_pair(
        sample,
        reference,
        reference_weights=reference_weights,
        sample_weights=sample_weights,
        bins=bins,
        edges=edges,
    )
    replicas = _replicas(histograms, n_bootstrap, rng)
    return {
        name: _measured(row, dict(row.parameters), histograms, replicas) for name, row in DIVERGENCES.items()
    }


Histograms = tuple[Array, Array, Array, Array]
"""Contents and variances of the data, contents and variances of the model, (B,) each."""


def _replicas(histograms: Histograms, number: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Bootstrap replicas of the contents, (number, B) each; of a handful of events some have none and are left out."""
    h1, v1, h2, v2 = histograms
    first, second = poisson_replicas(h1, v1, number, rng), poisson_replicas(h2, v2, number, rng)
    some = (first.sum(-1) > 0) & (second.sum(-1) > 0)
    return first[some], second[some]


def _measured(
    row: Divergence, parameters: dict[str, float], histograms: Histograms, replicas: tuple[Array, Array]
) -> Measurement:
    h1, v1, h2, v2 = histograms
    one, none = np.ones(1), np.zeros(1)
    infinite_without = [
        bool(np.isinf(row.integrand(*pair, **parameters)[0])) for pair in ((none, one), (one, none))
    ]
    events = [v.sum() / h.sum() for h, v in ((h1, v1), (h2, v2))]  # weight of one event

    def value(first: Array, second: Array) -> Array:
        filled = (
            _occupied(first, second, events[0]) if infinite_without[0] else first,
            _occupied(second, first, events[1]) if infinite_without[1] else second,
        )
        return _summed(row, _unit_sum(filled[0]), _unit_sum(filled[1]), parameters)

    return float(value(h1, h2)), float(value(*replicas).std()) if len(replicas[0]) else 0.0


@dataclass(frozen=True)
class Chi2Test:
    """Outcome of `chi2_test`.

    Attributes:
        chi2: The sum over the bins.
        ndf: Bins with events, minus one.
        p_value: Probability of at least this chi2 for equal distributions.
    """

    chi2: float
    ndf: int
    p_value: float

    @property
    def per_ndf(self) -> Measurement:
        """chi2/ndf, expected to be 1 for equal distributions, and its spread then; 0 +- 0 without a free bin."""
        return (self.chi2 / self.ndf, math.sqrt(2 / self.ndf)) if self.ndf else (0.0, 0.0)


def chi2_test(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    bins: int = 40,
    edges: Array | None = None,
) -> Chi2Test:
    r"""Chi-square test that two weighted histograms come from the same distribution.

    :math:`\chi^2 = \sum_i (W_2 h_{1i} - W_1 h_{2i})^2 / (W_2^2 s_{1i} W_1 p_i + W_1^2 s_{2i} W_2 p_i)` with the
    contents :math:`h`, their sums :math:`W`, the variance of a bin per content, :math:`s = v / h`, and the common
    probability :math:`p_i = (h_{1i}/s_{1i} + h_{2i}/s_{2i}) / (W_1/s_{1i} + W_2/s_{2i})`. With the observed variances
    :math:`W_2^2 v_{1i} + W_1^2 v_{2i}` as denominator an empty bin of a small sample would count as measured without
    uncertainty; the two are the same for samples of one size and unit weights. Without weights this is the usual test
    of a table of two rows.

    It grows with the number of events for any given difference: a large value says "different", not "how much".

    Args:
        reference: (N1,).
        sample: (N2,).
        reference_weights: (N1,), default ones; where negative weights make a bin negative, it is joined with its
            neighbour.
        sample_weights: (N2,), default ones.
        bins: Number of quantile bins of the reference, when no edges are given.
        edges: (B + 1,) edges to use instead.

    Returns:
        chi2, number of degrees of freedom, p-value: right from a few events a bin on.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.

    References:
        Gagunashvili, arXiv:physics/0605123, section 3.2; Bohm and Zech, arXiv:1309.1287 (scaled Poisson numbers).
    """
    h1, v1, h2, v2 = histogram_pair(
        sample,
        reference,
        reference_weights=reference_weights,
        sample_weights=sample_weights,
        bins=bins,
        edges=edges,
    )
    filled = (v1 > 0) | (v2 > 0)
    h1, v1, h2, v2 = (x[filled] for x in (h1, v1, h2, v2))
    sum1, sum2 = h1.sum(), h2.sum()
    s1, s2 = (
        np.divide(v, h, out=np.full_like(h, v.sum() / h.sum()), where=h > 0) for h, v in ((h1, v1), (h2, v2))
    )
    common = (h1 / s1 + h2 / s2) / (sum1 / s1 + sum2 / s2)
    variance = sum1 * sum2 * common * (sum2 * s1 + sum1 * s2)
    difference = (sum2 * h1 - sum1 * h2) ** 2
    chi2 = float(np.divide(difference, variance, out=np.zeros_like(variance), where=variance > 0).sum())
    ndf = len(h1) - 1
    return Chi2Test(chi2, ndf, float(chi2_distribution.sf(chi2, ndf)) if ndf else 1.0)
