"""Sample before reference: in every signature, and inside every function; importing the metrics imports no torch."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

from hepgan import metrics

MODULES = [
    importlib.import_module(f"hepgan.metrics.{module.name}")
    for module in pkgutil.iter_modules(metrics.__path__)
]
PAIRS = (("sample", "reference"), ("sample", "training"), ("w1", "w2"), ("x1", "x2"), ("q", "p"))


def functions(module):
    """Functions and methods of a module, private ones too."""
    for holder in (module, *(c for c in vars(module).values() if inspect.isclass(c))):
        for value in vars(holder).values():
            if inspect.isfunction(value) and value.__module__ == module.__name__:
                yield value


def in_order(names):
    """Whether the name of the sample's part precedes that of the reference's, for all that come in pairs."""
    for first, second in PAIRS:
        for name in names:
            if name == first or name.startswith(f"{first}_"):
                other = second + name.removeprefix(first)
                if other in names and names.index(other) < names.index(name):
                    return False
    return True


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_sample_comes_first_in_signatures_and_docstrings(module):
    assert module.__name__.rpartition(".")[2] not in vars(module), "a function has the name of its module"
    documented = [(f.__qualname__, list(inspect.signature(f).parameters), f) for f in functions(module)]
    documented += [
        (name, list(c.__dataclass_fields__), c)
        for name, c in vars(module).items()
        if hasattr(c, "__dataclass_fields__") and c.__module__ == module.__name__
    ]
    for name, names, thing in documented:
        assert in_order(names), name
        text = inspect.getdoc(thing) or ""
        described = [line.strip().partition(":")[0] for line in text.splitlines() if ": " in line]
        assert in_order([word.strip("*") for word in described if word.isidentifier()]), name


TWO = [
    getattr(metrics, name)
    for name in metrics.__all__
    if inspect.isfunction(getattr(metrics, name))
    and list(inspect.signature(getattr(metrics, name)).parameters)[:2] == ["sample", "reference"]
]
FEATURES = {  # dimensions of the samples; one if not mentioned
    "classifier_score": 2,
    "duplication": 2,
    "earth_movers_distance": 2,
    "frechet_physics_distance": 2,
    "image_diversity": 3,
    "kernel_physics_distance": 2,
    "ks_projected": 2,
    "max_sliced_wasserstein": 2,
    "mmd": 2,
    "network_test": 2,
    "parzen_log_likelihood": 2,
    "reweighting": 2,
    "sliced_wasserstein": 2,
    "two_sample_test": 2,
    "wasserstein_critic": 2,
}


def call(metric, sample, reference):
    parameters = inspect.signature(metric).parameters
    given = {"sample": sample, "reference": reference}
    if "rng" in parameters:
        given["rng"] = np.random.default_rng(1)
    if "reference_species" in parameters:
        given["reference_species"] = np.arange(len(reference)) % 2
    if "edges" in parameters and parameters["edges"].default is inspect.Parameter.empty:
        given["edges"] = np.array([0.0, 1.0])
    for name in ("sample", "reference"):
        if f"{name}_condition" in parameters:
            given[f"{name}_condition"] = np.zeros(len(given[name]))
    return metric(**given)


def test_most_metrics_compare_a_sample_with_a_reference():
    assert len(TWO) >= 20
    assert set(FEATURES) <= {metric.__name__ for metric in TWO}


@pytest.mark.parametrize("wrong", ["sample", "reference"])
@pytest.mark.parametrize(
    "metric", [m for m in TWO if m.__name__ != "relative_difference"], ids=lambda m: m.__name__
)
def test_errors_name_the_sample_that_is_wrong(metric, wrong):
    ndim = FEATURES.get(metric.__name__, 1)
    good = np.random.default_rng(2).uniform(size=(40, 6, 6)[:ndim])
    bad = good.copy()
    bad[3] = np.nan
    samples = {"sample": good, "reference": good, wrong: bad}
    with pytest.raises(ValueError, match=f"^{wrong}: 1 of 40 events are not finite"):
        call(metric, **samples)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.separation_power,
        metrics.chi2_test,
        lambda *pair, **given: metrics.histogram_divergence("total_variation", *pair, **given),
    ],
)
def test_bins_are_quantiles_of_the_reference(metric):
    """Four bins of equal content of the reference, one of which holds the whole sample."""
    rng = {} if metric is metrics.chi2_test else {"rng": np.random.default_rng(1)}
    sample, reference = np.linspace(0, 1, 100), np.linspace(0, 4, 1000)
    edges = metrics.quantile_edges(reference, 4)
    values = [
        getattr(result, "per_ndf", result)[0]
        for result in (
            metric(sample, reference, **rng, bins=4),
            metric(sample, reference, **rng, edges=edges),
            metric(reference, sample, **rng, bins=4),
        )
    ]
    assert values[0] == values[1]
    assert abs(values[2] / values[0] - 1) > 0.1


def test_likelihood_is_that_of_the_reference():
    """The kernel density is the sample's: a wide one holds a narrow reference, not the reverse."""
    rng = np.random.default_rng(3)
    wide, narrow = rng.normal(0, 3, (400, 1)), rng.normal(0, 0.3, (400, 1))
    likely, unlikely = (
        metrics.parzen_log_likelihood(*pair, rng=rng, bandwidths=[0.2]).value
        for pair in ((wide, narrow), (narrow, wide))
    )
    assert likely > unlikely + 10


def test_reweighting_weights_the_sample():
    rng = np.random.default_rng(4)
    sample, reference = rng.uniform(0, 2, (500, 1)), rng.uniform(0, 1, (300, 1))
    result = metrics.reweighting(sample, reference, rng=rng, folds=2)
    assert result.weights.shape == (500,)
    assert result.weights[sample[:, 0] > 1].sum() < 0.05 * result.weights.sum()


def test_import_is_cheap():
    """NumPy and SciPy only, also for the simple metrics; the two that need torch import it when they are used."""
    program = """
import sys
import numpy as np
from hepgan import metrics
import hepgan.metrics.cells
rng = np.random.default_rng(1)
x, y = rng.normal(size=(2, 100))
metrics.wasserstein(y, x), metrics.ks_distance(y, x), metrics.separation_power(y, x, rng=rng), metrics.mean(x)
metrics.area_under_curve(y, x), metrics.mmd(y[:, None], x[:, None], rng=rng, permutations=0)
heavy = {"torch", "sklearn", "ot", "torchmetrics", "matplotlib", "uproot", "pandas"} & set(sys.modules)
assert not heavy, heavy
assert metrics.wasserstein_critic.__module__ == "hepgan.metrics.critic"
assert "torch" in sys.modules
try:
    metrics.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "module 'hepgan.metrics' has no attribute 'nothing'\n"
