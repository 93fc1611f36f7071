"""Every objective on the same work: which one to use, in numbers.

`run` trains each row of `ROWS` on each entry of `WORK` from several seeds, with the product's own `train`: the same
generator, the same number of its gradient steps, the same learning rates. What a run leaves is compared with held-out
events by every entry of `METRICS`; the row "data" compares held-out events with others of them and is what a perfect
generator would get. `page` writes the tables.

Nothing is hidden. A run fails if it

- diverged: a loss or a generated event is not finite; it has no numbers;
- collapsed: a generated target differs between events of the most similar conditions by less than `COLLAPSED` of what
  it does in the data, or fewer than half of the known modes were found;
- got worse: the generator is further from the validation events than before the first step (and did not collapse).

Failures are counted. Numbers of those that did not diverge enter the means. Judged is the averaged generator of the
last step; what `train` exports is the one of the smallest distance, which hides a collapse.

What it does not tell: which objective is best when each is tuned by itself. The settings are common to all rows.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from scipy.spatial import cKDTree

from hepgan import config as configuration
from hepgan import metrics, toys
from hepgan.config import Config
from hepgan.data.events import Events
from hepgan.data.inspection import starting_config
from hepgan.data.splits import test_events
from hepgan.evaluation.verdict import format_measurement
from hepgan.files import PACKAGE, near, write_text
from hepgan.metrics.moments import Measurement
from hepgan.metrics.transport import standardised
from hepgan.models import MODELS
from hepgan.objectives import OBJECTIVES
from hepgan.objectives import chosen as check_objective
from hepgan.training import checkpoint
from hepgan.training.loop import load_generator, train
from hepgan.transforms.conditions import ConditionScaling
from hepgan.transforms.quantiles import QuantileScaling

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "COLLAPSED",
    "METRICS",
    "ROWS",
    "SETTINGS",
    "WORK",
    "Metric",
    "Row",
    "Work",
    "page",
    "run",
    "table",
]

Array = NDArray[np.float64]

COLLAPSED = 0.25  # of the data's fluctuation: below, a sample has lost most of a dimension
EVENTS = 2000  # held-out events on either side, at most: an exact transport plan of so many takes a second
_TRAINED, _HELD_OUT = 10_000, 2 * EVENTS  # events of a toy, about
_ITSELF = "data"  # the row that is not trained
_ROOT = PACKAGE.parent

SETTINGS: dict[str, Any] = {
    "model": {"latent": 8, "width": 64, "depth": 2, "hinges": 8, "critic_width": 64, "critic_depth": 2},
    "training": {
        "batch_size": 256,
        "lr_generator": 2e-3,
        "lr_critic": 2e-3,
        "betas": [0.5, 0.9],
        "ema": 0.98,
        "warm_up": 0,  # a step of a row is a step of its generator
        "threads": 1,
        "device": "cpu",
    },
}
"""What all rows have in common: small networks and learning rates that forgive little."""


@dataclass(frozen=True)
class Row:
    """What is trained.

    Attributes:
        objective: Keys of the table [objective].
        model: The table [model], instead of that of `SETTINGS`.
    """

    objective: Mapping[str, Any]
    model: Mapping[str, Any] = field(default_factory=dict)


_SIZE = {key: value for key, value in SETTINGS["model"].items() if key != "latent"}
_FLOW = _SIZE | {"name": "flow", "depth": 1}  # a network of two hidden layers in each coupling

ROWS: dict[str, Row] = {
    **{name: Row({"name": name}) for name, objective in OBJECTIVES.items() if not objective.own},
    **{f"minimax+{name}": Row({"name": "minimax", "regulariser": name}) for name in ("wgan-gp", "r1")},
    "vae": Row({"name": "likelihood"}, _SIZE | {"name": "vae"}),
    "alpha-gan": Row({"name": "alpha-gan"}, _SIZE | {"name": "vae", "likelihood": "synthetic"}),
    "realnvp": Row({"name": "likelihood"}, _FLOW | {"coupling": "affine"}),
    "realnvp-wgan-gp": Row({"name": "wgan-gp"}, _FLOW | {"coupling": "affine"}),
    "spline-flow": Row({"name": "likelihood"}, _FLOW | {"coupling": "spline"}),
}
"""The rows by name: every objective, the first one of all with what repairs it, and models with a loss of their own.

