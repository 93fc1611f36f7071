"""Is the sample good enough? `evaluate` a model, or `compare` two samples: metrics.json and report.html.

The numbers and the keys of ``metrics.json`` are those of `hepgan.evaluation.measure`; here they become files: which
figures the report has beside those of the kind (`hepgan.report.showers`, `hepgan.report.tracks`) and those of all
kinds (`hepgan.report.shared`), and where the showers or tracks come from.
"""

from __future__ import annotations

import datetime
import json
import logging
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uproot
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

from hepgan import __version__
from hepgan.config import SHOWERS, DataConfig, EvaluationConfig
from hepgan.data.events import Events
from hepgan.evaluation.measure import Outcome, measure
from hepgan.evaluation.sample import Sample, Setup
from hepgan.evaluation.showers import ShowerSetup
from hepgan.evaluation.tracks import TrackSetup
from hepgan.files import check_target, write_text
from hepgan.files import written as written_file
from hepgan.geometry import Calorimeter
from hepgan.metrics import TwoSampleTest, roc_curve
from hepgan.metrics.moments import effective_size
from hepgan.report import figures as plots
from hepgan.report import shared as sections_joint
from hepgan.report import showers as sections_showers
from hepgan.report import tracks as sections_tracks
from hepgan.report.page import Section, render
from hepgan.transforms.shower_shapes import ShowerShapes

if TYPE_CHECKING:
    from hepgan.inference.generator import Generator

__all__ = ["compare", "evaluate"]

_LOG = logging.getLogger(__name__)

MOST_TRAINING = 100_000  # training events among which copies are looked for
STEPS = 20  # of the progress bar, about

Json = dict[str, Any]


_KINDS: dict[type[Setup], tuple[Callable[..., list[Section]], str]] = {
    ShowerSetup: (sections_showers.sections, sections_showers.NOTE),
    TrackSetup: (sections_tracks.sections, sections_tracks.NOTE),
}
"""Figures of each kind of data, and the words that explain its verdict."""


def _setup(
    data: DataConfig,
    config: EvaluationConfig,
    reference: Events,
    *,
    paired: bool,
    calorimeter: Calorimeter | None,
) -> Setup:
    if calorimeter is None:
        return TrackSetup(data, config, paired)
    shapes = ShowerShapes(calorimeter, n_overflow=reference.overflow.shape[1], threshold=config.threshold)
    return ShowerSetup(data, config, paired, calorimeter, shapes)


def _subset(events: Events, most: int, rng: np.random.Generator) -> Events:
    if len(events) <= most:
        return events
    return events[np.sort(rng.choice(len(events), most, replace=False))]


def _sections(
    reference: Sample,
    sample: Sample,
    setup: Setup,
    *,
    metrics: Json,
    test: TwoSampleTest,
    history: Sequence[Json],
) -> list[Section]:
    """The figures of the kind, and those that all kinds share."""
    names, wx, wy = (reference.name, sample.name), reference.weights, sample.weights
    sections = [
        *_KINDS[type(setup)][0](reference, sample, setup, metrics=metrics),
        Section(
            "classifier",
            "Classifier two-sample test",
            f"Gradient boosting that sees all observables and the conditions, scored on {setup.what} that it was "
            "not trained with. Good: the curve follows the diagonal and both score distributions are one "
            f"peak at 0.5. Between halves of the reference: {metrics['classifier']['auc_floor'][0]:.3f} ± "
            f"{metrics['classifier']['auc_floor'][1]:.3f}, with half the {setup.what}.",
            plots.roc(
                roc_curve(test.sample_scores, test.reference_scores, reference_weights=wx, sample_weights=wy),
                (test.reference_scores, test.sample_scores),
                weights=(wx, wy),
                auc=test.auc,
                names=names,
            ),
        ),
        Section(
            "single",
            "Which observable gives the sample away",
            "Area under the ROC curve of the best classifier that sees one observable only. Good: all bars "
            "end at their tick mark (two halves of the reference), near 0.5.",
            plots.ranking(
                [name.replace("_", " ") for name in setup.names],
                np.asarray(list(metrics["classifier"]["single"].values())),
                np.asarray(list(metrics["classifier"]["single_floor"].values())),
                axis="AUC of one observable",
                start=0.5,
            ),
        ),
        *sections_joint.sections(metrics, setup),
    ]
    if history:
        sections.append(
            Section(
                "training",
                "Training",
                "Good: the Wasserstein estimate rises at first, then falls and levels out; the physics "
                "distance of the validation split falls. If it still falls at the end, longer training pays.",
                plots.training_curves(history),
            )
        )
    return sections


