"""Ship a trained run as a reference model: measure it, export it, and write its card.

    python scripts/reference_model.py runs/eplus --name eplus --test eplus_test.root

measures the run on reference events that neither its training nor any choice has seen (as ``hepgan evaluate``, into
RUN/report; with --kept-report, the numbers that are there), and writes ``NAME.onnx``, ``NAME.json`` and ``NAME.md``
into ``hepgan/reference``. What cannot be measured stands in the table `MODELS`; after a change there,

    python scripts/reference_model.py --rewrite

writes it into all cards.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import uproot

from hepgan import config as configuration
from hepgan import workflow
from hepgan.config import Config, EvaluationConfig
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.evaluation.measuring import measure
from hepgan.evaluation.records import Number
from hepgan.evaluation.results import Results, read_results
from hepgan.evaluation.setups import SETUPS
from hepgan.files import check_target, digest, near, write_bytes, write_text
from hepgan.inference.generator import Generator
from hepgan.inference.metadata import KEY, open_model
from hepgan.inference.shipped import FOLDER, reference_models
from hepgan.report.cards import Card, Recheck, Training, disagreements, markdown, read_card
from hepgan.report.writing import within_range
from hepgan.toys.writer import write as write_toy
from hepgan.training.run_folder import RunFolder, export_trained, load_generator

ROOT = Path(__file__).parents[1]
SHOWERS, TRACKS = 1500, 4000  # events that are measured again
SEED, OTHER_SEED = 1, 2  # of the card, and of the test that repeats it
UNSAID = {f"training.{key}" for key in ("threads", "log_every", "save_every_minutes", "tensorboard")}
UNSAID |= {
    "data.cache",
    "data.output_tree",
    "data.files",
    "data.test_files",
}  # change no number, or are said elsewhere
LICENCE = "BSD-3-Clause, as the code; the events behind the weights were made for this project"


@dataclass(frozen=True)
class Model:
    """What a card says that is not measured.

    Attributes:
        what: The model in a line.
        recipe: Its configuration in ``hepgan/configs``, from which the run differs by settings.
        data: Where the events come from.
        recheck: Reference events for `remeasured`.
        unsuitable: What it must not be used for.
        failures: Failures that the rows of the verdict do not show.
    """

    what: str
    recipe: str
    data: str
    recheck: Recheck
    unsuitable: tuple[str, ...]
    failures: tuple[str, ...] = ()


CALOGAN = "CaloGAN's lead and liquid-argon calorimeter (3 layers, 504 cells)"
GEANT4 = "simulated for this project with Geant4 {version}, electromagnetic physics only (data/README.md)"
PARAMETRISED = "bremsstrahlung is parametrised, and single Coulomb scattering without recoil ions"
OTHERS = (
    "another detector, or another segmentation: nothing in it knows materials or fields",
    "measured energies: a cell holds all energy deposited in lead and argon, not the signal of the argon",
    "particles, energies and directions outside the valid range",
    "rare showers: tails beyond about one in a thousand are not measured",
)
FIXED = ("particles that are not on the axis: it knows one impact point and direction", *OTHERS)
EMPTY = "layer 2 (43 mm, 0.1 % of the energy) is empty in most showers below a few GeV, and is the worst of the three"
SPECIES = {  # the code of the particle, its name in the toy, and in words
    "rich_e": (11, "e", "electrons"),
    "rich_mu": (13, "mu", "muons"),
    "rich_pi": (211, "pi", "pions"),
    "rich_k": (321, "K", "kaons"),
    "rich_p": (2212, "p", "protons"),
}


def _showers(sample: str) -> Recheck:
    return Recheck(sample=f"data/{sample}", events=SHOWERS, seed=SEED, settings={"fast": True}, numbers={})


def _tracks(species: str) -> Recheck:
    options = {"species": [species]}
    return Recheck(
        sample="toy rich", events=TRACKS, seed=9001, options=options, settings={"fast": True}, numbers={}
    )


MODELS = {
    "eplus": Model(
        f"e+ at normal incidence in {CALOGAN}",
        "eplus.toml",
        f"Positrons {GEANT4.format(version='11.4.0')}: the first 57,537 of 72,537.",
        _showers("eplus_test.root"),
        FIXED,
        (EMPTY,),
    ),
    "gamma": Model(
        f"photons at normal incidence in {CALOGAN}",
        "eplus.toml",
        f"Photons {GEANT4.format(version='11.4.0')}.",
        _showers("gamma_test.root"),
        FIXED,
        (EMPTY,),
    ),
    "eplus_angle": Model(
        f"e+ of any direction and impact point in {CALOGAN}",
        "eplus_angle.toml",
        f"Positrons {GEANT4.format(version='11.2.2')}; {PARAMETRISED}. The first 13,000 of 15,000.",
        _showers("eplus_angle_test.root"),
        OTHERS,
        (EMPTY, "its events are not those of `eplus`: another version of Geant4, and other bremsstrahlung"),
    ),
    **{
        name: Model(
            f"five log-likelihood differences (DLL) of {words} in a toy RICH",
            "rich.toml",
            f"Tracks of {words} in the toy RICH of this project, `hepgan toy rich` (hepgan/toys/rich.py).",
            _tracks(species),
            (
                "a real RICH: the toy is inspired by LHCb's, with its names of branches, and tuned to no data",
                "other particles: each species has a model of its own",
                "momenta, pseudorapidities and occupancies outside the valid range",
                "tails: efficiencies below about one in a thousand are not measured",
            ),
            (
                "thresholds: where a particle begins to radiate, likelihoods of few photons lie on narrow ridges",
            ),
        )
        for name, (_, species, words) in SPECIES.items()
    },
}


def events_of(check: Recheck, generator: Generator, *, fresh: int = 0) -> Events:
    """Reference events of a recheck, as the model reads them, inside its trained range.

    Args:
        check: Which ones.
        generator: The model.
        fresh: Added to the seed of a toy: other numbers give other events.
    """
    if not check.sample.startswith("toy "):
        events = read(generator.data, files=[str(ROOT / check.sample)])
        return within_range(generator, events[np.arange(min(check.events, len(events)))])
    with tempfile.TemporaryDirectory() as folder:
        path, toy = Path(folder) / "toy.root", check.sample.removeprefix("toy ")
        write_toy(toy, path, n=check.events, seed=check.seed + fresh, **check.options)
        return within_range(generator, read(generator.data, files=[str(path)]))


def remeasured(check: Recheck, generator: Generator, *, seed: int, fresh: int = 0) -> dict[str, Number]:
    """Measure the headline numbers of a model on a few events.

    Args:
        check: The events and the settings of the evaluation.
        generator: The model.
        seed: Of the noise and of the measurement.
        fresh: See `events_of`.
    """
    reference = events_of(check, generator, fresh=fresh)
    setup = SETUPS[generator.data.kind.name].of(
        generator.data,
        EvaluationConfig.model_validate(check.settings),
        paired=True,
        reference=reference,
        calorimeter=lambda: generator.calorimeter,
    )
    outputs = generator.sample(reference.conditions, seed=seed)
    made = setup.sample("generated", Events(reference.conditions, outputs, reference.weights))
    found = measure(
        made, setup.sample("reference", reference), setup, seed=seed, step=lambda _: None
    ).metrics.headline
    return {name: Number(*(float(f"{v:.6g}") for v in number)) for name, number in found.items()}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested tables by their dotted keys."""
    flat = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return flat


