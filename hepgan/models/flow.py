r"""Conditional normalising flow of observables: an invertible network, whose density is known.

Each coupling keeps one half of the targets and moves the other half by a monotone function whose parameters a dense
network reads off the kept half and the conditions: :math:`z \mapsto e^{s} z + t` (RealNVP, arXiv:1605.08803), or a
rational-quadratic spline (neural spline flow, arXiv:1906.04032). zuko holds the networks and computes densities; the
way from latent numbers to targets is written out here, from the same parameters, in the operators of the ONNX
contract: the piece of a spline is found by comparisons with all its knots.

It is trained by maximum likelihood, or as the generator of a game (arXiv:1705.05263), or both (objective ``alpha-gan``;
arXiv:1705.08868).
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from hepgan.config import DataConfig, FlowModelConfig
from hepgan.data.tensors import TensorEvents
from hepgan.models.tracks import ObservablesGenerator

__all__ = ["CouplingFlow", "FlowGenerator"]

_BOUND = 5.0  # a spline is the identity beyond, zuko's default
_LOG_SLOPE = math.log(1e-3)  # smallest slope, zuko's default


def _zuko() -> ModuleType:
    """The package.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import zuko
    except ImportError as error:
        raise ValueError(
            "model.name: expected the package zuko for 'flow', which is not installed; pip install 'hepgan[flows]'"
        ) from error
    package: ModuleType = zuko
    return package


def _limited(x: Tensor, limit: float) -> Tensor:
    """x, bent to stay within the limit, as zuko bends its parameters."""
    return x / (1 + (x / limit).abs())


def _affine(y: Tensor, parameters: Tensor) -> Tensor:
    """Undo exp(s) x + t: (B, D) numbers, (B, D, 2) parameters t and s."""
    return (y - parameters[..., 0]) * torch.exp(-_limited(parameters[..., 1], _LOG_SLOPE))


def _spline(y: Tensor, parameters: Tensor) -> Tensor:
    """Undo a rational-quadratic spline of K pieces: (B, D) numbers, (B, D, 3 K - 1) widths, heights and slopes.

    References:
        Durkan et al., arXiv:1906.04032, equations 6 to 8.
    """
    k = (int(parameters.shape[-1]) + 1) // 3
    widths, heights, slopes = torch.split(parameters, [k, k, k - 1], -1)
    widths, heights = (torch.softmax(_limited(p, _LOG_SLOPE / 2), -1) for p in (widths, heights))
    # pieces before less those after: near the middle, where most events are, little is lost by rounding
    sides = 2 * torch.ones(k, k, device=y.device, dtype=y.dtype).triu(1) - 1
    left, bottom = (_BOUND * (sizes @ sides) for sizes in (widths, heights))
    slope = torch.exp(pad(_limited(slopes, _LOG_SLOPE), (1, 1)))
    inner = y.clamp(-_BOUND, _BOUND)
    above = (bottom <= inner[..., None]).to(y)
    inside = above - pad(above[..., 1:], (0, 1))  # one where the piece is that of y

    def of_piece(table: Tensor) -> Tensor:
        return (inside * table).sum(-1)

    x, w, h, d, e = (
        of_piece(t)
        for t in (left, 2 * _BOUND * widths, 2 * _BOUND * heights, slope[..., :-1], slope[..., 1:])
    )
    rise, s = ((inner - of_piece(bottom)) / h).clamp(0, 1), h / w
    # the positive root of the quadratic equation, without differences of like numbers
    q = d * (1 - rise) - e * rise
    p = 4 * s**2 * rise * (1 - rise)
    far = q.abs() + (q**2 + p).sqrt()  # never zero: slopes and pieces have smallest sizes
    place = 2 * s * rise
    place = place / (place + torch.where(q >= 0, far, p / far))
    return torch.where(inner == y, x + place * w, y)


class CouplingFlow(nn.Module):
    """Couplings between normal numbers with a density, and latent numbers.

    Args:
        targets: Number V.
        n_label: Numbers that describe condition and pattern.
        model: Sizes.

    Raises:
        ValueError: If zuko is not installed.
    """

    def __init__(self, targets: int, n_label: int, model: FlowModelConfig) -> None:
        super().__init__()
        flows = _zuko().flows
        spline = model.coupling == "spline"
        self.undo = _spline if spline else _affine
        k = model.bins
        form = {"univariate": _zuko().transforms.MonotonicRQSTransform, "shapes": [(k,), (k,), (k - 1,)]}
        self.flow = flows.RealNVP(
            targets,
            n_label,
            transforms=model.transforms,
            hidden_features=[model.width] * (1 + model.depth),
            **(form if spline else {}),
        )
        self.targets = targets

    def log_density(self, z: Tensor, label: Tensor) -> Tensor:
        """Logarithm (B,) of the density at (B, V) normal numbers under (B, n_label)."""
        density: Tensor = self.flow(label).log_prob(z)
        return density

    def to_latent(self, z: Tensor, label: Tensor) -> Tensor:
        """Map (B, V) normal numbers under (B, n_label) to latent numbers, zuko's way."""
        latent: Tensor = self.flow(label).transform(z)
        return latent

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        """Map (B, V) latent numbers under (B, n_label) to normal numbers: undoes `to_latent`."""
        z = latent
        for coupling in reversed(self.flow.transform.transforms):
            # a single target leaves nothing to keep
            mask = coupling.mask.tolist() if self.targets > 1 else [False]
            kept = [v for v, keep in enumerate(mask) if keep]
            moved = [v for v, keep in enumerate(mask) if not keep]
            seen = torch.cat([z[:, kept], label], 1) if kept else label
            parameters = coupling.hyper(seen).reshape(-1, len(moved), coupling.total)
            both = torch.cat([z[:, kept], self.undo(z[:, moved], parameters)], 1)
            order = kept + moved
            z = both[:, [order.index(v) for v in range(self.targets)]]
        return z


class FlowGenerator(ObservablesGenerator):
    """Flow from latent numbers, one for each target.

    Args:
        data: Conditions and targets.
        model: Sizes.

    Raises:
        ValueError: If zuko is not installed.
    """

    model: FlowModelConfig

    def __init__(self, data: DataConfig, model: FlowModelConfig) -> None:
        super().__init__(data, model, noise=len(data.targets))

    def _make(self) -> None:
        self.network = CouplingFlow(self.n_targets, self.n_label, self.model)

    def normal(self, label: Tensor, latent: Tensor) -> Tensor:
        """Continuous targets as normal numbers (B, V), from (B, n_label) and (B, >= n_noise)."""
        z: Tensor = self.network(latent[:, : self.n_noise], label)
        return z

    def log_density(self, events: TensorEvents, *, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Log density (B,) of each event's free targets as normal numbers, and how many (B,) there are.

        Numbers that the pattern leaves no freedom are drawn, and the logarithm of the density that they are drawn from
        is taken off: the mean over draws is a lower bound, and exact once the flow has learnt to leave them alone.

        Args:
            events: B events.
            rng: Draws these numbers.
        """
        label, z, free = self.seen(events)
        noise = torch.randn(z.shape, generator=rng, device=z.device)
        drawn = ((1 - free) * 0.5 * (noise**2 + math.log(2 * math.pi))).sum(1)
        return self.network.log_density(free * z + (1 - free) * noise, label) + drawn, free.sum(1)

    def loss(self, events: TensorEvents, *, rng: torch.Generator) -> Tensor:
        """Minus the log density of each of B events; arguments as in `log_density`."""
        return -self.log_density(events, rng=rng)[0]
