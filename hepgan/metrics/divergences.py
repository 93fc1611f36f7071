r"""f-divergences of binned distributions: one table, `DIVERGENCES`, and the chi-square test.

In formulas, :math:`p` are the bins of the reference (the data) and :math:`q` those of the sample (the model). All
divergences are zero for equal histograms, except ``gan``, which is :math:`-\ln 4`. They ignore how far one bin is from
another; for that, see `wasserstein`.

Which one to use: ``total_variation``, ``squared_hellinger`` and ``jensen_shannon`` are finite for any samples and safe
in a table. ``kl`` is large where the sample lacks events (infinite where only the reference has some), ``reverse_kl``
where the sample has events that the reference lacks; ``neyman`` and ``pearson`` are the same, but steeper. ``alpha``
interpolates between the two kinds. A generator that lost a mode has a large ``kl`` and a small ``reverse_kl``.

Merging bins can only lower an f-divergence, so the value of histograms is below that of the densities, apart from
statistical fluctuations, which add about :math:`f''(1) (B - 1) (1/N_1 + 1/N_2) / 2` for B bins.

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

from hepgan.metrics.histograms import histogram_pair, poisson_replicas
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

UNIT_SUM = 1e-6  # tolerance for the sum of a distribution, for histograms in single precision
EMPTY_BIN = 0.5  # events in an empty bin where a divergence would be infinite (see `histogram_divergence`)


@dataclass(frozen=True)
class Divergence:
    """One row of `DIVERGENCES`.

    Attributes:
        name: Its key.
        title: Its name in text.
        integrand: From the probabilities q of the sample and p of the reference in each bin, (..., B) both, and the
            parameters, to the contributions (..., B); infinite where the definition is. It is not called for bins that
            are empty in both.
        symmetric: Whether sample and reference can be exchanged, for all values of the parameters.
        lower: Smallest value, for equal histograms.
        upper: From the parameters to the largest value, for histograms without overlap.
        parameters: Names and defaults of the parameters.
        allowed: Lowest and highest value of a parameter, both excluded.
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
    """Ratio, infinite for a denominator of zero."""
    with np.errstate(divide="ignore", over="ignore"):
        result: Array = numerator / denominator
    return result


def _weighted_jensen_shannon(q: Array, p: Array, *, pi: float) -> Array:
    mixture = pi * p + (1 - pi) * q
    result: Array = pi * rel_entr(p, mixture) + (1 - pi) * rel_entr(q, mixture)
    return result


def _jensen_shannon(q: Array, p: Array) -> Array:
    return _weighted_jensen_shannon(q, p, pi=0.5)


def _alpha(q: Array, p: Array, *, alpha: float) -> Array:
    if alpha in (0.0, 1.0):  # the limits
        result: Array = rel_entr(p, q) if alpha == 0 else rel_entr(q, p)
        return result
    # p ((q/p)^alpha - 1) - alpha (q - p), in a form whose limit for an empty bin is zero or infinity, not NaN
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
        "total_variation", "total variation", lambda q, p: 0.5 * np.abs(p - q), True, 0.0, lambda: 1.0
    ),
    Divergence("kl", "Kullback-Leibler", lambda q, p: rel_entr(p, q), False, 0.0, _infinite),
    Divergence("reverse_kl", "reverse Kullback-Leibler", lambda q, p: rel_entr(q, p), False, 0.0, _infinite),
    Divergence("pearson", "Pearson χ²", lambda q, p: _divided((q - p) ** 2, p), False, 0.0, _infinite),
    Divergence("neyman", "Neyman χ²", lambda q, p: _divided((p - q) ** 2, q), False, 0.0, _infinite),
    Divergence(
        "squared_hellinger",
        "squared Hellinger",
        lambda q, p: (np.sqrt(p) - np.sqrt(q)) ** 2,
        True,
        0.0,
        lambda: 2.0,
    ),
    Divergence("jeffrey", "Jeffrey", lambda q, p: rel_entr(p, q) + rel_entr(q, p), True, 0.0, _infinite),
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
        lambda q, p: rel_entr(p, p + q) + rel_entr(q, p + q),
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
r"""All f-divergences by name, with :math:`q` of the sample (the model) and :math:`p` of the reference (the data):

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
gan                       twice Jensen-Shannon minus :math:`\ln 4`: the value of the GAN game at the best discriminator
alpha                     :math:`\frac{1}{\alpha (\alpha - 1)} \sum p [(q/p)^\alpha - 1] - \alpha (q - p)`; the limits
                          0 and 1 are kl and reverse_kl, 1/2 is twice squared_hellinger, 2 half of pearson, -1 half
                          of neyman
========================  ====================================================================================
"""


