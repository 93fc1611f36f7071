"""Images of showers: the mean energy of each cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from hepgan.geometry import AXES, Calorimeter
from hepgan.report.layout import RATIO_LIMITS, Array, Names
from hepgan.report.style import plain, styled

__all__ = ["layer_images"]


@styled
def layer_images(
    calorimeter: Calorimeter,
    *,
    sample: Array,
    reference: Array,
    names: Names,
    layers: Sequence[int] | None = None,
) -> Figure:
    """Draw the mean energy of each cell: reference, sample and their ratio, one row a layer.

    Args:
        calorimeter: The geometry.
        sample: (n_cells,) mean energies.
        reference: (n_cells,).
        names: Names of the samples.
        layers: Numbers of the layers to draw; default: all.
    """
    layers = range(calorimeter.n_layers) if layers is None else layers
    titles = (names.reference, names.sample, f"{names.sample} / {names.reference}")
    figure = Figure(figsize=(9.6, 0.3 + 2.45 * len(layers)), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(layers), 3, squeeze=False))
    for row, k in zip(axes, layers, strict=True):
        layer, place = calorimeter.layers[k], calorimeter.slices()[k]
        first, second = (image[place].reshape(layer.shape).T for image in (reference, sample))
        largest = max(float(first.max()), float(second.max()))
        smallest = min((float(i[i > 0].min()) for i in (first, second) if (i > 0).any()), default=0.1)
        norm = LogNorm(max(smallest, 1e-6 * largest), largest) if largest > smallest else None
        ratio = np.divide(second, first, out=np.full_like(first, np.nan), where=first > 0)
        axes_of = AXES[layer.coordinates]
        for column, (axis, image) in enumerate(zip(row, (first, second, ratio), strict=True)):
            mesh = axis.pcolormesh(
                np.asarray(layer.x),
                np.asarray(layer.y),
                np.ma.masked_where(~(image > 0), image),
                cmap="RdBu_r" if column == 2 else "viridis",
                rasterized=True,
                **({"vmin": RATIO_LIMITS[0], "vmax": RATIO_LIMITS[1]} if column == 2 else {"norm": norm}),
            )
            axis.set_facecolor("#eceef0")
            if column in (1, 2):
                bar = figure.colorbar(mesh, ax=axis, pad=0.02, extend="both" if column == 2 else "neither")
                bar.set_label("ratio" if column == 2 else f"mean energy [{calorimeter.unit}]")
            axis.set_title(plain(titles[column]))
            axis.set_xlabel(axes_of.first)
            axis.tick_params(which="both", top=False, right=False, direction="out")
        row[0].set_ylabel(plain(layer.name) + "\n" + axes_of.second)
    return figure
