"""A frame that moves with the shower, and numbers of cells that are smooth in it; see `conditional_start`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.geometry import CaloLayer
from hepgan.transforms.quantiles import TINY

__all__ = ["Cells", "Frame", "Network", "positive"]

_RIDGE = 1e-4  # of the regression of the centres, relative to its data
_TURNS = 3  # of that regression, with far cells weighing less each time


def positive(x: Tensor) -> Tensor:
    """A smooth positive function that costs a square root: about x for large x, 0.5 at zero, 1 / (4 |x|) far below."""
    return (x + torch.sqrt(x.square() + 1)) / 2


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
        self.register_buffer("own", 0.7 * torch.randn(hidden, own))
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
        layer: The layer.
        common: Inputs C of the event.
        shapes: Number R of products.
        hidden: Hidden units.
        outputs: Numbers P of a cell.
    """

    read: Tensor
    offset: Tensor
    root: Tensor

    def __init__(self, layer: CaloLayer, common: int, shapes: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.cells = layer.n_cells
        self.columns = Network(2, common, hidden, shapes)
        self.rows = Network(2, common, hidden, shapes)
        self.register_buffer("read", 0.1 * torch.randn(outputs, shapes))
        self.register_buffer("offset", torch.zeros(outputs, 1))
        self.register_buffer("root", torch.eye(shapes))  # of the sum of squares of the outputs

    def products(self, x: Tensor, y: Tensor, common: Tensor) -> Tensor:
        """Map edges (n_x, 2, B), (n_y, 2, B) and (C, B) to (n_cells, R, B)."""
        product = self.columns(x, common)[:, None] * self.rows(y, common)
        flat: Tensor = product.reshape(self.cells, product.shape[2], -1)
        return flat

    def forward(self, x: Tensor, y: Tensor, common: Tensor) -> Tensor:
        """The numbers (n_cells, P, B); arguments as in `products`."""
        return torch.matmul(self.read, self.products(x, y, common)) + self.offset


class Frame(nn.Module):
    """Distances of the edges of a layer's cells from the expected centre of the shower.

    Args:
        layer: The layer.
        terms: Number T of terms of the polynomial.
    """

    x: Tensor
    y: Tensor
    centre: Tensor
    width: Tensor

    def __init__(self, layer: CaloLayer, terms: int) -> None:
        super().__init__()
        self.moves = layer.coordinates != "polar"
        pitch = torch.tensor([(e[-1] - e[0]) / (len(e) - 1) for e in (layer.x, layer.y)])
        self.register_buffer("x", torch.tensor(layer.x), persistent=False)
        self.register_buffer("y", torch.tensor(layer.y), persistent=False)
        self.register_buffer("centre", torch.zeros(2, terms))
        self.register_buffer("width", pitch)

    def fit(self, cells: Tensor, terms: Tensor, weights: Tensor) -> float:
        """Fit the centre to (N, n) energies of the cells with (T, N) terms; returns the size of the shower."""
        middle = [(edges[1:] + edges[:-1]) / 2 for edges in (self.x, self.y)]
        size = cells.reshape(-1, len(middle[0]), len(middle[1]))
        projected = [size.sum(2), size.sum(1)]
        total = cells.sum(1)
        w = weights.clamp(min=0) * torch.log1p(total / total.mean().clamp(min=TINY))
        gram = (terms * w) @ terms.T
        gram = gram + _RIDGE * gram.diagonal().mean() * torch.eye(len(terms))
        widths = []
        for axis, (place, energy) in enumerate(zip(middle, projected, strict=True)):
            reach = float(place[-1] - place[0]) + float(self.width[axis])
            near = energy
            for _ in range(_TURNS):
                mean = (near @ place) / near.sum(1).clamp(min=TINY)
                self.centre[axis] = torch.linalg.solve(gram, terms @ (w * mean))
                distance = (place - (self.centre[axis] @ terms)[:, None]).abs()
                widths.append(float((energy * distance).sum() / energy.sum().clamp(min=TINY)))
                near = energy / (1 + (distance / (0.25 * reach)) ** 2)
        # along an axis of large cells all energy seems to lie in the middle of one
        return max(widths[_TURNS - 1], widths[-1])

    def forward(self, terms: Tensor) -> tuple[Tensor, Tensor]:
        """Edges of the columns (n_x, 2, B) and rows (n_y, 2, B) as seen from the shower, from (T, B) terms."""
        found = []
        for edges, row, width in zip((self.x, self.y), torch.split(self.centre, 1), self.width, strict=True):
            distance = (edges[:, None] - torch.matmul(row, terms)) / width
            size = distance.abs()
            squashed = torch.log(size + torch.sqrt(size.square() + 1)) * (distance / (size + TINY)) / 2
            found.append(torch.stack([squashed[:-1], squashed[1:]], 1))
        return found[0], found[1]
