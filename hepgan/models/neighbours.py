r"""Neighbouring cells that fluctuate together: a particle that crosses the border of two cells is measured by both.

The shared numbers of a copula describe what many cells have in common. They are too few for what two neighbours have in
common, so the own numbers of the cells of a layer are correlated along each of its two axes:
:math:`\varepsilon_i \to \cos(\alpha)\,\varepsilon_i + \sin(\alpha)\,\varepsilon_{i+1}` (a moving average of first
order). They stay standard normal; neighbours have the correlation :math:`\rho = \sin(2\alpha) / 2`, farther cells none.
The angle is tabulated in the energy of the layer: in a layer with a few hits, half of them may be neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hepgan.geometry import Calorimeter
from hepgan.progress import stage
from hepgan.transforms.kernels import run, usable
from hepgan.transforms.quantiles import TINY

__all__ = ["LogNodes", "Neighbours"]

_RANGE = (0.005, 0.995)  # quantiles of the energies between which the nodes of a layer lie
_FEWEST = 100  # effective events of a node; with fewer it copies its neighbour
_TRIAL = 0.2  # first correlation that is tried
_LIMITS = (-0.3, 0.48)  # correlations; a moving average has 0.5 at most
_STEPS = 3  # of the secant method after the first trial; the last one changes correlations by less than 0.01
_LEAST_SLOPE = 0.05  # of the measured correlation, in that of the own numbers


class LogNodes(nn.Module):
    """Interpolation weights of tables in the logarithmic energy of each layer, with equally spaced nodes.

    Args:
        layers: Number of layers L.
        nodes: Number of nodes K of each.
    """

    first: Tensor
    step: Tensor
    number: Tensor

    def __init__(self, layers: int, nodes: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.register_buffer("first", torch.zeros(layers, 1))
        self.register_buffer("step", torch.ones(layers, 1))
        self.register_buffer("number", torch.arange(float(nodes))[:, None], persistent=False)

    def fit(self, logs: Tensor) -> None:
        """Place the nodes for (L, N) logarithms, of which those that are 0 (no energy) do not count."""
        for k, row in enumerate(logs):
            values = row[row > 0].sort().values
            if len(values):
                low, high = (values[int(q * (len(values) - 1))] for q in _RANGE)
                self.first[k] = low
                self.step[k] = ((high - low) / (self.nodes - 1)).clamp(min=TINY)

    def forward(self, logs: Tensor) -> Tensor:
        """Weights (L, K, B) of (L, B) logarithms; they are non-negative and sum to one over K."""
        place = ((logs - self.first) / self.step).clamp(0, self.nodes - 1)
        return torch.relu(1 - (place[:, None] - self.number).abs())


class Neighbours(nn.Module):
    """Correlate the own numbers of neighbouring cells.

    Args:
        calorimeter: The geometry.
        nodes: Number of energies K of the table of each layer.

    Attributes:
        angle: (L, 2, K) along x and y.
    """

    angle: Tensor

    def __init__(self, calorimeter: Calorimeter, *, nodes: int = 6) -> None:
        super().__init__()
        self.calorimeter = calorimeter
        self.nodes = LogNodes(calorimeter.n_layers, nodes)
        self.register_buffer("angle", torch.zeros(calorimeter.n_layers, 2, nodes))

    def forward(self, own: Tensor, logs: Tensor) -> list[Tensor]:
        """Map independent numbers (n_cells, B) to correlated ones of each layer, (n, B).

        Args:
            own: (n_cells, B).
            logs: (L, B) logarithms of `ShowerScaling.layer_logs`.
        """
        angles = (self.angle[..., None] * self.nodes(logs)[:, None]).sum(2)
        layers = self.calorimeter.layers
        parts = torch.split(own, [layer.n_cells for layer in layers])
        made = []
        turned = zip(layers, parts, torch.cos(angles), torch.sin(angles), strict=True)
        for layer, part, cosine, sine in turned:
            image = part.reshape(*layer.shape, -1)
            for axis, (size, wrap) in enumerate(zip(layer.shape, (layer.wraps, False), strict=True)):
                if size > 2:
                    image = _averaged(image, cosine[axis], sine[axis], axis, wrap=wrap)
            made.append(image.reshape(layer.n_cells, -1))
        return made

    def fit(
        self, logs: Tensor, excess: Tensor, weights: Tensor, start: Callable[[], tuple[Tensor, Tensor]]
    ) -> None:
        """Choose the correlations with which the start has those of the events.

        What counts is by how much the covariance of neighbours is larger than that of next-but-one cells, relative to
        the variance: what many cells have in common drops out.

        Args:
            logs: (L, N) of the events.
            excess: (n_cells, N) of `FewHits.excess` of the events.
            weights: (N,).
            start: Makes the same two of generated events, always of the same latent numbers.
        """
        self.nodes.fit(logs)
        wanted, known = self._local(logs, excess, weights)
        with stage("fitting neighbours", total=2 + _STEPS) as update:

            def missing(correlation: Tensor) -> Tensor:
                self.angle.copy_(torch.asin(2 * correlation) / 2)
                made_logs, made = start()
                return wanted - self._local(made_logs, made, torch.ones_like(made[0]))[0]

            none = torch.zeros_like(self.angle)
            miss = first = missing(none)
            update(1)
            slope = ((first - missing(none + _TRIAL)) / _TRIAL).clamp(min=_LEAST_SLOPE)
            update(2)
            correlation = none
            for k in range(_STEPS):
                correlation = (correlation + miss / slope).clamp(*_LIMITS)
                miss = missing(correlation)
                change = torch.where(correlation.abs() > TINY, (first - miss) / correlation, slope)
                slope = change.clamp(min=_LEAST_SLOPE)
                update(3 + k)
        for layer, some in enumerate(known):
            nodes = torch.nonzero(some)[:, 0]
            distance = (self.nodes.number - nodes).abs()
            place = nodes[distance.argmin(1)] if len(nodes) else None
            correlation[layer] = 0 if place is None else correlation[layer][:, place]
        self.angle.copy_(torch.asin(2 * correlation) / 2)

    def _local(self, logs: Tensor, excess: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """What `fit` makes equal, (L, 2, K), and which nodes (L, K) have enough events."""
        shares = self.nodes(logs) * weights
        size = shares.sum(2, keepdim=True)
        known = size[..., 0].square() > _FEWEST * shares.square().sum(2)
        shares = (shares / torch.where(size.abs() > TINY, size, 1)).double()
        result = torch.zeros_like(self.angle)
        for k, (layer, s) in enumerate(zip(self.calorimeter.layers, self.calorimeter.slices(), strict=True)):
            image = excess[s].reshape(*layer.shape, -1).double()
            mean = torch.einsum("xyn,kn->xyk", image, shares[k])

            def covariance(axis: int, step: int) -> Tensor:
                first, second = (_pairs(x, axis, step) for x in (image, mean))  # noqa: B023
                count = mean[..., 0].numel() - step * mean[..., 0].numel() // mean.shape[axis]  # noqa: B023
                made: Tensor = (shares[k] @ first - second) / count  # noqa: B023
                return made

            variance = covariance(0, 0).clamp(min=TINY)
            for axis, length in enumerate(layer.shape):
                if length > 2:
                    result[k, axis] = (covariance(axis, 1) - covariance(axis, 2)) / variance
        return result, known


def _averaged(image: Tensor, cosine: Tensor, sine: Tensor, axis: int, *, wrap: bool) -> Tensor:
    """Add to each cell of (n_x, n_y, B) the next one; the last one has none, unless the axis is closed."""
    if usable(image):
        image = image.contiguous()
        made = torch.empty_like(image)
        sizes = (*image.shape[:2], axis, int(wrap), image.shape[2])
        run("neighbours", *sizes, image, cosine.contiguous(), sine.contiguous(), made)
        return made
    size = image.shape[axis]
    if wrap:
        head, tail = torch.split(image, [1, size - 1], axis)
        return cosine * image + sine * torch.cat([tail, head], axis)
    (front, last), (_, after) = (torch.split(image, n, axis) for n in ([size - 1, 1], [1, size - 1]))
    return torch.cat([cosine * front + sine * after, last], axis)


def _pairs(image: Tensor, axis: int, step: int) -> Tensor:
    """Sum (N,) of the products of the cells of (n_x, n_y, N) that are `step` apart."""
    size = image.shape[axis] - step
    return (image.narrow(axis, 0, size) * image.narrow(axis, step, size)).sum((0, 1))
