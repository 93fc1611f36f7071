"""Is the sample good enough? `evaluate` a model, or `compare` two samples: metrics.json and report.html.

The numbers and the keys of ``metrics.json`` are those of `hepgan.comparison`; here they become files: which
figures the report has, what their captions say, and where the showers come from.
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
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

from hepgan import __version__, plots
from hepgan.checkpoint import write_text
from hepgan.comparison import LIMITS, Sample, Setup, measure
from hepgan.config import DataConfig, EvaluationConfig
from hepgan.features import ShowerShapes
from hepgan.geometry import Calorimeter
from hepgan.metrics import ResolutionFit, TwoSampleTest, roc_curve
from hepgan.readers import Events
from hepgan.report import Section, render
from hepgan.tables import format_measurement

if TYPE_CHECKING:
    from hepgan.export.onnx import OnnxGenerator

__all__ = ["compare", "evaluate"]

_LOG = logging.getLogger(__name__)

MAX_LAYERS_DRAWN = 8  # the layers with most energy; a figure of forty layers is read by nobody
SPECTRUM_SHOWERS = 5000  # enough for the spectrum of single cells
CURVE_POINTS = 60  # of a fitted curve: smooth to the eye

Json = dict[str, Any]


def _setup(
    calorimeter: Calorimeter, data: DataConfig, config: EvaluationConfig, *, n_overflow: int, paired: bool
) -> Setup:
    shapes = ShowerShapes(calorimeter, n_overflow=n_overflow, threshold=config.threshold)
    return Setup(calorimeter, data, config, shapes, paired)


def _subset(events: Events, most: int, rng: np.random.Generator) -> Events:
    if len(events) <= most:
        return events
    return events[np.sort(rng.choice(len(events), most, replace=False))]


def _label(name: str, unit: str) -> str:
    pretty = {
        "response": r"E_tot / E_inc",
        "depth": "shower depth [layers]",
        "depth_width": "depth width [layers]",
    }
    return pretty.get(name) or name.replace("_", " ") + (f" [{unit}]" if unit else "")


def _sections(
    reference: Sample,
    sample: Sample,
    setup: Setup,
    *,
    metrics: Json,
    test: TwoSampleTest,
    history: Sequence[Json],
) -> list[Section]:
    names = (reference.name, sample.name)
    wx, wy = reference.weights, sample.weights
    calorimeter, shapes = setup.calorimeter, setup.shapes
    images = [np.average(s.events.cells, axis=0, weights=s.weights) for s in (reference, sample)]
    by_energy = sorted(
        range(calorimeter.n_layers), key=lambda k: -float(images[0][calorimeter.slices()[k]].sum())
    )
    drawn = sorted(by_energy[:MAX_LAYERS_DRAWN])
    few = (
        f" Drawn: the {len(drawn)} of {calorimeter.n_layers} layers with most energy."
        if len(drawn) < calorimeter.n_layers
        else ""
    )
    layers = [calorimeter.names[k] for k in drawn]
    closure = metrics["closure"]
    energy = np.asarray(closure["energy"]["mean"])
    axis = f"{setup.data.calorimeter.incident_energy.replace('_', ' ')} [{closure['energy']['unit']}]"
    against: Any = {"label": axis, "names": names, "logarithmic": bool(energy.max() > 3 * energy.min())}

    def profile(label: str, numbers: Json, **more: Any) -> plots.Profile:
        return plots.Profile(
            label, np.asarray(numbers["reference"]), np.asarray(numbers["generated"]), **more
        )

    whole = ("energy_", "fraction_", "overflow_")  # of a layer as a whole; the other kinds are its shapes

    def overlay(kind: str, layer: str = "") -> plots.Overlay:
        name = kind + layer
        k = shapes.names.index(name)
        return plots.Overlay(
            _label(name, shapes.units[k]),
            reference.features[:, k],
            sample.features[:, k],
            wx,
            wy,
            decades=kind in whole,
        )

    def profiles(key: str) -> list[plots.Profile]:
        return [profile(layer, closure[key][layer]["by_energy"], band=LIMITS[key]) for layer in layers]

    fitted, curves = _resolution_fits(closure, names)
    first = calorimeter.names[0]
    kinds = [name.removesuffix(first) for name in shapes.names if name.endswith(f"_{first}")]
    sections = [
        Section(
            "response",
            "Response and resolution",
            "Mean and relative spread of the total energy over the incident energy. Good: the points of the "
            f"response ratio lie in the blue band (± {100 * LIMITS['response']:g} %) at every energy, those "
            f"of the resolution agree within their errors with 1.{fitted}",
            plots.profiles(
                energy,
                [
                    profile("response E_tot / E_inc", closure["response"], band=LIMITS["response"]),
                    profile("resolution (spread / mean)", closure["resolution"], curves=curves),
                ],
                **against,
            ),
        ),
        Section(
            "fractions",
            "Energy fraction of each layer",
            "Mean share of the deposited energy. Good: flat at 1 within the blue band "
            f"(± {100 * LIMITS['fractions']:g} %); a slope means that showers do not grow deeper with energy "
            f"as they should.{few}",
            plots.profiles(energy, profiles("fractions"), **against),
        ),
        Section(
            "occupancy",
            "Occupancy of each layer",
            f"Share of cells above {setup.config.threshold:g} {calorimeter.unit}. Good: within the blue band "
            f"(± {100 * LIMITS['occupancy']:g} %). A slope against energy is typical of a generator that "
            f"cuts cells at a fraction of the energy instead of at an absolute one.{few}",
            plots.profiles(energy, profiles("occupancy"), **against),
        ),
        Section(
            "images",
            "Mean shower",
            "Mean energy of each cell. Good: the ratio is white where there is energy; colour at the far "
            f"edge is statistics of few hits. Grey cells are empty.{few}",
            plots.layer_images(calorimeter, *images, names=names, layers=drawn),
        ),
        Section(
            "energies",
            "Energies",
            "Good: the red line covers the grey area, and the ratios scatter around 1 within their errors. "
            "The first and last bin hold what lies outside; triangles are ratios beyond the drawn "
            f"range.{few}",
            plots.overlays(
                [overlay(name) for name in ("response", "depth", "depth_width")]
                + [overlay(kind, layer) for kind in kinds if kind in whole for layer in layers],
                names=names,
            ),
        ),
        *(
            Section(
                f"shapes-{k}",
                f"Shower shapes, {layer}",
                "Centre and width along both axes, occupancy, share of the brightest cell and energy ratio "
                "of the two brightest: what particle identification uses, and where generators fail first. "
                "Good: as above.",
                plots.overlays([overlay(kind, layer) for kind in kinds if kind not in whole], names=names),
            )
            for k, layer in enumerate(layers)
        ),
        *_cell_spectra(reference, sample, setup, layers=drawn),
        Section(
            "classifier",
            "Classifier two-sample test",
            "Gradient boosting that sees all observables and the conditions, scored on showers that it was "
            "not trained with. Good: the curve follows the diagonal and both score distributions are one "
            f"peak at 0.5. Between halves of the reference: {metrics['classifier']['auc_floor'][0]:.3f} ± "
            f"{metrics['classifier']['auc_floor'][1]:.3f}, with half the showers.",
            plots.roc(
                roc_curve(test.reference_scores, test.sample_scores, reference_weights=wx, sample_weights=wy),
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
                [_label(name, "") for name in shapes.names],
                np.asarray(list(metrics["classifier"]["single"].values())),
                np.asarray(list(metrics["classifier"]["single_floor"].values())),
                axis="AUC of one observable",
                start=0.5,
            ),
        ),
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


def _resolution_fits(closure: Json, names: tuple[str, str]) -> tuple[str, list[plots.Curve] | None]:
    """Sentence and curves of the fits to the resolution; nothing where there were too few energies."""
    unit = closure["energy"]["unit"]
    low, high = closure["energy"]["mean"][0], closure["energy"]["mean"][-1]
    energy = np.geomspace(low, high, CURVE_POINTS)
    words, curves = [], []
    for name, numbers in zip(names, closure["resolution"]["fit"].values(), strict=True):
        if numbers is None:
            return "", None
        fit = ResolutionFit(**numbers)
        stochastic, constant = (
            format_measurement(term, percent=True) for term in (fit.stochastic, fit.constant)
        )
        words.append(f"{name} a = ({stochastic}) √{unit}, b = {constant}, χ²/ndf = {fit.chi2_per_ndf:.1f}")
        curves.append((energy, fit.at(energy)))
    return f" Dotted: fit of a / √E ⊕ b ({'; '.join(words)}).", curves


def _cell_spectra(reference: Sample, sample: Sample, setup: Setup, *, layers: Sequence[int]) -> list[Section]:
    """Spectra of single cells, of the layers that both samples hit."""
    panels = []
    for k in layers:
        place = setup.calorimeter.slices()[k]
        values, weights, totals = [], [], []
        for which in (reference, sample):
            every = slice(None, None, -(-len(which) // SPECTRUM_SHOWERS))  # a file may be sorted by energy
            cells, w = which.events.cells[every, place], which.weights[every]
            hit = cells > max(setup.config.threshold, 0.0)
            values.append(cells[hit].astype(np.float64))
            weights.append(np.broadcast_to(w[:, None], cells.shape)[hit])
            totals.append(float(w.sum()))
        if all(len(v) > 1 for v in values):
            label = f"cell energy {setup.calorimeter.names[k]} [{setup.calorimeter.unit}]".replace("_", " ")
            panels.append(
                plots.Overlay(
                    label, values[0], values[1], weights[0], weights[1], (totals[0], totals[1]), decades=True
                )
            )
    if not panels:
        return []
    section = Section(
        "cells",
        "Cell energies",
        "Spectrum of the energy of single cells, cells per shower. Good: agreement over all decades; the "
        "smallest deposits decide the occupancy, the largest the brightest share.",
        plots.overlays(panels, names=(reference.name, sample.name)),
    )
    return [section]


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
) -> Json:
    metrics, test = measure(reference, sample, setup, seed=seed, step=step)

    def summary(which: Sample) -> Json:
        return {
            "name": which.name,
            "events": len(which),
            "effective_events": float(which.weights.sum() ** 2 / (which.weights**2).sum()),
        }

    conditions = reference.events.conditions
    metrics["sample"] = {
        "reference": summary(reference),
        "generated": summary(sample),
        "conditions": [
            {
                "name": c.name,
                "unit": c.unit,
                "range": [float(conditions[:, k].min()), float(conditions[:, k].max())],
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
    sections = _sections(reference, sample, setup, metrics=written, test=test, history=history)
    step("report")
    page = render(written, sections, title=title)
    write_text(out / "metrics.json", text + "\n")
    write_text(out / "report.html", page)
    return written


def evaluate(
    model: OnnxGenerator,
    reference: Events,
    *,
    config: EvaluationConfig,
    out: str | Path,
    seed: int = 1,
    progress: bool = True,
    provenance: Mapping[str, Any] | None = None,
) -> Json:
    """Generate one shower for each shower of the reference, at its conditions and weight, and compare.

    Writes ``metrics.json`` and ``report.html``. Reference showers outside the trained range of a condition
    are left out (and counted): the model makes no claim there. If ``metrics.jsonl`` lies beside the model,
    the training curves are drawn too.

    Args:
        model: The exported model.
        reference: Showers that the training has not seen.
        config: Settings.
        out: Folder of the results.
        seed: Fixes the latent numbers and everything random in the metrics.
        progress: Show a progress bar on the standard error.
        provenance: Plain data to record with the results, such as the digest of the files.

    Returns:
        The content of ``metrics.json`` (see the module's docstring).

    Raises:
        ValueError: If no shower of the reference lies in the trained range, or it does not fit the model.
    """
    rng = np.random.default_rng(seed)
    ranges = [condition["range"] for condition in model.metadata["conditions"]]
    values = reference.conditions
    if len(ranges) != values.shape[1]:
        raise ValueError(
            f"reference: expected {len(ranges)} condition(s), as the model, got {values.shape[1]}; read the "
            "file with the model's configuration"
        )
    low, high = np.asarray(ranges, dtype=np.float32).T
    inside = ((values >= low) & (values <= high)).all(axis=1)
    outside = int((~inside).sum())
    if not inside.any():
        raise ValueError(
            f"reference: none of {len(reference)} showers lies in the trained range of the conditions "
            f"({[tuple(r) for r in ranges]}); evaluate on data like those of the training"
        )
    if outside:
        _LOG.warning(
            "%d of %d reference showers lie outside the trained range: left out", outside, len(reference)
        )
        reference = reference[inside]
    reference = _subset(reference, config.max_events, rng)
    setup = _setup(model.calorimeter, model.data, config, n_overflow=model.n_overflow, paired=True)
    path = Path(model.path)
    with _steps(7, progress=progress) as step:
        step("generating showers")
        first = setup.sample("reference", reference)
        cells, overflow = model.sample(reference.conditions, seed=seed)
        second = setup.sample("generated", Events(reference.conditions, cells, overflow, reference.weights))
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
            provenance={
                "model": {"file": path.name, **model.metadata.get("provenance", {})},
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
) -> Json:
    """The same numbers and figures between two samples; `a` is the reference.

    The samples need not have the same conditions: their spectra are compared too, and a difference there
    shows in everything that depends on them.

    Args:
        a: Reference showers.
        b: Showers to judge (``generated`` in ``metrics.json``).
        data: How they were read: geometry, units, conditions.
        config: Settings.
        out: Folder of the results.
        base: Folder below which a geometry file is looked up.
        names: What `a` and `b` are called.
        seed: Fixes everything random in the metrics.
        progress: Show a progress bar on the standard error.
        provenance: Plain data to record with the results.

    Returns:
        The content of ``metrics.json`` (see the module's docstring).

    Raises:
        ValueError: If a sample is empty or does not fit the geometry.
    """
    rng = np.random.default_rng(seed)
    calorimeter = data.calorimeter.calorimeter(base=base)
    setup = _setup(calorimeter, data, config, n_overflow=a.overflow.shape[1], paired=False)
    with _steps(7, progress=progress) as step:
        step("shower shapes")
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
            provenance=provenance or {},
        )