def _without_places(config: Config) -> Config:
    """The configuration with the bare names of its files: folders of this machine say nothing elsewhere."""
    data = config.data
    names = {key: tuple(Path(name).name for name in getattr(data, key)) for key in ("files", "test_files")}
    return config.model_copy(update={"data": data.model_copy(update={**names, "cache": "auto"})})


def command(config: Config, recipe: str, name: str) -> str:
    """The command that trains a configuration, as changes of a recipe."""
    path = ROOT / "hepgan" / "configs" / recipe
    before, now = (
        _flat(c.model_dump(mode="json", exclude_none=True)) for c in (configuration.load(path), config)
    )
    changed = {"data.files": now["data.files"]}
    changed |= {k: v for k, v in now.items() if k not in UNSAID and before.get(k) != v}
    words = [f"hepgan train hepgan/configs/{recipe} --out runs/{name}"]
    return " \\\n    ".join(words + [f"--set '{key}={_toml(value)}'" for key, value in changed.items()])


def _toml(value: Any) -> str:
    """A value in one line of TOML."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(entry)}' for key, entry in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _training(run: Path, model: Model, arguments: argparse.Namespace) -> Training:
    """What the run folder says of the training."""
    folder = RunFolder(run)
    _, config, progress = load_generator(run)
    tree, named = config.data.tree, _without_places(config)
    entries = sum(uproot.open(file)[tree].num_entries for file in config.data.files)
    cut = f", those with `{config.data.cut}`" if config.data.cut else ""
    last = json.loads(folder.log.read_text(encoding="utf-8").splitlines()[-1])
    return Training(
        data=f"{model.data} {entries} events of {', '.join(f'`{name}`' for name in named.data.files)} (sha256 "
        f"`{digest(config.data.files)[:16]}`){cut}; {config.data.validation:.0%} of them select the checkpoint.",
        command=command(named, model.recipe, arguments.name),
        config=configuration.dump(named),
        seed=config.training.seed,
        steps=int(last["step"]),
        selected=progress.best_step,
        hours=round(float(last["time"]) / 3600, 4),
        device=arguments.device or progress.device,
    )


def _measured(run: Path, arguments: argparse.Namespace) -> Results:
    """The evaluation of a run; an older one is refused if it is not of this very generator and these events."""
    if not arguments.kept_report:
        settings = {"evaluation.fast": arguments.fast, "evaluation.max_events": arguments.most}
        return workflow.evaluate(run, data=arguments.test, settings=settings)
    results, (_, _, progress) = read_results(RunFolder(run).report), load_generator(run)
    model = results.provenance.model
    if model is None or model.step != progress.best_step:
        raise SystemExit(f"{run}: the report is not of the selected generator; leave out --kept-report")
    return results


def _exported(run: Path, path: Path) -> None:
    """Write the file of the model, whose description names files without folders, and no test files."""
    with tempfile.TemporaryDirectory() as folder:
        workflow.export(run, Path(folder) / path.name)
        file = open_model(Path(folder) / path.name)
    data = file.metadata.data
    names = tuple(Path(name).name for name in data.files)
    metadata = file.metadata.model_copy(
        update={"data": data.model_copy(update={"files": names, "test_files": (), "cache": "auto"})}
    )
    onnx.helper.set_model_props(file.model, {KEY: metadata.to_json()})
    write_bytes(path, file.model.SerializeToString(), content="the model")


def said(model: Model) -> dict[str, Any]:
    """What a card takes from the table as it is."""
    lists = {"unsuitable": list(model.unsuitable), "failures": list(model.failures)}
    return {"what": model.what, "licence": LICENCE, **lists}


def write_card(card: Card, path: Path) -> None:
    """Write the numbers and the text of a card beside the model's file."""
    text = markdown(card, open_model(path).metadata, size=path.stat().st_size)
    write_text(path.with_suffix(".json"), card.model_dump_json(indent=1) + "\n")
    write_text(path.with_suffix(".md"), text)