def _read_history(path: Path) -> list[Json]:
    """Lines of metrics.jsonl; a last line cut short by a kill is left out."""
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
    return (
        records
        if any(r.get(k) is not None for r in records for k in ("wasserstein", "distance", "penalty"))
        else []
    )


@contextmanager
def _steps(total: int, *, progress: bool) -> Iterator[Callable[[str], None]]:
    """Gives a function to call at the start of each step."""
    columns = (SpinnerColumn(), *Progress.get_default_columns()[:2], TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress, transient=True) as bar:
        task = bar.add_task("evaluate", total=total)
        begun = False

        def step(description: str) -> None:
            nonlocal begun
            bar.update(task, description=description, advance=int(begun))
            begun = True

        yield step


def _finish(
    reference: Sample,
    sample: Sample,
    setup: Setup,
    *,
    out: Path,
    seed: int,
    step: Callable[[str], None],
    title: str,
    history: Sequence[Json],
    outside: int,
    provenance: Mapping[str, Any],
    training: Sample | None,
    weights: Path | None,
) -> Json:
    outcome = measure(reference, sample, setup, seed=seed, step=step, training=training)
    metrics = outcome.metrics

    def summary(which: Sample) -> Json:
        return {
            "name": which.name,
            "events": len(which),
            "effective_events": effective_size(which.weights),
        }

    conditions = reference.events.conditions
    metrics["sample"] = {
        "what": setup.what,
        "reference": summary(reference),
        "generated": summary(sample),
        "conditions": [
            {
                "name": c.name,
                "unit": c.unit,
                "range": [float(conditions[:, k].min()), float(conditions[:, k].max())],
                "categories": [
                    name
                    for name, code in c.categories.items()
                    if (conditions[:, k] == np.float32(code)).any()
                ],
            }
            for k, c in enumerate(setup.data.conditions)
        ],
        "paired": setup.paired,
        "outside_range": outside,
    }
    metrics["provenance"] = {
        **provenance,
        "evaluation": {
            **setup.config.model_dump(),
            "seed": seed,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "hepgan": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": version("scikit-learn"),
        },
    }
    text = json.dumps(metrics, indent=1, allow_nan=False)
    written: Json = json.loads(text)  # what the caller gets is what the file holds
    step("figures")
    sections = _sections(reference, sample, setup, metrics=written, test=outcome.test, history=history)
    step("report")
    page = render(written, sections, title=title, note=_KINDS[type(setup)][1])
    write_text(out / "metrics.json", text + "\n")
    write_text(out / "report.html", page)
    if weights is not None:
        _write_weights(weights, outcome, sample, setup)
    return written


def _weights_file(path: str | Path | None, config: EvaluationConfig) -> Path | None:
    """Where to write the weights.

    Raises:
        ValueError: If the evaluation is one that finds none.
        OSError: If it cannot be a file.
    """
    if path is None:
        return None
    if config.fast:
        raise ValueError(
            "weights: expected a complete evaluation, got a fast one, which finds none; leave out --fast"
        )
    check_target(Path(path))
    return Path(path)


def _write_weights(path: Path, outcome: Outcome, sample: Sample, setup: Setup) -> None:
    """A tree ``weights`` with the conditions of the sample's events and the weights that correct them.

    Raises:
        ValueError: If there are none.
    """
    if outcome.weights is None:
        reason = (
            outcome.metrics["classifier"].get("reweighting", {}).get("reason", "they take long; not if fast")
        )
        raise ValueError(f"{path}: expected weights that correct the sample, got none: {reason}")
    conditions = zip(setup.data.conditions, sample.events.conditions.T, strict=True)
    columns = {condition.name: values for condition, values in conditions}
    columns |= {"weight_before": sample.weights, "weight": outcome.weights}
    with written_file(path, "weights") as temporary, uproot.recreate(temporary) as file:
        file["weights"] = columns


