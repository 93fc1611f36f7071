"""Evaluate a model, or compare two samples, on events: metrics.json and report.html.

The numbers are measured first and written at once; figures and page follow. A figure that cannot be drawn never costs
the numbers.
"""

from __future__ import annotations

import datetime
import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from hepgan import __version__
from hepgan.config import DataConfig, EvaluationConfig
from hepgan.data.events import Events
from hepgan.errors import ConfigError, DataError, ReportError
from hepgan.evaluation.measuring import Outcome, check_settings, measure
from hepgan.evaluation.records import Array
from hepgan.evaluation.results import (
    ConditionSummary,
    EvaluationProvenance,
    Provenance,
    Results,
    Samples,
    SampleSummary,
)
from hepgan.evaluation.sample import Sample, Setup, Step
from hepgan.evaluation.setups import SETUPS
from hepgan.evaluation.verdict import summary
from hepgan.files import check_target, write_text
from hepgan.metrics.moments import effective_size
from hepgan.progress import shown, stage
from hepgan.report.drawing import REPORTS, Line, draw, read_history
from hepgan.report.page import render
from hepgan.trees import cluster_rows, tree_file

if TYPE_CHECKING:
    from hepgan.inference.generator import Generator

__all__ = ["compare_events", "evaluate_events", "within_range"]

_LOG = logging.getLogger(__name__)

MOST_TRAINING = 100_000  # training events among which copies are looked for
STEPS, FAST_STEPS = 20, 11  # of the progress bar, about


@dataclass(frozen=True)
class _Output:
    """The files to write, and their content beside the numbers.

    Attributes:
        folder: Folder of ``metrics.json`` and ``report.html``.
        title: Heading of the page.
        seed: Seed of the evaluation.
        provenance: Plain data to record.
        history: Lines of the training's metrics.jsonl.
        outside: Number of events of the reference that were left out.
        weights: ROOT file of weights to write; None: none.
    """

    folder: Path
    title: str
    seed: int
    provenance: Mapping[str, JsonValue]
    history: Sequence[Line] = ()
    outside: int = 0
    weights: Path | None = None


def _subset(events: Events, most: int, rng: np.random.Generator) -> Events:
    if len(events) <= most:
        return events
    return events[np.sort(rng.choice(len(events), most, replace=False))]


@contextmanager
def _steps(config: EvaluationConfig, *, progress: bool) -> Iterator[Step]:
    """Give a function to call at the start of each step, which moves a progress bar."""
    total = FAST_STEPS if config.fast else STEPS
    with shown(progress), stage("evaluate", total=total) as update:
        begun = 0

        def step(description: str) -> None:
            nonlocal begun
            update(begun, note=description)
            begun += 1

        yield step


def _summary(sample: Sample) -> SampleSummary:
    return SampleSummary(
        name=sample.name, events=len(sample), effective_events=effective_size(sample.weights)
    )


def _samples(sample: Sample, reference: Sample, setup: Setup[Any], *, outside: int) -> Samples:
    """Describe the samples."""
    conditions = reference.events.conditions
    return Samples(
        what=setup.data.kind.rows,
        sample=_summary(sample),
        reference=_summary(reference),
        conditions=[
            ConditionSummary(
                name=c.name,
                unit=c.unit,
                range=(float(column.min()), float(column.max())),
                categories=[
                    name for name, code in c.categories.items() if (column == np.float32(code)).any()
                ],
            )
            for c, column in zip(setup.data.conditions, conditions.T, strict=True)
        ],
        paired=setup.paired,
        outside_range=outside,
    )


def _provenance(setup: Setup[Any], output: _Output) -> Provenance:
    """Record settings, versions and the data of the caller."""
    evaluation = EvaluationProvenance(
        seed=output.seed,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        hepgan=__version__,
        python=platform.python_version(),
        numpy=np.__version__,
        **{**setup.config.model_dump(mode="json"), "scikit-learn": version("scikit-learn")},
    )
    return Provenance.model_validate({**output.provenance, "evaluation": evaluation})


def _results(
    sample: Sample, reference: Sample, setup: Setup[Any], outcome: Outcome, output: _Output
) -> Results:
    """Put the numbers together with the verdict and the description of the samples."""
    worst, words = summary(outcome.metrics.rows)
    return Results(
        **vars(outcome.metrics),
        verdict=worst,
        summary=words,
        samples=_samples(sample, reference, setup, outside=output.outside),
        provenance=_provenance(setup, output),
    )