Any other objective may be had with any regulariser as ``objective+regulariser``.
"""


@dataclass(frozen=True)
class Work:
    """What it is trained on.

    Attributes:
        data: Table [data] of the configuration, without files where there is a toy.
        toy: Name in `hepgan.toys.writer.TOYS`, and its options.
        kept: Share of the toy's events that the cut keeps, about.
        centres: (K, F) of the modes of the targets, where they are known.
        radius: Largest distance from a centre of an event that belongs to it.
    """

    data: Mapping[str, Any]
    toy: tuple[str, Mapping[str, Any]] | None = None
    kept: float = 1.0
    centres: Array | None = None
    radius: float = 0.0


def _nothing(branch: str) -> list[dict[str, str]]:
    """A condition that is always the same."""
    return [{"name": "one", "branch": f"1 + 0 * {branch}", "transform": "linear"}]


WORK: dict[str, Work] = {
    "ring": Work(  # in straight coordinates: the generator begins as one blob and has to find the modes itself
        {"conditions": _nothing("x"), "targets": [{"name": axis, "transform": "linear"} for axis in "xy"]},
        ("ring", {}),
        centres=toys.ring_centres(),
        radius=3 * toys.RING_SIGMA,
    ),
    "shower-shape": Work(
        {
            "conditions": [{"name": "incident_energy", "unit": "GeV"}],
            "targets": [
                {"name": "radius", "unit": "mm"},
                {"name": "angle", "unit": "rad", "transform": "angle"},
                {"name": "log_energy"},
            ],
        },
        ("shower-shape", {}),
    ),
    "calorimeter": Work(
        {
            "files": [str(_ROOT / "data" / "eplus.root")],
            "test_files": [str(_ROOT / "data" / "eplus_test.root")],
            "conditions": [{"name": "incident_energy", "unit": "GeV"}],
            "targets": [
                {"name": f"energy_{layer}", "branch": f"sum(layer_{layer})", "unit": "MeV"}
                for layer in range(3)
            ],
        }
    ),
    "rich": Work(  # kaons above the thresholds of all species: without point masses, which no objective touches
        {
            "cut": "Brunel_P > 30000 and hasRich == 1",
            "conditions": [
                {"name": "Brunel_P", "unit": "MeV/c"},
                {"name": "Brunel_ETA", "transform": "linear"},
                {"name": "nTracks_Brunel", "transform": "linear", "integer": True},
            ],
            "targets": [{"name": f"RichDLL{h}"} for h in ("e", "k", "mu", "p", "bt")],
        },
        ("rich", {"species": ("K",)}),
        kept=0.2,
    ),
}
"""Data sets by name. The calorimeter's are sums of the cells of each layer."""


@dataclass(frozen=True)
class Metric:
    """A number of a sample against a reference.

    Attributes:
        heading: Of its column.
        between: From (N2, F) features of the sample, (N1, F) of the reference, and ``rng=``.
    """

    heading: str
    between: Callable[..., Measurement]


def _parzen(sample: ArrayLike, reference: ArrayLike, *, rng: np.random.Generator) -> Measurement:
    return metrics.parzen_log_likelihood(sample, reference, rng=rng).measurement


