from types import SimpleNamespace

import pytest

from hepgan.evaluation import gates
from hepgan.evaluation.records import Number
from hepgan.evaluation.verdict import row

RESULTS = SimpleNamespace(
    headline={"ks_mean": Number(0.02, 0.001)},
    rows=[
        row(key, key, section="features", value=value, floor=None)
        for key, value in (
            ("classifier_auc", (0.62, 0.01)),
            ("response_bias_worst", (-0.05, 0.01)),
            ("mmd", None),
        )
    ],
)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("classifier_auc=0.7", []),
        ("classifier_auc=0.62", []),
        ("classifier_auc=0.6", ["classifier_auc: expected at most 0.6, got 0.620 ± 0.010"]),
        ("response_bias_worst=0.03", ["response_bias_worst: expected at most 0.03, got -0.050 ± 0.010"]),
        ("mmd=1", ["mmd: expected at most 1, got undefined"]),
        ("ks_mean=0.01", ["ks_mean: expected at most 0.01, got 0.0200 ± 0.0010"]),
    ],
)
def test_limits(limit, words):
    assert gates.exceeded(RESULTS, gates.parse([limit])) == words


@pytest.mark.parametrize("text", ["auc", "auc=", "=0.7", "auc=high", "auc=nan"])
def test_a_limit_is_a_name_and_a_number(text):
    with pytest.raises(ValueError, match=r"expected METRIC=NUMBER, such as classifier_auc=0\.7, got '"):
        gates.parse([text])


def test_each_metric_once():
    with pytest.raises(ValueError, match="expected each metric once, got auc twice"):
        gates.parse(["auc=1", "auc=2"])


def test_unknown_metrics_are_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match=r"no metric 'clasifier_auc'.*classifier_auc"):
        gates.exceeded(RESULTS, {"clasifier_auc": 0.7})
