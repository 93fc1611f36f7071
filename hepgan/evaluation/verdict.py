"""The verdict: a row for each number, with its limit or for information only, and a summary in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import PlainSerializer

from hepgan.evaluation.records import Number, Record
from hepgan.metrics.moments import Measurement

__all__ = [
    "VERDICTS",
    "Published",
    "Row",
    "Verdict",
    "format_limit",
    "format_measurement",
    "judge",
    "row",
    "summary",
    "tally",
    "with_limits",
    "worst_by_section",
]

Verdict = Literal["pass", "warn", "fail", "info"]

VERDICTS: dict[Verdict, str] = {
    "pass": "good",
    "warn": "look closer",
    "fail": "not good enough",
    "info": "for information",
}
"""The verdicts in words, because not everybody can tell the colours of a traffic light."""

_SEVERITY: dict[str, int] = {verdict: k for k, verdict in enumerate(("info", "pass", "warn", "fail"))}
_MOST_DECIMALS = 6  # with more, or with more than four zeros before the point, numbers get an exponent

Floor = Annotated[Number, PlainSerializer(lambda number: number._asdict(), dict[str, float])]


class Published(Record):
    """A published number of another generator for the same cells."""

    model: str
    """Name of the generator."""
    value: float
    uncertainty: float | None
    """Null if it is not published."""
    reference: str
    """Publication."""
    remark: str
    """Restrictions of the number."""


class Row(Record):
    """A row of the verdict."""

    key: str
    """Name of the row in ``--fail-above`` and ``evaluation.limits``."""
    metric: str
    """Title."""
    section: str
    """Section of the report that shows the number."""
    value: float | None
    """Null if it is not defined."""
    uncertainty: float | None
    """One standard deviation of the value."""
    unit: str = ""
    """Unit of the value; empty for pure numbers."""
    percent: bool = False
    """Whether the number is shown times 100; the value itself is not."""
    floor: Floor | None
    """The same number between two halves of the reference."""
    limit: float | None
    """Largest size that is good; null: the row is for information."""
    ideal: float = 0.0
    """Value of a perfect sample, from which the distance to the limit is measured."""
    verdict: Verdict
    remark: str = ""
    peers: list[Published] = []
    """Published numbers beside this one."""

    @property
    def measurement(self) -> Number | None:
        """Value and uncertainty; None if the value is not defined."""
        return None if self.value is None else Number(self.value, self.uncertainty or 0.0)


def judge(value: Measurement | None, limit: float, *, ideal: float = 0.0) -> Verdict:
    """Judge a number by its distance to the ideal value.

    Returns:
        ``pass`` within the limit; ``fail`` beyond twice the limit and by more than two standard deviations beyond
        the limit; ``warn`` between, and where the number is not defined.
    """
    if value is None:
        return "warn"
    size, uncertainty, limit = abs(value[0] - ideal), value[1], limit - ideal
    if size <= limit:
        return "pass"
    return "fail" if size > 2 * limit and size - 2 * uncertainty > limit else "warn"


def row(
    key: str,
    metric: str,
    *,
    section: str,
    value: Measurement | None,
    floor: Measurement | None,
    limit: float | None = None,
    ideal: float = 0.0,
    percent: bool = False,
    unit: str = "",
    remark: str = "",
) -> Row:
    """Make a row of the verdict; without a limit it is for information."""
    return Row(
        key=key,
        metric=metric,
        section=section,
        value=None if value is None else value[0],
        uncertainty=None if value is None else value[1],
        unit=unit,
        percent=percent,
        floor=None if floor is None else Number(*floor),
        limit=limit,
        ideal=ideal,
        verdict="info" if limit is None else judge(value, limit, ideal=ideal),
        remark=remark,
    )


def with_limits(rows: Iterable[Row], limits: Mapping[str, float]) -> list[Row]:
    """Judge the rows whose keys have a limit of their own by that limit; the others stay as they are."""
    return [
        one.model_copy(
            update={
                "limit": limits[one.key],
                "verdict": judge(one.measurement, limits[one.key], ideal=one.ideal),
            }
        )
        if one.key in limits
        else one
        for one in rows
    ]


def format_measurement(measurement: Sequence[float | None] | None, *, percent: bool = False) -> str:
    """Write a value and its uncertainty, rounded to two digits of the uncertainty: ``1.23 ± 0.45 %``."""
    if measurement is None or measurement[0] is None:
        return "undefined"
    value, uncertainty = (100 * (m or 0.0) if percent else m or 0.0 for m in measurement)
    unit = " %" if percent else ""
    if uncertainty > 0:
        digits = 1 - math.floor(math.log10(uncertainty))
        if digits > _MOST_DECIMALS or digits < -4:
            return f"{value:.3g} ± {uncertainty:.2g}{unit}"
        digits = max(digits, 0)
        return f"{value:.{digits}f} ± {uncertainty:.{digits}f}{unit}"
    return f"{value:.4g}{unit}"


def format_limit(row: Row) -> str:
    """Write the limit of a row: ``3 %``, or nothing if the row is for information."""
    if row.limit is None:
        return ""
    return f"{100 * row.limit:g} %" if row.percent else f"{row.limit:g}"


def _requirements(rows: Sequence[Row]) -> tuple[Verdict, str, dict[Verdict, list[str]]]:
    """Worst verdict, number of met requirements in words, and the titles of those that are not met."""
    judged = [row for row in rows if row.limit is not None]
    if not judged:
        return "info", "no number has a limit: all are for information", {}
    missed: dict[Verdict, list[str]] = {"warn": [], "fail": []}
    for row in judged:
        if row.verdict in missed:
            missed[row.verdict].append(row.metric)
    worst: Verdict = "fail" if missed["fail"] else "warn" if missed["warn"] else "pass"
    met = sum(row.verdict == "pass" for row in judged)
    return worst, f"{met} of {len(judged)} requirements are met", missed


def summary(rows: Sequence[Row]) -> tuple[Verdict, str]:
    """Sum up a whole evaluation, with the titles of the rows that are not good.

    Returns:
        The worst verdict of the rows that have a limit (``info`` if none has), and a sentence.
    """
    worst, text, missed = _requirements(rows)
    for verdict, titles in missed.items():
        if titles:
            text += f"; {VERDICTS[verdict]}: {', '.join(titles)}"
    return worst, f"{text}."


def tally(rows: Sequence[Row]) -> tuple[Verdict, str]:
    """Sum up like `summary`, with counts instead of titles; it stands above a table that lists the titles."""
    worst, text, missed = _requirements(rows)
    for verdict in reversed(missed):
        if missed[verdict]:
            text += f"; {VERDICTS[verdict]}: {len(missed[verdict])}"
    return worst, f"{text[0].upper()}{text[1:]}."


def worst_by_section(rows: Iterable[Row]) -> dict[str, Verdict]:
    """Worst verdict of the rows with a limit, for each section of the report."""
    worst: dict[str, Verdict] = {}
    for row in rows:
        if row.limit is not None:
            worst[row.section] = max(
                worst.get(row.section, row.verdict), row.verdict, key=_SEVERITY.__getitem__
            )
    return worst