def _finish(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    output: _Output,
    step: Step,
    training: Sample | None = None,
) -> Results:
    """Measure and write the numbers, then draw and write the page.

    Raises:
        DataError: If weights were to be written and there are none.
        ReportError: If the page, or the file of weights, cannot be made; the numbers are written.
    """
    outcome = measure(sample, reference, setup, seed=output.seed, step=step, training=training)
    results = _results(sample, reference, setup, outcome, output)
    numbers, page = output.folder / "metrics.json", output.folder / "report.html"
    write_text(numbers, results.to_json() + "\n")
    page.unlink(missing_ok=True)  # of an earlier evaluation: it would not belong to these numbers
    try:
        if output.weights is not None and outcome.weights is not None:
            _write_weights(output.weights, outcome.weights, sample, setup)
        step("figures")
        sections = draw(sample, reference, setup, outcome=outcome, history=output.history)
        step("report")
        note = REPORTS[setup.data.kind.name].note
        write_text(page, render(results, sections, title=output.title, note=note))
    except Exception as error:
        raise ReportError(
            f"{page}: the report could not be made ({type(error).__name__}: {error}); nothing that was measured is "
            f"lost: the numbers are in {numbers}"
        ) from error
    if output.weights is not None and outcome.weights is None:
        reweighting = outcome.metrics.classifier.reweighting
        reason = reweighting.reason if reweighting else "a fast evaluation finds none"
        raise DataError(
            f"{output.weights}: expected weights that correct the sample, got none: {reason}; the other results are "
            f"in {output.folder}"
        )
    return results.model_copy(update={"report": page})


def _weights_file(path: str | Path | None, config: EvaluationConfig) -> Path | None:
    """Check the place of the weights.

    Raises:
        ConfigError: If the evaluation is a fast one, which finds no weights.
        OSError: If the path cannot be a file.
    """
    if path is None:
        return None
    if config.fast:
        raise ConfigError(
            "weights: expected a complete evaluation, got a fast one, which finds none; leave out --fast"
        )
    check_target(Path(path))
    return Path(path)


def _write_weights(path: Path, weights: Array, sample: Sample, setup: Setup[Any]) -> None:
    """Write a tree ``weights`` with the conditions of the sample's events and the weights that correct them."""
    conditions = zip(setup.data.conditions, sample.events.conditions.T, strict=True)
    columns = {condition.name: values for condition, values in conditions}
    columns |= {"weight_before": sample.weights, "weight": weights}
    title = "weight: imitates the reference with the sample; weight_before: as read"
    rows = cluster_rows(len(columns))
    with tree_file(path, "weights", content="weights", rows=rows, title=title) as tree:
        tree.extend(columns)


def _name(path: Path) -> str:
    """What to call a model: its run folder, or the file."""
    return path.parent.name if path.stem == "model" and path.parent.name else path.stem


def within_range(model: Generator, reference: Events) -> Events:
    """The events of the reference inside the trained range of every condition.

    Raises:
        DataError: If there is none, or the conditions are not those of the model.
    """
    values, rows = reference.conditions, model.data.kind.rows
    if len(model.conditions) != values.shape[1]:
        raise DataError(
            f"reference: expected {len(model.conditions)} condition(s), as the model, got {values.shape[1]}; read the "
            "file with the model's configuration"
        )
    inside = np.all([c.accepts(column) for c, column in zip(model.conditions, values.T, strict=True)], axis=0)
    if not inside.any():
        raise DataError(
            f"reference: none of {len(reference)} {rows} lies in the trained range of the conditions "
            f"({'; '.join(f'{c.name}: {c.expected}' for c in model.conditions)}); evaluate on data like those of the "
            "training"
        )
    outside = int((~inside).sum())
    if outside:
        _LOG.warning(
            "%d of %d reference %s lie outside the trained range: left out", outside, len(reference), rows
        )
    return reference[inside] if outside else reference