def evaluate(
    model: Generator,
    reference: Events,
    *,
    config: EvaluationConfig,
    out: str | Path,
    training: Events | None = None,
    seed: int = 1,
    progress: bool = True,
    provenance: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
) -> Json:
    """Generate one shower or track for each one of the reference, at its conditions and weight, and compare.

    Writes ``metrics.json`` and ``report.html``. Those of the reference outside the trained range of a condition
    are left out (and counted): the model makes no claim there. If ``metrics.jsonl`` lies beside the model,
    the training curves are drawn too.

    Args:
        model: The exported model.
        reference: Showers or tracks that the training has not seen.
        config: Settings.
        out: Folder of the results.
        training: What the model was trained with, to find copies of it.
        seed: Fixes the latent numbers and everything random in the metrics.
        progress: Show a progress bar on the standard error.
        provenance: Plain data to record with the results, such as the digest of the files.
        weights: ROOT file to write, with a weight for each generated event that corrects it (tree ``weights``).

    Returns:
        The content of ``metrics.json`` (see the module's docstring).

    Raises:
        ValueError: If nothing of the reference lies in the trained range, or it does not fit the model.
    """
    target = _weights_file(weights, config)
    rng = np.random.default_rng(seed)
    ranges = [condition.range for condition in model.conditions]
    values = reference.conditions
    if len(ranges) != values.shape[1]:
        raise ValueError(
            f"reference: expected {len(ranges)} condition(s), as the model, got {values.shape[1]}; read the "
            "file with the model's configuration"
        )
    calorimeter = model.calorimeter if model.data.kind is SHOWERS else None
    setup = _setup(model.data, config, reference, paired=True, calorimeter=calorimeter)
    low, high = np.asarray(ranges, dtype=np.float32).T
    inside = ((values >= low) & (values <= high)).all(axis=1)
    outside = int((~inside).sum())
    if not inside.any():
        raise ValueError(
            f"reference: none of {len(reference)} {setup.what} lies in the trained range of the conditions "
            f"({[tuple(r) for r in ranges]}); evaluate on data like those of the training"
        )
    if outside:
        _LOG.warning(
            "%d of %d reference %s lie outside the trained range: left out",
            outside,
            len(reference),
            setup.what,
        )
        reference = reference[inside]
    reference = _subset(reference, config.max_events, rng)
    path = Path(model.path)
    with _steps(STEPS, progress=progress) as step:
        step(f"generating {setup.what}")
        first = setup.sample("reference", reference)
        outputs = model.sample(reference.conditions, seed=seed)
        known = setup.sample("training", _subset(training, MOST_TRAINING, rng)) if training else None
        second = setup.sample("generated", Events(reference.conditions, outputs, reference.weights))
        return _finish(
            first,
            second,
            setup,
            out=Path(out),
            seed=seed,
            step=step,
            title=f"Fast simulation against its reference: {path.parent.name or path.stem}",
            history=_read_history(path.parent / "metrics.jsonl"),
            outside=outside,
            training=known,
            weights=target,
            provenance={
                "model": {"file": path.name, **model.metadata.provenance},
                **(provenance or {}),
            },
        )


def compare(
    a: Events,
    b: Events,
    *,
    data: DataConfig,
    config: EvaluationConfig,
    out: str | Path,
    base: str | Path = ".",
    names: tuple[str, str] = ("reference", "sample"),
    seed: int = 1,
    progress: bool = True,
    provenance: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
) -> Json:
    """The same numbers and figures between two samples; `a` is the reference.

    The samples need not have the same conditions: their spectra are compared too, and a difference there
    shows in everything that depends on them.

    Args:
        a: Reference showers or tracks.
        b: What to judge (``generated`` in ``metrics.json``).
        data: How they were read: geometry or targets, units, conditions.
        config: Settings.
        out: Folder of the results.
        base: Folder below which a geometry file is looked up.
        names: What `a` and `b` are called.
        seed: Fixes everything random in the metrics.
        progress: Show a progress bar on the standard error.
        provenance: Plain data to record with the results.
        weights: ROOT file to write, with a weight for each event of `b` that is compared (tree ``weights``).

    Returns:
        The content of ``metrics.json`` (see the module's docstring).

    Raises:
        ValueError: If a sample is empty or does not fit the configuration.
    """
    target = _weights_file(weights, config)
    rng = np.random.default_rng(seed)
    calorimeter = data.calo.calorimeter(base=base) if data.kind is SHOWERS else None
    setup = _setup(data, config, a, paired=False, calorimeter=calorimeter)
    with _steps(STEPS, progress=progress) as step:
        step("reading")
        first, second = (
            setup.sample(name, _subset(events, config.max_events, rng))
            for name, events in zip(names, (a, b), strict=True)
        )
        return _finish(
            first,
            second,
            setup,
            out=Path(out),
            seed=seed,
            step=step,
            title=f"{names[1]} against {names[0]}",
            history=[],
            outside=0,
            training=None,
            weights=target,
            provenance=provenance or {},
        )
