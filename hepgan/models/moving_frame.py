"""A frame that moves with the shower, and numbers of cells that are smooth in it; see `conditional_start`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.geometry import CaloLayer
from hepgan.transforms.quantiles import TINY

__all__ = ["ROUND", "Cells", "Edges", "Frame", "Network", "positive"]

ROUND = 0.22
"""Width of the bend of `positive`: its values, steps between quantiles, are 0.01 to 1."""

Edges = tuple[Tensor, Tensor]
"""Edges of columns (n_x, 6, B) and rows (n_y, 6, B) as seen from points on the axis: lower ones, then upper ones."""

_POINTS = 3  # on the axis of the shower, in each layer
_SHARP = (
    2.0  # spread of the first weights of what depends on places; with less, edges of cells are learned slowly
)
_RIDGE = 1e-4  # of the regression of the centres, relative to its data
_TURNS = 3  # of that regression, with far cells weighing less each time


def positive(x: Tensor) -> Tensor:
    """A smooth positive function that costs a square root: about x for large x, `ROUND`^2 / (4 |x|) far below zero."""
    return (x + torch.sqrt(x.square() + ROUND**2)) / 2


class Network(nn.Module):
    """One hidden layer, whose weights are buffers; inputs of each column or row, and of each event.

    Args:
        own: Inputs F of a column.
        common: Inputs C of the event.
        hidden: Hidden units H.
        outputs: Outputs O.
    """

    own: Tensor
    common: Tensor
    bias: Tensor
    weight: Tensor
    offset: Tensor

    def __init__(self, own: int, common: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("own", _SHARP * 0.7 * torch.randn(hidden, own))
        self.register_buffer("common", 0.5 * torch.randn(hidden, common))
        self.register_buffer("bias", torch.randn(hidden))
        self.register_buffer("weight", 0.5 * torch.randn(outputs, hidden) / hidden**0.5)
        self.register_buffer("offset", torch.zeros(outputs, 1))

    def forward(self, own: Tensor | None, common: Tensor) -> Tensor:
        """Map (n, F, B) and (C, B) to (n, O, B); without `own`, to (O, B)."""
        x = torch.matmul(self.common, common) + self.bias[:, None]
        if own is not None:
            x = torch.matmul(self.own, own) + x
        return torch.matmul(self.weight, positive(x)) + self.offset


class Cells(nn.Module):
    """Numbers of the cells of a layer that are linear in products of a function of x and one of y.

    Args:
        common: Inputs C of the event.
        shapes: Number R of products.
        hidden: Hidden units.
        outputs: Numbers P of a cell.
    """

    read: Tensor
    offset: Tensor
    root: Tensor

    def __init__(self, common: int, shapes: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.columns = Network(2 * _POINTS, common, hidden, shapes)
        self.rows = Network(2 * _POINTS, common, hidden, shapes)
        self.register_buffer("read", 0.1 * torch.randn(outputs, shapes))
        self.register_buffer("offset", torch.zeros(outputs, 1))
        self.register_buffer("root", torch.eye(shapes))  # of the sum of squares of the outputs

    def products(self, x: Tensor, y: Tensor, common: Tensor) -> Tensor:
        """Map edges (n_x, 6, B), (n_y, 6, B) and (C, B) to (n_x n_y, R, B)."""
        product = self.columns(x, common)[:, None] * self.rows(y, common)
        flat: Tensor = product.reshape(len(x) * len(y), product.shape[2], -1)
        return flat

    def forward(self, x: Tensor, y: Tensor, common: Tensor) -> Tensor:
        """The numbers (n_x n_y, P, B); arguments as in `products`."""
        return torch.matmul(self.read, self.products(x, y, common)) + self.offset


class Frame(nn.Module):
    """Distances of the edges of a layer's cells from points on the expected axis of the shower.

    Args:
        layer: The layer.
        terms: Number T of terms of the polynomial.
        part: Half of its thickness, relative to the distance of the last layer from the first.

    Attributes:
        unit: Length (mm) that distances are measured in.
        centre: (2, T) coefficients of the expected centre, in that unit.
        points: (3,) places of the points on the axis, from the expected centre on, in units of the tilt.
        stretch: (2, 1) of the distances, before logarithms are taken.
    """

    x: Tensor
    y: Tensor
    unit: Tensor
    centre: Tensor
    points: Tensor
    stretch: Tensor

    def __init__(self, layer: CaloLayer, terms: int, part: float) -> None:
        super().__init__()
        self.moves = layer.coordinates != "polar"
        self.register_buffer("x", torch.tensor(layer.x), persistent=False)
        self.register_buffer("y", torch.tensor(layer.y), persistent=False)
        self.pitch = [(e[-1] - e[0]) / (len(e) - 1) for e in (layer.x, layer.y)]
        self.register_buffer("unit", torch.tensor(min(self.pitch)))
        self.register_buffer("centre", torch.zeros(2, terms))
        self.register_buffer("points", torch.linspace(-part, part, _POINTS))
        self.register_buffer("stretch", torch.ones(2, 1))

    @property
    def fitted(self) -> list[Tensor]:
        """The buffers that are fitted together with the networks."""
        return [self.centre, self.points, self.stretch] if self.moves else []

    def fit(self, cells: Tensor, terms: Tensor, weights: Tensor) -> None:
        """Fit the centre to (N, n) energies of the cells with (T, N) terms, and set the unit."""
        middle = [(edges[1:] + edges[:-1]) / 2 for edges in (self.x, self.y)]
        size = cells.reshape(-1, len(middle[0]), len(middle[1]))
        projected = [size.sum(2), size.sum(1)]
        total = cells.sum(1)
        w = weights.clamp(min=0) * torch.log1p(total / total.mean().clamp(min=TINY))
        gram = (terms * w) @ terms.T
        gram = gram + _RIDGE * gram.diagonal().mean() * torch.eye(len(terms))
        widths = []
        for axis, (place, energy) in enumerate(zip(middle, projected, strict=True)):
            reach = float(place[-1] - place[0]) + self.pitch[axis]
            near = energy
            for _ in range(_TURNS):
                mean = (near @ place) / near.sum(1).clamp(min=TINY)
                self.centre[axis] = torch.linalg.solve(gram, terms @ (w * mean))
                distance = (place - (self.centre[axis] @ terms)[:, None]).abs()
                near = energy / (1 + (distance / (0.25 * reach)) ** 2)
            widths.append(float((energy * distance).sum() / energy.sum().clamp(min=TINY)))
        self.unit.fill_(max(min(widths) / 2, 0.1 * min(self.pitch)))
        self.centre /= self.unit

    def forward(self, terms: Tensor, tilt: Tensor) -> Edges:
        """Edges of the columns (n_x, 6, B) and rows (n_y, 6, B) as seen from points on the axis.

        Args:
            terms: (T, B).
            tilt: (2, B), how far the axis moves from the first layer to the last (mm).
        """
        found = []
        rows = zip(
            (self.x, self.y), *(torch.split(x, 1) for x in (self.centre, tilt, self.stretch)), strict=True
        )
        for edges, row, moved, stretch in rows:
            place = torch.matmul(row, terms) + self.points[:, None] * (moved / self.unit)
            distance = (edges[:, None, None] / self.unit - place) * stretch
            size = distance.abs()
            squashed = torch.log(size + torch.sqrt(size.square() + 1)) * (distance / (size + TINY)) / 2
            found.append(torch.cat([squashed[:-1], squashed[1:]], 1))
        return found[0], found[1]