def evaluate_events(
    model: Generator,
    reference: Events,
    *,
    config: EvaluationConfig,
    out: str | Path,
    training: Events | None = None,
    seed: int = 1,
    progress: bool = True,
    provenance: Mapping[str, JsonValue] | None = None,
    weights: str | Path | None = None,
) -> Results:
    """Generate one shower or track for each one of the reference, at its conditions and weight, and compare.

    Writes ``metrics.json`` and ``report.html``. Events of the reference outside the trained range of a condition
    are left out and counted, because the model is not trained there. If ``metrics.jsonl`` lies beside the model,
    the training curves are drawn too.

    Args:
        model: The exported model.
        reference: Showers or tracks that the training has not used.
        config: Settings.
        out: Folder of the results.
        training: The training events, to find copies of them.
        seed: Fixes the latent numbers and all random numbers of the metrics.
        progress: Show a progress bar on the standard error.
        provenance: Plain data to record with the results, such as the digest of the files.
        weights: ROOT file to write, with a weight for each generated event that corrects it (tree ``weights``).

    Returns:
        The results, as in ``metrics.json``.

    Raises:
        DataError: If no event of the reference lies in the trained range, or the reference does not fit the model.
        ConfigError: If the settings do not fit the kind of data.
    """
    target = _weights_file(weights, config)
    rng = np.random.default_rng(seed)
    inside = within_range(model, reference)
    setup = SETUPS[model.data.kind.name].of(
        model.data, config, paired=True, reference=reference, calorimeter=lambda: model.calorimeter
    )
    check_settings(setup)
    path = Path(model.path)
    output = _Output(
        folder=Path(out),
        title=f"Fast simulation against its reference: {_name(path)}",
        seed=seed,
        provenance={
            "model": {"file": path.name, **model.metadata.provenance},
            **(provenance or {}),
        },
        history=read_history(path.parent / "metrics.jsonl"),
        outside=len(reference) - len(inside),
        weights=target,
    )
    chosen = _subset(inside, config.max_events, rng)
    with _steps(config, progress=progress) as step:
        step(f"generating {model.data.kind.rows}")
        expected = setup.sample("reference", chosen)
        outputs = model.sample(chosen.conditions, seed=seed)
        known = setup.sample("training", _subset(training, MOST_TRAINING, rng)) if training else None
        sample = setup.sample("generated", Events(chosen.conditions, outputs, chosen.weights))
        return _finish(sample, expected, setup, output=output, step=step, training=known)


def compare_events(
    sample: Events,
    reference: Events,
    *,
    data: DataConfig,
    config: EvaluationConfig,
    out: str | Path,
    base: str | Path = ".",
    names: tuple[str, str] = ("sample", "reference"),
    seed: int = 1,
    progress: bool = True,
    provenance: Mapping[str, JsonValue] | None = None,
    weights: str | Path | None = None,
) -> Results:
    """Compare two samples: the same numbers and figures as of a model and its reference.

    The samples need not have the same conditions: their spectra are compared too, and a difference there
    shows in everything that depends on them.

    Args:
        sample: Showers or tracks to judge.
        reference: Showers or tracks that are right.
        data: How they were read: geometry or targets, units, conditions.
        config: Settings.
        out: Folder of the results.
        base: Folder of relative paths of a geometry file.
        names: Names of the sample and of the reference.
        seed: Fixes all random numbers of the metrics.
        progress: Show a progress bar on the standard error.
        provenance: Plain data to record with the results.
        weights: ROOT file to write, with a weight for each event of the sample that corrects it (tree ``weights``).

    Returns:
        The results, as in ``metrics.json``.

    Raises:
        DataError: If a sample is empty or does not fit the configuration.
        ConfigError: If the settings do not fit the kind of data.
    """
    target = _weights_file(weights, config)
    rng = np.random.default_rng(seed)
    setup = SETUPS[data.kind.name].of(
        data,
        config,
        paired=False,
        reference=reference,
        calorimeter=lambda: data.calo.calorimeter(base=base),
    )
    check_settings(setup)
    output = _Output(
        folder=Path(out),
        title=f"{names[0]} against {names[1]}",
        seed=seed,
        provenance=provenance or {},
        weights=target,
    )
    with _steps(config, progress=progress) as step:
        step("reading")
        first = setup.sample(names[1], _subset(reference, config.max_events, rng))
        second = setup.sample(names[0], _subset(sample, config.max_events, rng))
        return _finish(second, first, setup, output=output, step=step)
