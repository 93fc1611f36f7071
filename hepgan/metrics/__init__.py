"""Two-sample metrics: arrays and weights in, (value, uncertainty) out; no plots, no files.

Arguments come in the order sample (what is judged), reference (what is right). Weights may have either sign, unless a
function says why not. Two samples of one distribution are at no distance 0: compare with two halves of the reference.
docs/metrics.md explains each metric and shows how it is fooled. Which one to use when:

One observable
    - How far apart are the distributions, in its unit? `wasserstein`.
    - Do the shapes agree? `separation_power` (0 same, 1 no overlap), `histogram_divergence`, `chi2_test`; these ignore
      the order of the bins. Without bins: `ks_distance`, and `ks_in_bins` in bins of a condition.
    - How well does it give the sample away? `single_feature_auc`, 0.5 (not at all) to 1 (every time).
All observables and their correlations
    - Can the samples be told apart? `two_sample_test`, 0.5 (no) to 1 (every time); its importances say where.
    - How far apart are they? `sliced_wasserstein` for all events; `max_sliced_wasserstein` for the worst combination of
      observables; `earth_movers_distance` (exact, on subsets) and `wasserstein_critic` (from below) for the distance
      itself; `mmd` for a test with a p-value; `ks_projected`.
    - How do they compare with published generators? `frechet_physics_distance`, `kernel_physics_distance`,
      `network_test`; `parzen_log_likelihood` with the first GAN papers only.
    - Which weights make the sample imitate the reference? `reweighting`.
The generator
    - Does it repeat itself? `duplication`, `share_of_repeats`. Does it copy training events? `memorisation`,
      `share_of_copies`.
    - Is it as diverse as the reference? `image_diversity`, `mode_coverage`, `classifier_score`.
Physics
    - `mean`, `spread`, `relative_spread`, `relative_difference`, `profile`, `efficiency`, `correlation_matrix`,
      `resolution_fit`; spectra, profiles and correlations of cells in `hepgan.metrics.cells`.

The import needs NumPy and SciPy only: torch, scikit-learn and POT are imported by the metrics that use them.
"""

import importlib
from typing import TYPE_CHECKING

from hepgan.metrics.classifier import (
    TwoSampleTest,
    correlated_groups,
    single_feature_auc,
    two_sample_test,
)
from hepgan.metrics.copies import duplication, memorisation, share_of_copies, share_of_repeats
from hepgan.metrics.correlation import correlation_matrix
from hepgan.metrics.distance import wasserstein
from hepgan.metrics.divergences import DIVERGENCES, chi2_test, divergence, histogram_divergence
from hepgan.metrics.diversity import classifier_score, image_diversity, mode_coverage
from hepgan.metrics.efficiencies import efficiency
from hepgan.metrics.frechet import frechet_distance, frechet_physics_distance, kernel_physics_distance
from hepgan.metrics.histograms import (
    bin_number,
    histogram,
    profile,
    quantile_edges,
    separation_power,
    uniform_edges,
)
from hepgan.metrics.kernel import mmd
from hepgan.metrics.ks import ks_distance, ks_in_bins, ks_projected
from hepgan.metrics.moments import mean, relative_difference, relative_spread, spread
from hepgan.metrics.parzen import parzen_log_likelihood
from hepgan.metrics.ratio import density_ratio, reweighting
from hepgan.metrics.resolution import ResolutionFit, resolution_fit
from hepgan.metrics.roc import area_under_curve, roc_curve
from hepgan.metrics.transport import earth_movers_distance, max_sliced_wasserstein, sliced_wasserstein

if TYPE_CHECKING:
    from hepgan.metrics.critic import wasserstein_critic
    from hepgan.metrics.network import network_test
else:
    _WITH_TORCH = {"network_test": "network", "wasserstein_critic": "critic"}

    def __getattr__(name):
        """Import a metric that needs torch when it is first used."""
        if name not in _WITH_TORCH:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)


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
