"""Make the table of docs/results.md: generators of the toy RICH, each compared with the toy and beside its floor.

``python scripts/rich_table.py RUN [RUN ...] --test TEST.root --floor OTHER.root``: TEST is the reference, OTHER gives
the floor; both are samples of `hepgan toy rich`, with different seeds. Both are cut as in the training (or by --cut),
and the floor compares as many tracks of OTHER with those of TEST.
"""

import argparse
from pathlib import Path

import numpy as np

from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.evaluation.closures import Shares
from hepgan.evaluation.records import to_array
from hepgan.evaluation.sample import Sample
from hepgan.evaluation.tracks import TrackSetup
from hepgan.inference.generator import Generator
from hepgan.training.run_folder import export_run, load_generator

AUC_TRACKS = 100_000  # for gradient boosting, whose AUC depends on their number: keep it to compare numbers
HEAD = """| run | tracks | KS mean | KS max | AUC | efficiency, worst | in | atoms and ties, worst |
|---|---|---|---|---|---|---|---|"""


def worst(shares: Shares, condition: str) -> tuple[float, str]:
    """Largest difference of a share in the bins of one condition, and of which share."""
    sizes = {}
    for name, values in shares.values.items():
        made, wanted = (
            to_array(curve)[:, 0] for curve in (values[condition].sample, values[condition].reference)
        )
        sizes[name] = float(np.abs(made - wanted).max())
    name = max(sizes, key=lambda key: sizes[key])
    return sizes[name], name


def numbers(sample: Sample, reference: Sample, setup: TrackSetup, *, momentum: str) -> str:
    """The columns of one comparison."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(reference))
    halves = [(order[: len(order) // 2], order[len(order) // 2 :])]
    closure = setup.closure(sample, reference, halves=halves, rng=rng)
    first = np.arange(min(AUC_TRACKS, len(reference)))
    auc, error = setup.classify(sample[first], reference[first], rng=rng).auc
    cut, of_cut = worst(closure.efficiency, momentum)
    atom, _ = worst(closure.atoms, momentum)
    ks = closure.ks
    return (
        f"{ks.mean.value:.4f} | {ks.max.value:.4f} | {auc:.3f} ± {error:.3f} | "
        f"{100 * cut:.1f} % | {of_cut} | {100 * atom:.2f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--test", required=True)
    parser.add_argument("--floor", required=True)
    parser.add_argument("--cut", help="cut to use instead of the training's")
    parser.add_argument("--momentum", default="Brunel_P", help="condition in whose bins shares are compared")
    parser.add_argument("--most", type=int, default=400_000, help="largest number of tracks to compare")
    arguments = parser.parse_args()
    print(HEAD)
    for run in arguments.runs:
        _, config, _ = load_generator(run)
        generator = Generator(export_run(run, run / "model.onnx"))
        wanted = {"cut": arguments.cut or config.data.cut, "max_events": arguments.most}
        data = config.data.model_copy(update=wanted)
        reference, other = (read(data, files=[file]) for file in (arguments.test, arguments.floor))
        low, high = np.float32([(c.low, c.high) for c in generator.conditions]).T
        inside = ((reference.conditions >= low) & (reference.conditions <= high)).all(1)
        reference = reference[inside]
        made = Events(reference.conditions, generator.sample(reference.conditions, seed=1), reference.weights)
        for name, sample, paired in ((run.name, made, True), ("toy against itself", other, False)):
            setup = TrackSetup(data, config.evaluation, paired)
            samples = (setup.sample(name, sample), setup.sample("reference", reference))
            columns = numbers(*samples, setup, momentum=arguments.momentum)
            print(f"| {name} | {len(reference)} | {columns} |", flush=True)


if __name__ == "__main__":
    main()
