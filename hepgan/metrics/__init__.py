"""Two-sample metrics: arrays and weights in, (value, uncertainty) out; no plots, no files.

Which one to use: `separation_power` for one observable, blind to the order of its bins, from 0 (same) to 1
(no overlap); `wasserstein` when it matters how FAR the distributions are apart, in the observable's unit;
`two_sample_test` for all observables and their correlations at once, 0.5 (same) to 1 (told apart every
time); `single_feature_auc` to find which observable gives a sample away. Weights may have either sign.
"""

from hepgan.metrics.classifier import (
    TwoSampleTest,
    area_under_curve,
    roc_curve,
    single_feature_auc,
    two_sample_test,
)
from hepgan.metrics.correlation import correlation_matrix
from hepgan.metrics.distance import wasserstein
from hepgan.metrics.efficiency import efficiency
from hepgan.metrics.histogram import (
    bin_number,
    histogram,
    profile,
    quantile_edges,
    separation_power,
    uniform_edges,
)
from hepgan.metrics.ks import ks_distance, ks_in_bins, ks_projected
from hepgan.metrics.moments import mean, relative_difference, relative_spread, spread
from hepgan.metrics.resolution import ResolutionFit, resolution_fit

__all__ = [
    "ResolutionFit",
    "TwoSampleTest",
    "area_under_curve",
    "bin_number",
    "correlation_matrix",
    "efficiency",
    "histogram",
    "ks_distance",
    "ks_in_bins",
    "ks_projected",
    "mean",
    "profile",
    "quantile_edges",
    "relative_difference",
    "relative_spread",
    "resolution_fit",
    "roc_curve",
    "separation_power",
    "single_feature_auc",
    "spread",
    "two_sample_test",
    "uniform_edges",
    "wasserstein",
]