def rewrite() -> None:
    """Write what the table says into the cards that are there."""
    for name, path in reference_models().items():
        write_card(read_card(name).model_copy(update=said(MODELS[name])), path)
        print(path.with_suffix(".md"))


def ship(arguments: argparse.Namespace) -> Path:
    """Measure and export a run, and write its card; returns the card."""
    model = MODELS.get(arguments.name)
    if model is None:
        raise SystemExit(
            f"--name {arguments.name!r}: there is no such entry in MODELS; {near(arguments.name, MODELS)}"
        )
    path: Path = arguments.out / f"{arguments.name}.onnx"
    check_target(path)
    if not arguments.kept_report:
        export_trained(RunFolder(arguments.run))  # measured is what this version of the code ships
    results = _measured(arguments.run, arguments)
    training = _training(arguments.run, model, arguments)
    _exported(arguments.run, path)
    generator = Generator(path)
    settings: dict[str, Any] = dict(model.recheck.settings)
    if cuts := configuration.load(RunFolder(arguments.run).config).evaluation.cuts:
        settings["cuts"] = list(cuts)
    check = model.recheck.model_copy(update={"settings": settings})
    check = check.model_copy(update={"numbers": remeasured(check, generator, seed=SEED)})
    card = Card(
        name=arguments.name,
        training=training,
        reference=f"{results.samples.what} of {', '.join(f'`{Path(name).name}`' for name in arguments.test)}",
        events=results.samples.reference.events,
        rows=results.rows,
        recheck=check,
        sha256=sha256(path.read_bytes()).hexdigest(),
        **said(model),
    )
    write_card(card, path)
    again = remeasured(check, generator, seed=OTHER_SEED, fresh=1)
    for sentence in disagreements(check.numbers, again) or [
        "measured again: all within three standard deviations"
    ]:
        print(sentence)
    return path.with_suffix(".md")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="run folder of the training")
    parser.add_argument("--name", help=f"one of {', '.join(MODELS)}")
    parser.add_argument("--test", nargs="+", metavar="FILE.root", help="reference events")
    parser.add_argument(
        "--rewrite", action="store_true", help="write changes of MODELS into all cards, and end"
    )
    parser.add_argument("--most", type=int, default=100_000, help="largest number of them to compare")
    parser.add_argument("--fast", action="store_true", help="leave out what takes minutes")
    parser.add_argument("--kept-report", action="store_true", help="take the numbers of RUN/report of --test")
    parser.add_argument("--device", default="", help="what it was trained on, in words")
    parser.add_argument(
        "--failure", action="append", default=[], help="a known failure, in words; repeatable"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder; default: hepgan/reference")
    arguments = parser.parse_args(words)
    if arguments.rewrite:
        rewrite()
    elif None in (arguments.run, arguments.name, arguments.test):
        parser.error("expected RUN, --name and --test, or --rewrite")
    else:
        print(ship(arguments))


if __name__ == "__main__":
    main()
