"""Two-sample metrics: arrays and weights in, (value, uncertainty) out; no plots, no files.

Which one to use, what it means and how it is fooled: docs/metrics.md. In short: `separation_power` for one observable,
blind to the order of its bins, from 0 (same) to 1 (no overlap); `wasserstein` when it matters how FAR the distributions
are apart, in the observable's unit; `two_sample_test` for all observables and their correlations at once, 0.5 (same)
to 1 (told apart every time); `single_feature_auc` to find which observable gives a sample away. Weights may have either
sign, unless a function says why not.
"""

from hepgan.metrics.classifier import (
    TwoSampleTest,
    area_under_curve,
    correlated_groups,
    roc_curve,
    single_feature_auc,
    two_sample_test,
)
from hepgan.metrics.correlation import correlation_matrix
from hepgan.metrics.critic import wasserstein_critic
from hepgan.metrics.distance import wasserstein
from hepgan.metrics.divergence import DIVERGENCES, chi2_test, divergence, histogram_divergence
from hepgan.metrics.diversity import classifier_score, image_diversity, mode_coverage
from hepgan.metrics.efficiency import efficiency
from hepgan.metrics.frechet import frechet_distance, frechet_physics_distance, kernel_physics_distance
from hepgan.metrics.histogram import (
    bin_number,
    histogram,
    profile,
    quantile_edges,
    separation_power,
    uniform_edges,
)
from hepgan.metrics.kernel import mmd
from hepgan.metrics.ks import ks_distance, ks_in_bins, ks_projected
from hepgan.metrics.memorisation import duplication, memorisation, share_of_copies, share_of_repeats
from hepgan.metrics.moments import mean, relative_difference, relative_spread, spread
from hepgan.metrics.network import network_test
from hepgan.metrics.parzen import parzen_log_likelihood
from hepgan.metrics.ratio import density_ratio, reweighting
from hepgan.metrics.resolution import ResolutionFit, resolution_fit
from hepgan.metrics.transport import earth_movers_distance, max_sliced_wasserstein, sliced_wasserstein

__all__ = [
    "DIVERGENCES",
    "ResolutionFit",
    "TwoSampleTest",
    "area_under_curve",
    "bin_number",
    "chi2_test",
    "classifier_score",
    "correlated_groups",
    "correlation_matrix",
    "density_ratio",
    "divergence",
    "duplication",
    "earth_movers_distance",
    "efficiency",
    "frechet_distance",
    "frechet_physics_distance",
    "histogram",
    "histogram_divergence",
    "image_diversity",
    "kernel_physics_distance",
    "ks_distance",
    "ks_in_bins",
    "ks_projected",
    "max_sliced_wasserstein",
    "mean",
    "memorisation",
    "mmd",
    "mode_coverage",
    "network_test",
    "parzen_log_likelihood",
    "profile",
    "quantile_edges",
    "relative_difference",
    "relative_spread",
    "resolution_fit",
    "reweighting",
    "roc_curve",
    "separation_power",
    "share_of_copies",
    "share_of_repeats",
    "single_feature_auc",
    "sliced_wasserstein",
    "spread",
    "two_sample_test",
    "uniform_edges",
    "wasserstein",
    "wasserstein_critic",
]
