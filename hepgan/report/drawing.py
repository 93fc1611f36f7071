"""The figures of a report: those of the kind of data, those that all kinds share, and the training curves."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hepgan.config import SHOWERS, TRACKS
from hepgan.evaluation.measuring import Outcome
from hepgan.evaluation.sample import Sample, Setup
from hepgan.report import figures as plots
from hepgan.report.page import KindReport, Section
from hepgan.report.shared import classifier_sections, sections
from hepgan.report.showers import SHOWER_REPORT
from hepgan.report.tracks import TRACK_REPORT

__all__ = ["REPORTS", "draw", "read_history"]

_LOG = logging.getLogger(__name__)

REPORTS: Mapping[str, KindReport] = {SHOWERS.name: SHOWER_REPORT, TRACKS.name: TRACK_REPORT}
"""The report of each kind of data."""

Line = dict[str, float | None]
"""A line of metrics.jsonl."""


def draw(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    outcome: Outcome,
    history: Sequence[Line],
) -> list[Section]:
    """Draw all figures and tables, in order.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        setup: The kind of data and settings.
        outcome: The numbers, and the classifier test.
        history: Lines of metrics.jsonl; none: no training curves.
    """
    metrics = outcome.metrics
    result = [
        *REPORTS[setup.data.kind.name].sections(sample, reference, setup, metrics.closure),
        *classifier_sections(sample, reference, setup, classifier=metrics.classifier, test=outcome.test),
        *sections(metrics, setup),
    ]
    if history:
        result.append(
            Section(
                "training",
                "Training",
                "Good: the Wasserstein estimate rises at first, then falls and levels out; the physics "
                "distance of the validation split falls. If it still falls at the end, train longer.",
                plots.training_curves(history),
            )
        )
    return result


def read_history(path: Path) -> list[Line]:
    """Read the lines of metrics.jsonl; a last line cut short by a kill is left out.

    Returns:
        The lines; none if there is no file, or nothing in it to draw.
    """
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            _LOG.warning("%s: line %d is not JSON and is left out", path, number)
            continue
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    drawn = ("wasserstein", "distance", "auc", "penalty")
    return records if any(r.get(key) is not None for r in records for key in drawn) else []
