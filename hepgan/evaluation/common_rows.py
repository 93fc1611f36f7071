"""Rows of the verdict that all kinds of data share: the classifier, and the observables that differ most."""

from __future__ import annotations

from collections.abc import Mapping

from hepgan.evaluation.results import Classifier, Feature
from hepgan.evaluation.verdict import Row, row

__all__ = ["auc_row", "worst_observables"]

HARDLY = 0.55  # area from which samples are told apart


def _remark(auc: float) -> str:
    """Meaning of an area in words."""
    if auc < 1 - HARDLY:
        return "below 0.5: do the samples share events?"
    for upper, remark in (
        (HARDLY, "hardly told apart"),
        (0.7, "hard to tell apart"),
        (0.9, "often told apart"),
    ):
        if auc < upper:
            return remark
    return "nearly always told apart"


def auc_row(classifier: Classifier, *, key: str, limit: float | None = None) -> Row:
    """Make the row of the classifier's area."""
    return row(
        key,
        "Classifier AUC, all observables",
        section="classifier",
        value=classifier.auc,
        floor=classifier.auc_floor,
        limit=limit,
        ideal=0.5,
        remark=_remark(classifier.auc.value),
    )


def worst_observables(features: Mapping[str, Feature], classifier: Classifier) -> list[Row]:
    """Make rows without limits: the largest area of one observable, and the largest separation power."""
    separate = max(features, key=lambda name: features[name].separation.value)
    telling = max(classifier.single, key=lambda name: classifier.single[name].value)
    return [
        row(
            "single_auc_worst",
            "Largest AUC of one observable",
            section="single",
            value=classifier.single[telling],
            floor=classifier.single_floor[telling],
            ideal=0.5,
            remark=telling,
        ),
        row(
            "separation_worst",
            "Largest separation power",
            section="features",
            value=features[separate].separation,
            floor=features[separate].separation_floor,
            remark=separate,
        ),
    ]
