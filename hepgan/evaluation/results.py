"""Results of an evaluation: the content of ``metrics.json`` as typed records (schema 3; docs/metrics.md lists them).

In JSON a number is ``[value, uncertainty]``, and null where it is not defined. Floors are the same numbers between two
halves of the reference. `Results.from_json` and `read_results` also read schema 2, the one of hepgan 0.1.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationError

from hepgan.errors import DataError, NotFoundError
from hepgan.evaluation.closures import ShowerClosure, TrackClosure
from hepgan.evaluation.records import BinRanges, Compared, Number, Pair, Record
from hepgan.evaluation.schema2 import upgraded
from hepgan.evaluation.verdict import VERDICTS, Row, Verdict, format_limit, format_measurement
from hepgan.files import near

__all__ = ["SCHEMA", "Metrics", "Results", "read_results"]

SCHEMA = 3


class Chi2(Record):
    """Chi-square test of two histograms."""

    per_ndf: Number
    """chi2 / ndf, and its spread for equal distributions."""
    ndf: int
    """Degrees of freedom."""
    p_value: float


class Feature(Record):
    """Comparison of one observable or condition; exact values that are declared (``atoms``) are left out."""

    unit: str
    separation: Number
    """Separation power in quantile bins: 0 equal, 1 no overlap."""
    separation_floor: Number
    wasserstein: Number
    """Wasserstein distance, in the unit."""
    wasserstein_floor: Number
    wasserstein_sigma: Number | None
    """Wasserstein distance in standard deviations of the reference."""
    wasserstein_sigma_floor: Number | None
    chi2: Chi2
    mean: Pair
    std: Pair
    divergences: dict[str, Number] | None = None
    """f-divergences by name; null with ``evaluation.fast``."""
    divergence_floors: dict[str, Number] | None = None


class Reweighting(Record):
    """The classifier test once more, with the weights that the classifier itself suggests."""

    auc: Number | None
    effective_share: float | None
    """Share of the events' statistical power that the weights leave."""
    reason: str | None = None
    """Why there are no weights."""


class Classifier(Record):
    """Classifier two-sample test: gradient boosting on all observables and conditions."""

    auc: Number
    """Area under the ROC curve: 0.5 cannot tell the samples apart, 1 always tells them apart."""
    auc_floor: Number
    folds: list[float]
    """Area of each fold."""
    single: dict[str, Number]
    """Area of each observable alone."""
    single_floor: dict[str, Number]
    importances: dict[str, Number] | None = None
    """Loss of area when one observable or condition is permuted; null with ``evaluation.fast``."""
    reweighting: Reweighting | None = None
    """Null with ``evaluation.fast``."""


class DistanceInBins(Record):
    """One distance in the bins of one condition."""

    value: list[Number]
    floor: list[Number]
    worst: Number
    worst_floor: Number
    worst_at: str
    """The worst bin in words."""


class InBins(Record):
    """All distances in the bins of one condition."""

    bins: BinRanges
    distances: dict[str, DistanceInBins]
    """By name: ``auc``, ``ks``, ``separation``, ``wasserstein``, ``sliced_wasserstein``, ``mmd``."""


class Similarity(Compared):
    """Mean MS-SSIM of pairs of images of similar energy, sample minus reference."""

    sample: Number | None = None
    """Similarity within the sample."""
    reference: Number | None = None
    """Similarity within the reference."""


class Nearness(Compared):
    """Share of events that are nearer to another event than they should be."""

    nearer: Number
    """Probability that an event of the sample is nearer than an independent one: 0.5 if they are alike."""
    p_value: float


class Diversity(Record):
    """Repetitions within the sample, and copies of training events."""

    repeats: Compared
    """Share of events that equal an earlier one exactly, minus that of the reference."""
    duplicates: Nearness
    """Share of events too near to another event of the sample."""
    copies: Nearness | None = None
    """Share of events too near to a training event; null without the training events."""
    species_score: Compared | None = None
    """Inception-style score of the species, sample minus reference; null without a condition of several categories."""
    similarity: dict[str, Similarity] = {}
    """By layer; showers only."""


class Network(Record):
    """One classifier network of the CaloChallenge."""

    auc: Number
    auc_floor: Number
    jsd: Number
    """Jensen-Shannon divergence."""
    jsd_floor: Number


class Networks(Record):
    """CaloChallenge's classifier networks, and JetNet's distances of the challenge's observables."""

    low: Network
    """The network that is given the cells."""
    high: Network
    """The network that is given the challenge's observables."""
    fpd: Compared
    """Fréchet physics distance."""
    kpd: Compared
    """Kernel physics distance."""


class Metrics(Record):
    """All numbers between two samples."""

    features: dict[str, Feature]
    """Observables by name."""
    conditions: dict[str, Feature]
    """Conditions by name; empty if both samples have the same by construction."""
    classifier: Classifier
    joint: dict[str, Compared]
    """Distances of the samples as a whole: ``sliced_wasserstein``, ``mmd``, ``fpd``, ``kpd``, ``emd``, ``critic``."""
    in_bins: dict[str, InBins]
    """By condition."""
    diversity: Diversity | None
    """Null with ``evaluation.fast``."""
    networks: Networks | None = None
    """Null without ``evaluation.networks``."""
    closure: ShowerClosure | TrackClosure
    """The numbers of the kind of data."""
    rows: list[Row]
    """The verdict: requirements first, then the rows for information."""
    headline: dict[str, Number]
    """The few numbers that travel with an exported model."""