METRICS: dict[str, Metric] = {
    "earth_movers_distance": Metric(
        "EMD", partial(metrics.earth_movers_distance, most=EVENTS // 2, subsets=2)
    ),
    "sliced_wasserstein": Metric("sliced W", metrics.sliced_wasserstein),
    "classifier_auc": Metric(
        "AUC", lambda sample, reference, *, rng: metrics.two_sample_test(sample, reference, rng=rng).auc
    ),
    "mmd": Metric(
        "MMD²",
        lambda sample, reference, *, rng: metrics.mmd(sample, reference, rng=rng, permutations=0).measurement,
    ),
    "parzen": Metric("Parzen (nats)", _parzen),
}
"""What is measured, on conditions and targets together, in spreads of the reference."""


class _Features:
    """Conditions and targets of events as features: standardised as for the networks, constant ones left out."""

    def __init__(self, config: Config, reference: Events) -> None:
        conditions, targets, weights = map(
            torch.from_numpy, (reference.conditions, reference.targets, reference.weights)
        )
        self.conditions = ConditionScaling(config.data.conditions)
        self.conditions.fit(conditions, weights)
        self.targets = QuantileScaling([target.transform for target in config.data.targets])
        self.targets.fit(targets, weights, torch.ones_like(targets, dtype=torch.bool))
        self.varying = np.ptp(self.conditions(conditions).numpy(), axis=0) > 0

    def of_conditions(self, events: Events) -> Array:
        values: Array = self.conditions(torch.from_numpy(events.conditions)).double().numpy()
        return values[:, self.varying]

    def of_targets(self, events: Events) -> Array:
        normal = self.targets.to_normal(torch.from_numpy(events.targets))
        values: Array = self.targets.periodic(normal).double().numpy()
        return values

    def __call__(self, events: Events) -> Array:
        """(N, F)."""
        return np.concatenate([self.of_conditions(events), self.of_targets(events)], axis=1)

    def fluctuation(self, events: Events) -> Array:
        """Mean difference of each target (T,) between an event and the one of the most similar conditions."""
        targets, given = self.of_targets(events), self.of_conditions(events)
        nearest = cKDTree(given).query(given, k=2)[1][:, 1] if given.shape[1] else np.arange(len(events)) - 1
        difference: Array = np.abs(targets - targets[nearest]).mean(axis=0)
        return difference


def _measured(
    features: _Features, sample: Events, reference: Events, *, work: Work, rng: np.random.Generator
) -> dict[str, Any]:
    """All numbers of one sample, and how it failed."""
    failure = ""
    if (features.fluctuation(sample) < COLLAPSED * features.fluctuation(reference)).any():
        failure = "collapsed"
    found: dict[str, Measurement | None] = {}
    if work.centres is not None:
        coverage = metrics.mode_coverage(sample.targets, work.centres, radius=work.radius)
        found |= {"modes": (float(coverage.covered), 0.0), "in_modes": coverage.high_quality}
        if coverage.covered < len(work.centres) / 2:
            failure = "collapsed"
    y, x = standardised(features(sample), features(reference))
    for name, metric in METRICS.items():
        try:
            found[name] = metric.between(y, x, rng=rng)
        except ValueError:  # such as the likelihood of a sample that is one point: not defined
            found[name] = None
    return {"failure": failure, "numbers": found}


def _work(name: str) -> Work:
    """An entry of `WORK`, or the one that a ROOT file makes.

    Raises:
        FileNotFoundError: If the file, or the shipped sample, is missing.
        ValueError: If there is neither a data set nor a file of this name, or its showers are no arrays.
    """
    if name in WORK:
        files = WORK[name].data.get("files", ())
        for file in files:
            if not Path(file).is_file():
                raise FileNotFoundError(
                    f"--data {name}: expected the sample {file}, which is in a checkout of the repository, got none; "
                    "run it there, or name a ROOT file of your own"
                )
        return WORK[name]
    if not name.endswith(".root"):
        raise ValueError(f"--data {name!r}: expected a ROOT file or a data set; {near(name, WORK)}")
    data = tomllib.loads(starting_config(name))["data"]
    calorimeter = data.pop("calorimeter", None)
    if calorimeter is not None:
        if calorimeter.get("layout", "arrays") != "arrays":
            raise ValueError(
                f"--data {name}: expected showers with one array branch a layer, got layout {calorimeter['layout']!r}; "
                "rows are compared on the energy of each layer: write these as branches"
            )
        data["targets"] = [
            {"name": f"sum_{branch}", "branch": f"sum({branch})"} for branch in calorimeter["branches"]
        ]
    return Work(data)


def _row(name: str) -> Row:
    """An entry of `ROWS`, or an objective with a regulariser.

    Raises:
        ValueError: If there is no such objective.
    """
    if name in ROWS:
        return ROWS[name]
    objective, plus, regulariser = name.partition("+")
    if objective not in ROWS or not plus:
        raise ValueError(f"--rows {name!r}: there is no such row; {near(name, ROWS)}")
    row = ROWS[objective]
    return Row({**row.objective, "regulariser": regulariser}, row.model)


def _recipe(work: Work, row: Row, *, steps: int, seed: int, settings: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "data": {"files": ["toy"], "test_files": ["toy"], "validation": 0.1}
        if work.toy
        else {"test": 0.2, "validation": 0.1},
        "model": dict(row.model or SETTINGS["model"]),
        "objective": dict(row.objective),
        "training": {
            **SETTINGS["training"],
            "steps": steps,
            "seed": seed,
            "log_every": min(50, steps),
            "validate_every": steps,  # only the last generator is judged
        },
    }
    values["data"] |= work.data
    for setting in settings:
        configuration.override(values, setting)
    return values


@contextmanager
def _files(work: Work) -> Iterator[dict[str, Any]]:
    """Keys of [data] that name the files, which exist in the meantime."""
    if work.toy is None:
        yield {}
        return
    name, options = work.toy
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{part}.root")) for part in ("trained", "held_out")]
        for seed, (path, n) in enumerate(zip(paths, (_TRAINED, _HELD_OUT), strict=True), start=1):
            toys.write(name, path, n=round(n / work.kept), seed=seed, **options)
        yield {"files": paths[:1], "test_files": paths[1:]}


def _one(work: Work, row: Row | None, config: Config) -> dict[str, Any]:
    """Train one row from one seed, and measure; None: compare the data with themselves."""
    seed = config.training.seed
    events = test_events(config.data, seed=seed)
    order = np.random.default_rng(seed).permutation(len(events))[: 2 * EVENTS]
    reference, other = (events[half] for half in np.array_split(order, 2))
    features = _Features(config, reference)
    measured = partial(_measured, features, reference=reference, work=work, rng=np.random.default_rng(seed))
    if row is None:
        return measured(other)
    with tempfile.TemporaryDirectory() as folder:
        out, begun = Path(folder, "run"), time.process_time()
        try:
            train(config, out, progress=False)
        except FloatingPointError:
            return {"failure": "diverged", "numbers": {}}
        seconds = time.process_time() - begun  # not on the clock: it may be shared with others
        last = json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        if last["step"] < config.training.steps:
            raise KeyboardInterrupt  # `train` saves and returns
        generator, _, texts = load_generator(out)
        tensors, _ = checkpoint.load(out / "checkpoint" / "state.safetensors")
    generator.load_state_dict(checkpoint.part(tensors, "ema"))
    latent = torch.randn(len(other), generator.n_latent, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        targets = generator(torch.from_numpy(other.conditions), latent)[0].numpy()
    speed = {"seconds_per_step": seconds / last["step"]}
    if not np.isfinite(targets).all():
        return {"failure": "diverged", "numbers": {}} | speed
    result = measured(Events(other.conditions, (targets,), other.weights))
    if texts["best_step"] == 0 and not result["failure"]:
        result["failure"] = "got worse"
    return result | speed


def run(
    *,
    data: Sequence[str] = tuple(WORK),
    rows: Sequence[str] = tuple(ROWS),
    seeds: int = 3,
    steps: int = 2000,
    out: str | Path,
    settings: Sequence[str] = (),
    progress: bool = False,
) -> dict[str, Any]:
    """Train and measure all rows on all data sets; what is already in the folder is not trained again.

    Args:
        data: Names in `WORK`, or ROOT files.
        rows: Names in `ROWS`, or ``objective+regulariser``.
        seeds: Number of seeds, from 1.
        steps: Of the generator.
        out: Folder of ``results.json``, which is written after each run, and ``results.md``.
        settings: Keys of the configuration for all rows, as ``training.lr_critic=1e-3``.
        progress: Show a progress bar on stderr.

    Returns:
        What is in ``results.json``: number of steps, and ``runs`` by data set, row and seed, with failure, numbers and
        CPU seconds per step (start and export included); the row "data" is the floor.

    Raises:
        ValueError: If there is no such data set or row, a setting is none, or the folder holds results of other
            settings.
        FileNotFoundError: If a file is missing.
    """
    works = {name: _work(name) for name in data}
    chosen: dict[str, Row | None] = {_ITSELF: None, **{name: _row(name) for name in rows}}
    path = Path(out) / "results.json"
    results: dict[str, Any] = {"steps": steps, "runs": {}}
    if path.is_file():
        results = json.loads(path.read_text(encoding="utf-8"))
        if results["steps"] != steps:
            raise ValueError(
                f"{path}: expected results of {steps} steps, got some of {results['steps']}; take another --out, or "
                f"--steps {results['steps']}"
            )

    plan: list[tuple[str, str, int, dict[str, Any], str]] = []
    for seed in range(
        1, seeds + 1
    ):  # the outer loop: a benchmark that was stopped has all tables, of fewer seeds
        for name, work in works.items():
            for row_name, row in chosen.items():
                values = _recipe(work, row or Row({}), steps=steps, seed=seed, settings=settings)
                config = configuration.parse(values, source=f"{row_name} on {name}")
                check_objective(config.objective)
                if seed == 1:
                    MODELS[config.model.name][0](config.data, config.model)  # flows need an extra
                if config.data.weight is not None:
                    raise ValueError(
                        "data.weight: expected none, got an expression; rows are compared on events of weight one"
                    )
                digest = hashlib.sha256(configuration.dump(config).encode()).hexdigest()
                stored = results["runs"].get(name, {}).get(row_name, {}).get(str(seed))
                if stored is None:
                    plan.append((name, row_name, seed, values, digest))
                elif stored["config_sha256"] != digest:
                    raise ValueError(
                        f"{path}: expected results of the same settings, got others for {row_name!r} on {name!r}, seed "
                        f"{seed}; take another --out, or the steps and settings of before"
                    )

    columns = [TextColumn("{task.description}"), *Progress.get_default_columns()[1:2], MofNCompleteColumn()]
    console = Console(stderr=True)
    with (
        ExitStack() as stack,
        Progress(*columns, TimeElapsedColumn(), console=console, disable=not progress) as bar,
    ):
        task = bar.add_task("benchmark", total=len(plan))
        files = {name: stack.enter_context(_files(works[name])) for name in {entry[0] for entry in plan}}
        for name, row_name, seed, values, digest in plan:
            bar.update(task, description=f"{name}: {row_name}, seed {seed}")
            config = configuration.parse({**values, "data": {**values["data"], **files[name]}})
            result = {"config_sha256": digest, **_one(works[name], chosen[row_name], config)}
            results["runs"].setdefault(name, {}).setdefault(row_name, {})[str(seed)] = result
            write_text(path, json.dumps(results, indent=1))
            bar.advance(task)
    write_text(path.with_name("results.md"), page(results))
    return results


def _over_seeds(numbers: Iterable[Measurement | None]) -> Measurement | None:
    """Mean and standard deviation over seeds; of one seed the metric's own uncertainty."""
    defined = [number for number in numbers if number is not None and math.isfinite(number[0])]
    if len(defined) < 2:
        return defined[0] if defined else None
    values = [value for value, _ in defined]
    return float(np.mean(values)), float(np.std(values, ddof=1))


def table(results: Mapping[str, Any], data: str) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table of one data set: a line for each row, the best EMD first, after the floor.

    Args:
        results: What `run` returned.
        data: Which data set.
    """
    lines: list[tuple[float, list[str]]] = []
    runs: Mapping[str, Mapping[str, Any]] = results["runs"][data]
    headings = {"modes": "modes", "in_modes": "in modes"} | {
        k: metric.heading for k, metric in METRICS.items()
    }
    measured = {key for row in runs.values() for result in row.values() for key in result["numbers"]}
    keys = [key for key in headings if key in measured]
    for name, seeds in runs.items():
        found = {key: _over_seeds(r["numbers"].get(key) for r in seeds.values()) for key in keys}
        failures = [r["failure"] for r in seeds.values() if r["failure"]]
        kinds = ", ".join(f"{failures.count(kind)} {kind}" for kind in sorted(set(failures)))
        speed = [1000 * r["seconds_per_step"] for r in seeds.values() if "seconds_per_step" in r]
        cells = [name, *("" if found[key] is None else format_measurement(found[key]) for key in keys)]
        cells += [f"{kinds} of {len(seeds)}" if kinds else "", f"{min(speed):.1f}" if speed else ""]
        distance = found.get("earth_movers_distance")
        rank = -1.0 if name == _ITSELF else math.inf if distance is None else distance[0]
        lines.append((rank, cells))
    lines.sort(key=lambda line: line[0])
    return ["row", *(headings[key] for key in keys), "failed", "CPU ms/step"], [cells for _, cells in lines]


def page(results: Mapping[str, Any]) -> str:
    """All tables as Markdown."""
    parts = []
    for name in results["runs"]:
        headings, lines = table(results, name)
        seeds = max(len(row) for row in results["runs"][name].values())
        parts.append(f"### {name}: {results['steps']} steps, {seeds} seed{'s' * (seeds > 1)}\n")
        parts += [f"| {' | '.join(cells)} |" for cells in [headings, ["---"] * len(headings), *lines]]
        parts.append("")
    return "\n".join(parts)