def _chosen(name: str, parameters: Mapping[str, float]) -> tuple[Divergence, dict[str, float]]:
    """Row of `DIVERGENCES` and all its parameters; the given ones are checked."""
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


def _summed(row: Divergence, q: Array, p: Array, parameters: dict[str, float]) -> Array:
    """Divergence (...) of distributions (..., B) of the sample (q) and the reference (p)."""
    empty = (p == 0) & (q == 0)
    terms = row.integrand(np.where(empty, 1.0, q), np.where(empty, 1.0, p), **parameters)
    result: Array = np.where(empty, 0.0, terms).sum(-1)
    return result


def divergence(name: str, sample: ArrayLike, reference: ArrayLike, **parameters: float) -> float:
    r"""f-divergence of two binned distributions (formulas: `DIVERGENCES`).

    The sample is the second argument of the usual notation: ``divergence("kl", q, p)`` is :math:`KL(p \| q)`.

    Args:
        name: Key of `DIVERGENCES`.
        sample: (B,) probabilities q of the bins in the sample (the model), sum 1.
        reference: (B,) probabilities p of the bins in the reference (the data), sum 1.
        **parameters: `pi` or `alpha`, if the divergence has it.

    Returns:
        Value, in the range of the table; infinity where the definition is infinite.

    Raises:
        ValueError: If the name or a parameter is unknown, or sample and reference are not distributions in the same
            bins.
    """
    row, chosen = _chosen(name, parameters)
    q, p = (np.asarray(values, dtype=np.float64) for values in (sample, reference))
    if q.ndim != 1 or q.shape != p.shape:
        raise ValueError(
            f"divergence {name}: expected sample and reference with the same bins, got shapes {q.shape} and {p.shape}"
        )
    for role, values in (("sample", q), ("reference", p)):
        if not (values >= 0).all() or not abs(values.sum() - 1) < UNIT_SUM:
            raise ValueError(
                f"divergence {name}: expected a {role} without negative bins and with sum 1, got a smallest bin of "
                f"{values.min(initial=math.inf):g} and a sum of {values.sum():g}; divide by the sum"
            )
    return float(_summed(row, q, p, chosen))


def _unit_sum(content: Array) -> Array:
    """Histogram (..., B) divided by its sum."""
    result: Array = content / content.sum(-1, keepdims=True)
    return result


def _occupied(content: Array, other: Array, event: float) -> Array:
    """Histogram with half an event (of a given weight) in each empty bin where the other histogram has events."""
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
    """f-divergence of two samples of one observable, in bins (formulas: `DIVERGENCES`).

    A divergence that is infinite where only one of the samples has events would depend on the tails of finite samples
    alone. For such a divergence an empty bin counts as half an event of mean weight: the value stays finite and grows
    with the logarithm (``kl``, ``reverse_kl``, ``jeffrey``) or a power (``pearson``, ``neyman``, ``alpha``) of the
    number of events; read it as "at least". For divergences that stay finite the bin is empty.

    Args:
        name: Key of `DIVERGENCES`.
        sample: (N1,), the model.
        reference: (N2,), the data.
        rng: Draws the bootstrap replicas (those of the reference first).
        sample_weights: (N1,), default ones; where negative weights make a bin negative, it is joined with its
            neighbour, as in `separation_power`.
        reference_weights: (N2,), default ones.
        bins: Number of quantile bins of the reference, if no edges are given.
        edges: (B + 1,) edges to use instead, increasing.
        n_bootstrap: Replicas for the uncertainty; 0 gives an uncertainty of 0.
        **parameters: `pi` or `alpha`, if the divergence has it.

    Returns:
        Value and bootstrap uncertainty. Equal distributions give a little more than the smallest value (see the
        module's docstring): compare with the value between two halves of the reference.

    Raises:
        ValueError: If the name or a parameter is unknown, a sample is empty or not finite, or its weights have no
            positive sum.
    """
    row, chosen = _chosen(name, parameters)
    histograms = histogram_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
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
    """All divergences of `DIVERGENCES` with their default parameters, from one binning and the same replicas.

    Arguments and errors as in `histogram_divergence`.

    Returns:
        Name -> value and bootstrap uncertainty.
    """
    histograms = histogram_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        bins=bins,
        edges=edges,
    )
    replicas = _replicas(histograms, n_bootstrap, rng)
    return {
        name: _measured(row, dict(row.parameters), histograms, replicas) for name, row in DIVERGENCES.items()
    }


