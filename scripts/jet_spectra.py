"""Make the table and the figure of docs/jets.md: spectra of generated jets compared with the toy.

``python scripts/jet_spectra.py RUN --test TEST.root --floor OTHER.root --out docs/jets.svg``: TEST is the reference,
OTHER gives the floor; both are samples of `hepgan toy jets`, with different seeds.
"""

import argparse
from pathlib import Path

import numpy as np

from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.evaluation.sample import Sample
from hepgan.evaluation.showers import ShowerSetup
from hepgan.inference.generator import Generator
from hepgan.metrics import ks_distance, two_sample_test
from hepgan.report import figures
from hepgan.training.run_folder import export_run, load_generator
from hepgan.transforms.shower_shapes import ShowerShapes

SPECTRA = ("jet_mass", "jet_pt", "occupancy_image")
DRAWN = SPECTRA[:2]


def auc(sample: Sample, reference: Sample, *, paired: bool) -> tuple[float, float]:
    """Area under the ROC curve of gradient boosting on all shapes and conditions."""
    made, wanted = (np.column_stack([s.features, s.events.conditions]) for s in (sample, reference))
    return two_sample_test(made, wanted, rng=np.random.default_rng(1), paired=paired).auc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--test", required=True)
    parser.add_argument("--floor", required=True)
    parser.add_argument("--out", type=Path, help="SVG file of the figure")
    arguments = parser.parse_args()
    _, config, _ = load_generator(arguments.run)
    generator = Generator(export_run(arguments.run, arguments.run / "model.onnx"))
    reference, other = (read(config.data, files=[file]) for file in (arguments.test, arguments.floor))
    low, high = np.float32([(c.low, c.high) for c in generator.conditions]).T
    reference = reference[((reference.conditions >= low) & (reference.conditions <= high)).all(1)]
    made = Events(reference.conditions, generator.sample(reference.conditions, seed=1), reference.weights)
    shapes = ShowerShapes(generator.calorimeter)
    setup = ShowerSetup(config.data, config.evaluation, True, generator.calorimeter, shapes)
    truth, generated, floor = (
        setup.sample(name, events)
        for name, events in (("toy", reference), ("generated", made), ("toy", other))
    )
    category = next(k for k, c in enumerate(config.data.conditions) if c.categories)
    print("| prongs | " + " | ".join(f"KS {name}" for name in SPECTRA) + " |\n|---|" + "---|" * len(SPECTRA))
    panels = []
    for prongs, value in config.data.conditions[category].categories.items():
        inside = [s.events.conditions[:, category] == value for s in (truth, generated, floor)]
        cells = []
        for name in SPECTRA:
            column = shapes.names.index(name)
            x, y, z = (
                s.features[chosen, column]
                for s, chosen in zip((truth, generated, floor), inside, strict=True)
            )
            (ks, error), (same, _) = ks_distance(y, x), ks_distance(z, x)
            cells.append(f"{ks:.3f} ± {error:.3f} ({same:.3f})")
            if name in DRAWN:
                label = f"{name.replace('_', ' ')} [GeV], {prongs}"
                panels.append(figures.Overlay(label, sample=y, reference=x))
        print(f"| {prongs} ({inside[0].sum()}) | " + " | ".join(cells) + " |")
    for name, sample, paired in (("generated", generated, True), ("toy", floor, False)):
        print("AUC of {}: {:.3f} ± {:.3f}".format(name, *auc(sample, truth, paired=paired)))
    if arguments.out:
        arguments.out.write_bytes(
            figures.svg(figures.overlays(panels, names=figures.Names(sample="generated", reference="toy")))
        )


if __name__ == "__main__":
    main()
