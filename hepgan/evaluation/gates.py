"""Gates of the command line (``--fail-above``): a comparison that exceeds one of them fails.

A gate names a row of the verdict by its ``key`` (or a number of ``headline``) and gives the largest accepted size;
biases count by their absolute value. A number that is not defined exceeds every gate. Limits that also colour the
report are ``evaluation.limits`` of the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from hepgan.evaluation.results import Results
from hepgan.evaluation.verdict import format_measurement
from hepgan.files import near

__all__ = ["exceeded", "parse"]


def parse(texts: Iterable[str]) -> dict[str, float]:
    """Read gates from texts such as ``classifier_auc=0.7``.

    Raises:
        ValueError: If a text is not a name and a number, or names a metric twice.
    """
    limits: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        if not name.strip() or not equals or math.isnan(limit):
            raise ValueError(
                f"--fail-above: expected METRIC=NUMBER, such as classifier_auc=0.7, got {text!r}"
            )
        if name.strip() in limits:
            raise ValueError(f"--fail-above: expected each metric once, got {name.strip()} twice")
        limits[name.strip()] = limit
    return limits


def exceeded(results: Results, limits: Mapping[str, float]) -> list[str]:
    """Give a sentence for each gate that is exceeded.

    Args:
        results: The results.
        limits: Largest accepted sizes, as `parse` gives them.

    Raises:
        ValueError: If a gate names nothing that was measured.
    """
    numbers = {**results.headline, **{row.key: row.measurement for row in results.rows}}
    words = []
    for name, limit in limits.items():
        if name not in numbers:
            raise ValueError(
                f"--fail-above: there is no metric {name!r} in this comparison; {near(name, list(numbers))}"
            )
        value = numbers[name]
        if value is None or abs(value[0]) > limit:
            words.append(f"{name}: expected at most {limit:g}, got {format_measurement(value)}")
    return words
