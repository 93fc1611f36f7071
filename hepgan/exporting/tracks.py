"""Generators of tracks in an exported file: one output a target, from few matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hepgan.config import DataConfig
from hepgan.exporting.lowering import Compact
from hepgan.inference.metadata import Geometry, Output
from hepgan.models.dense import DllGenerator

__all__ = ["Tracks"]


class Tracks:
    """Export of tracks; the generator has ``target_scale`` (n_targets,)."""

    def compact(self, generator: Any) -> nn.Module:
        """The same generator in fewer operations, if it is one that can be rewritten."""
        return Compact(generator) if isinstance(generator, DllGenerator) else generator

    def split(self, generator: Any, *results: Tensor) -> tuple[Tensor, ...]:
        """Targets (B, n_targets) -> (B, 1) of each target."""
        (targets,) = results
        return torch.split(targets, 1, 1)

    def describe(
        self, generator: Any, data: DataConfig
    ) -> tuple[tuple[Output, ...], Geometry | None, DataConfig]:
        """Outputs, each with its typical size and point masses; no geometry; and how the files were read."""
        scales = generator.target_scale.tolist()
        outputs = tuple(
            Output(
                name=target.name,
                unit=target.unit,
                shape=(1,),
                role="target",
                scale=float(f"{scale:.4g}"),
                atoms=target.atoms,
            )
            for target, scale in zip(data.targets, scales, strict=True)
        )
        return outputs, None, data