Histograms = tuple[Array, Array, Array, Array]
"""Contents and variances of the sample, contents and variances of the reference, (B,) each."""


def _replicas(histograms: Histograms, number: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Bootstrap replicas of the contents of sample and reference, at most (number, B) each.

    With few events some replicas have none; they are left out.
    """
    h1, v1, h2, v2 = histograms
    replicas2 = poisson_replicas(h2, v2, number, rng)  # drawn first
    replicas1 = poisson_replicas(h1, v1, number, rng)
    some = (replicas1.sum(-1) > 0) & (replicas2.sum(-1) > 0)
    return replicas1[some], replicas2[some]


def _measured(
    row: Divergence, parameters: dict[str, float], histograms: Histograms, replicas: tuple[Array, Array]
) -> Measurement:
    """Value of one divergence of the histograms, and its scatter over the replicas."""
    h1, v1, h2, v2 = histograms
    one, none = np.ones(1), np.zeros(1)
    # whether an empty bin of the sample, or of the reference, makes the divergence infinite
    infinite = [bool(np.isinf(row.integrand(*pair, **parameters)[0])) for pair in ((none, one), (one, none))]
    events = [v.sum() / h.sum() for h, v in ((h1, v1), (h2, v2))]  # weight of one event

    def value(content1: Array, content2: Array) -> Array:
        filled1 = _occupied(content1, content2, events[0]) if infinite[0] else content1
        filled2 = _occupied(content2, content1, events[1]) if infinite[1] else content2
        return _summed(row, _unit_sum(filled1), _unit_sum(filled2), parameters)

    return float(value(h1, h2)), float(value(*replicas).std()) if len(replicas[0]) else 0.0


@dataclass(frozen=True)
class Chi2Test:
    """Outcome of `chi2_test`.

    Attributes:
        chi2: Sum over the bins.
        ndf: Number of degrees of freedom: bins with events, minus one.
        p_value: Probability of at least this chi2 for equal distributions.
    """

    chi2: float
    ndf: int
    p_value: float

    @property
    def per_ndf(self) -> Measurement:
        """chi2/ndf, with 1 expected for equal distributions, and its spread in that case; 0 +- 0 if ndf is 0."""
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
    contents :math:`h`, their sums :math:`W`, the ratio of variance and content of a bin, :math:`s = v / h`, and the
    common probability :math:`p_i = (h_{1i}/s_{1i} + h_{2i}/s_{2i}) / (W_1/s_{1i} + W_2/s_{2i})`. With the observed
    variances :math:`W_2^2 v_{1i} + W_1^2 v_{2i}` in the denominator, an empty bin of a small sample would count as
    measured without uncertainty; for samples of equal size and unit weights both denominators are the same. Without
    weights this is the usual test of a table of two rows.

    For any given difference the value grows with the number of events: a large value means "different", not "how much".

    Args:
        sample: (N1,).
        reference: (N2,).
        sample_weights: (N1,), default ones; where negative weights make a bin negative, it is joined with its
            neighbour.
        reference_weights: (N2,), default ones.
        bins: Number of quantile bins of the reference, if no edges are given.
        edges: (B + 1,) edges to use instead, increasing.

    Returns:
        chi2, number of degrees of freedom and p-value, which is valid for at least a few events per bin.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.

    References:
        Gagunashvili, arXiv:physics/0605123, section 3.2; Bohm and Zech, arXiv:1309.1287 (scaled Poisson numbers).
    """
    h1, v1, h2, v2 = histogram_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        bins=bins,
        edges=edges,
    )
    filled = (v2 > 0) | (v1 > 0)
    h1, v1, h2, v2 = (x[filled] for x in (h1, v1, h2, v2))
    sum1, sum2 = h1.sum(), h2.sum()
    s1, s2 = (
        np.divide(v, h, out=np.full_like(h, v.sum() / h.sum()), where=h > 0) for h, v in ((h1, v1), (h2, v2))
    )
    common = (h2 / s2 + h1 / s1) / (sum2 / s2 + sum1 / s1)
    variance = sum2 * sum1 * common * (sum1 * s2 + sum2 * s1)
    difference = (sum1 * h2 - sum2 * h1) ** 2
    chi2 = float(np.divide(difference, variance, out=np.zeros_like(variance), where=variance > 0).sum())
    ndf = len(h2) - 1
    return Chi2Test(chi2, ndf, float(chi2_distribution.sf(chi2, ndf)) if ndf else 1.0)
