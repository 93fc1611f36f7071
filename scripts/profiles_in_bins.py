"""Make the figures of docs/model.md: mean energy along an axis, generated and simulated, in bins of a condition.

``python scripts/profiles_in_bins.py RUN --test TEST.root --condition y0 --layer layer_0 --out docs/direction.svg`` sums
over the cells of a layer along y; without ``--layer``, all layers are shown by their number.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hepgan.data.reading import read
from hepgan.inference.generator import Generator
from hepgan.report.style import GENERATED, REFERENCE, styled, svg
from hepgan.training.run_folder import export_run, load_generator

REPEATED = 4  # generated showers for each simulated one


def profile(cells, calorimeter, layer):
    """Energies (N, n) along y of one layer, or (N, layers), and the edges (n + 1,)."""
    slices = dict(zip(calorimeter.names, calorimeter.slices(), strict=True))
    if layer is None:
        energy = np.stack([cells[:, s].sum(1) for s in slices.values()], 1)
        return energy, np.arange(len(slices) + 1.0)
    shape = calorimeter.layers[calorimeter.names.index(layer)]
    return cells[:, slices[layer]].reshape(len(cells), *shape.shape).sum(1), np.array(shape.y)


@styled
def drawn(columns, edges, *, xlabel, unit):
    """Panels with pairs of profiles and their ratio, (title, reference, sample, uncertainty of the reference)."""
    figure = Figure(figsize=(2.7 * len(columns), 3.6), layout="constrained")
    rows = figure.subplots(2, len(columns), sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False)
    for k, (title, reference, sample, error) in enumerate(columns):
        upper, lower = rows[:, k]
        upper.stairs(reference, edges, color=REFERENCE, fill=True, alpha=0.25, label="Geant4")
        upper.stairs(sample, edges, color=GENERATED, label="generated")
        upper.set(yscale="log", title=title)
        known = reference > 0
        ratio, band = (np.divide(x, reference, out=np.ones_like(x), where=known) for x in (sample, error))
        band[~known] = 0
        lower.stairs(1 + band, edges, baseline=1 - band, color=REFERENCE, fill=True, alpha=0.25)
        lower.stairs(ratio, edges, color=GENERATED)
        lower.set(ylim=(0.75, 1.25), xlabel=xlabel)
    rows[0, 0].set_ylabel(f"mean energy [{unit}]")
    rows[1, 0].set_ylabel("ratio")
    rows[0, 0].legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--test", required=True)
    parser.add_argument("--condition", required=True)
    parser.add_argument("--bins", type=int, default=4)
    parser.add_argument("--layer", help="sum over the cells of this layer along y; all layers by default")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    _, config, _ = load_generator(arguments.run)
    names = [condition.name for condition in config.data.conditions]
    if arguments.condition not in names:
        parser.error(f"--condition: expected one of {', '.join(names)}, got {arguments.condition!r}")
    k = names.index(arguments.condition)
    generator = Generator(export_run(arguments.run, arguments.run / "model.onnx"))
    reference = read(config.data, files=[arguments.test])
    low, high = np.float32([(c.low, c.high) for c in generator.conditions]).T
    reference = reference[((reference.conditions >= low) & (reference.conditions <= high)).all(1)]
    conditions = np.repeat(reference.conditions, REPEATED, 0)
    made = generator.sample(conditions, seed=1)[0]
    unit = config.data.conditions[k].unit
    bins = np.quantile(reference.conditions[:, k], np.linspace(0, 1, arguments.bins + 1))
    columns = []
    for a, b in itertools.pairwise(bins):
        inside = [(x[:, k] >= a) & (x[:, k] <= b) for x in (reference.conditions, conditions)]
        (real, edges), (fake, _) = (
            profile(cells[chosen], generator.calorimeter, arguments.layer)
            for cells, chosen in zip((reference.cells, made), inside, strict=True)
        )
        error = real.std(0) / len(real) ** 0.5
        columns.append(
            (f"{arguments.condition} {a:.3g} to {b:.3g} {unit}", real.mean(0), fake.mean(0), error)
        )
    xlabel = f"y in {arguments.layer} [mm]" if arguments.layer else "layer"
    arguments.out.write_bytes(svg(drawn(columns, edges, xlabel=xlabel, unit=config.data.calo.unit)))


if __name__ == "__main__":
    main()
