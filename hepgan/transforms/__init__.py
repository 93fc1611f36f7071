"""Transforms between physical units and network units, as modules that travel inside the exported graph.

Each transform is fitted to the training events and keeps the result in buffers. Checkpoints and ONNX files carry it
along, and nobody repeats a scaling in C++.

================ ==============================================================================================
module           transforms
================ ==============================================================================================
`conditions`     conditions: standardised numbers, one-hot categories, tent functions
`energy`         means, spreads and quantiles that depend on the incident energy
`showers`        energies of a shower to dimensionless logarithms
`quantiles`      observables to standard normal numbers
`angles`         angles: wrapping, and recovery from cosine and sine
`point_masses`   sentinels, exact zeros and exactly equal observables
`shower_shapes`  cell energies to shower shapes (one way only)
================ ==============================================================================================
"""

from __future__ import annotations

from hepgan.transforms.shower_shapes import ShowerShapes

__all__ = ["ShowerShapes"]