class SampleSummary(Record):
    """Name and size of a sample."""

    name: str
    events: int
    effective_events: float
    """Number of events of weight 1 with the same relative fluctuation."""


class ConditionSummary(Record):
    """A condition of the reference."""

    name: str
    unit: str
    range: tuple[float, float]
    categories: list[str] = []
    """Names of the categories that occur."""


class Samples(Record):
    """The samples that were compared."""

    what: str
    """``showers`` or ``tracks``."""
    sample: SampleSummary
    reference: SampleSummary
    conditions: list[ConditionSummary]
    paired: bool
    """Whether event i of both samples has the same conditions."""
    outside_range: int
    """Events of the reference outside the trained range, which are left out."""


class ModelProvenance(Record):
    """The exported model that was evaluated; further keys are those of its own provenance."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    file: str
    step: int | None = None
    """Training step of the weights."""
    config_sha256: str | None = None
    """Digest of the training's configuration."""


class EvaluationProvenance(Record):
    """Settings and versions of the evaluation; further keys are those of ``[evaluation]``."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    seed: int
    created: str
    """Date and time, UTC."""
    hepgan: str
    python: str
    numpy: str


class Provenance(Record):
    """Where the results come from; further keys are those that the caller recorded."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    model: ModelProvenance | None = None
    """Null where two files were compared."""
    evaluation: EvaluationProvenance | None = None


class Results(Metrics):
    """Everything that an evaluation or comparison gives: ``result["classifier_auc"].value`` is one of its numbers.

    Indexing and iteration are over the rows of the verdict, by `Row.key`.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Literal[3] = Field(3, alias="schema")
    verdict: Verdict
    """Worst verdict of the rows that have a limit; ``info`` if none has."""
    summary: str
    """The verdict in a sentence."""
    samples: Samples
    provenance: Provenance
    report: Path | None = Field(None, exclude=True)
    """The page; None if none was written. Not in the file."""

    def __getitem__(self, key: str) -> Row:
        """The row of the verdict with this key.

        Raises:
            KeyError: If there is none.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(f"there is no number {key!r} in this comparison; {near(key, self.keys())}")

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # of pydantic: pairs of fields
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def keys(self) -> list[str]:
        """Keys of the rows of the verdict."""
        return [row.key for row in self.rows]

    def __repr__(self) -> str:
        lines = [f"{self.verdict}: {self.summary}"]
        width = max((len(row.key) for row in self.rows), default=0)
        for row in self.rows:
            value, floor = (
                format_measurement(number, percent=row.percent) for number in (row.measurement, row.floor)
            )
            limit = f", limit {format_limit(row)}" if row.limit is not None else ""
            lines.append(f"  {row.key:{width}}  {value} (floor {floor}{limit}): {VERDICTS[row.verdict]}")
        return "\n".join(lines)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """The verdict as a table, for notebooks."""
        cells = [
            (
                row.metric,
                format_measurement(row.measurement, percent=row.percent),
                format_measurement(row.floor, percent=row.percent),
                format_limit(row),
                VERDICTS[row.verdict],
            )
            for row in self.rows
        ]
        heading = ("Metric", "This sample", "Floor", "Limit", "Verdict")
        lines = ["".join(f"<th>{word}</th>" for word in heading)]
        lines += ["".join(f"<td>{html.escape(text)}</td>" for text in line) for line in cells]
        table = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<p>{html.escape(self.summary)}</p><table>{table}</table>"

    def to_json(self) -> str:
        """The content of ``metrics.json``.

        Raises:
            ValueError: If a number is not finite.
        """
        values = self.model_dump(by_alias=True)
        first = {key: values[key] for key in ("schema", "verdict", "summary", "samples", "rows", "headline")}
        return json.dumps(first | values, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, *, source: str = "metrics.json") -> Results:
        """Read the content of a ``metrics.json`` of schema 2 or 3.

        Args:
            text: The content.
            source: Name of the file, for messages.

        Raises:
            DataError: If it is not the content of such a file.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{source}: expected JSON, got something else ({error}); evaluate again"
            ) from error
        schema = values.get("schema") if isinstance(values, dict) else None
        if schema not in (2, SCHEMA):
            raise DataError(
                f"{source}: expected results of schema 2 or {SCHEMA}, got {schema!r}; evaluate again, or read the "
                "file with the version of hepgan that wrote it"
            )
        try:
            return cls.model_validate(upgraded(values) if schema == 2 else values)
        except (ValidationError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{source}: not the results of an evaluation ({error}); evaluate again"
            ) from error


def read_results(path: str | Path) -> Results:
    """Read a ``metrics.json`` of schema 2 or 3.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is not a file of results.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"results not found: {path}: expected a metrics.json; hepgan evaluate writes one")
    return Results.from_json(path.read_text(encoding="utf-8"), source=str(path))
