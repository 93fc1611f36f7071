"""Generators of showers in an exported file: one output a layer, and the geometry."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hepgan.config import DataConfig
from hepgan.geometry import Calorimeter
from hepgan.inference.metadata import Geometry, Layer, Output

__all__ = ["Showers"]


class Showers:
    """Export of showers; the generator has ``calorimeter`` and ``n_overflow``."""

    def compact(self, generator: Any) -> nn.Module:
        """The generator as it is."""
        module: nn.Module = generator
        return module

    def split(self, generator: Any, *results: Tensor) -> tuple[Tensor, ...]:
        """Cells (B, n_cells) and overflow (B, n_overflow) -> (B, n_x, n_y) of each layer, and overflow if any."""
        cells, overflow = results
        calorimeter: Calorimeter = generator.calorimeter
        layers = [
            cells[:, place].reshape(-1, *shape)
            for place, shape in zip(calorimeter.slices(), calorimeter.shapes, strict=True)
        ]
        return (*layers, overflow) if generator.n_overflow else tuple(layers)

    def describe(
        self, generator: Any, data: DataConfig
    ) -> tuple[tuple[Output, ...], Geometry | None, DataConfig]:
        """Outputs, geometry, and how the files were read: with the layers instead of the name of a geometry file."""
        calorimeter: Calorimeter = generator.calorimeter
        unit, calo = calorimeter.unit, data.calo
        outputs = [
            Output(name=layer.name, unit=unit, shape=layer.shape, role="layer")
            for layer in calorimeter.layers
        ]
        if generator.n_overflow:
            name = "overflow" if calo.overflow in (None, "tail") else calo.overflow
            outputs.append(Output(name=name, unit=unit, shape=(generator.n_overflow,), role="overflow"))
        geometry = Geometry(unit=unit, layers=tuple(map(Layer.of, calorimeter.layers)))
        complete = data.model_copy(update={"calorimeter": calo.with_layers(calorimeter)})
        return tuple(outputs), geometry, complete
