r"""Conditional normalising flow of tracks: an invertible network with a known density; ``model.name = "flow"``.

Each coupling keeps one half of the targets and transforms the other half with a monotone function, whose parameters a
dense network computes from the kept half and the context: :math:`z \mapsto e^{s} z + t` (RealNVP, arXiv:1605.08803) or
a rational-quadratic spline (neural spline flow, arXiv:1906.04032). The package zuko provides the networks and computes
densities. The direction from latent numbers to targets is implemented here with the same parameters, because the
exported graph may only use operators of the ONNX contract: comparisons with all knots find the piece of a spline.

A flow is trained by maximum likelihood, as the generator of a game (arXiv:1705.05263), or both (objective
``alpha-gan``; arXiv:1705.08868).
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from hepgan.config import DataConfig, FlowModelConfig
from hepgan.data.draws import normal
from hepgan.data.tensors import TensorEvents
from hepgan.errors import ConfigError
from hepgan.models.tracks import ObservablesGenerator

__all__ = ["CouplingFlow", "FlowGenerator"]

_BOUND = 5.0  # splines are the identity outside -5 to 5 (default of zuko)
_LOG_SLOPE = math.log(1e-3)  # log of the smallest slope of a spline (default of zuko)


def _zuko() -> ModuleType:
    """Import the optional package zuko.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import zuko
    except ImportError as error:
        raise ConfigError(
            "model.name: expected the package zuko for 'flow', which is not installed; pip install 'hepgan[flows]'"
        ) from error
    package: ModuleType = zuko
    return package


def _limited(x: Tensor, limit: float) -> Tensor:
    """Limit parameters of any shape smoothly to +- `limit`, as zuko does: x / (1 + abs(x / limit))."""
    return x / (1 + (x / limit).abs())


def _affine(y: Tensor, parameters: Tensor) -> Tensor:
    r"""Invert :math:`y = e^s x + t`.

    Args:
        y: (B, D).
        parameters: (B, D, 2), t and s before `_limited`.

    Returns:
        x (B, D).
    """
    return (y - parameters[..., 0]) * torch.exp(-_limited(parameters[..., 1], _LOG_SLOPE))


def _spline(y: Tensor, parameters: Tensor) -> Tensor:
    """Invert a monotone rational-quadratic spline of K pieces, the identity outside -5 to 5.

    Args:
        y: (B, D).
        parameters: (B, D, 3 K - 1): K widths, K heights and K - 1 slopes at the inner knots, before normalisation.

    Returns:
        x (B, D) with y = spline(x).

    References:
        Durkan et al., arXiv:1906.04032, equations 6 to 8.
    """
    k = (int(parameters.shape[-1]) + 1) // 3
    widths, heights, slopes = torch.split(parameters, [k, k, k - 1], -1)
    widths, heights = (torch.softmax(_limited(p, _LOG_SLOPE / 2), -1) for p in (widths, heights))
    # knots as (pieces before - pieces after): rounding is smallest near the middle, where most events are
    sides = 2 * torch.ones(k, k, device=y.device, dtype=y.dtype).triu(1) - 1
    left, bottom = (_BOUND * (sizes @ sides) for sizes in (widths, heights))
    slope = torch.exp(pad(_limited(slopes, _LOG_SLOPE), (1, 1)))
    inner = y.clamp(-_BOUND, _BOUND)
    above = (bottom <= inner[..., None]).to(y)
    inside = above - pad(above[..., 1:], (0, 1))  # one for the piece that contains y, else zero

    def of_piece(table: Tensor) -> Tensor:
        """Value (B, D) of a (B, D, K) table in the piece of y."""
        return (inside * table).sum(-1)

    x, w, h, d, e = (
        of_piece(t)
        for t in (left, 2 * _BOUND * widths, 2 * _BOUND * heights, slope[..., :-1], slope[..., 1:])
    )
    rise, s = ((inner - of_piece(bottom)) / h).clamp(0, 1), h / w
    # positive root of the quadratic equation of y = spline(x), without differences of almost equal numbers
    q = d * (1 - rise) - e * rise
    p = 4 * s**2 * rise * (1 - rise)
    far = q.abs() + (q**2 + p).sqrt()  # never zero, because slopes and sizes of pieces have a minimum
    place = 2 * s * rise
    place = place / (place + torch.where(q >= 0, far, p / far))
    return torch.where(inner == y, x + place * w, y)


class CouplingFlow(nn.Module):
    """Map latent numbers to normal numbers invertibly, given the context.

    Args:
        targets: Number V of targets, and of latent numbers.
        n_context: Number of context features.
        model: Kind and number of couplings, sizes of their networks.

    Raises:
        ConfigError: If zuko is not installed.
    """

    def __init__(self, targets: int, n_context: int, model: FlowModelConfig) -> None:
        super().__init__()
        flows = _zuko().flows
        spline = model.coupling == "spline"
        self.undo = _spline if spline else _affine
        k = model.bins
        form = {"univariate": _zuko().transforms.MonotonicRQSTransform, "shapes": [(k,), (k,), (k - 1,)]}
        self.flow = flows.RealNVP(
            targets,
            n_context,
            transforms=model.transforms,
            hidden_features=[model.width] * (1 + model.depth),
            **(form if spline else {}),
        )
        self.targets = targets

    def log_density(self, z: Tensor, context: Tensor) -> Tensor:
        """Log density (B,) of (B, V) normal numbers in (B, n_context) contexts."""
        density: Tensor = self.flow(context).log_prob(z)
        return density

    def to_latent(self, z: Tensor, context: Tensor) -> Tensor:
        """Map (B, V) normal numbers in (B, n_context) contexts to (B, V) latent numbers, with zuko."""
        latent: Tensor = self.flow(context).transform(z)
        return latent

    def forward(self, latent: Tensor, context: Tensor) -> Tensor:
        """Map (B, V) latent numbers in (B, n_context) contexts to (B, V) normal ones: the inverse of `to_latent`."""
        z = latent
        for coupling in reversed(self.flow.transform.transforms):
            # a single target is always transformed
            mask = coupling.mask.tolist() if self.targets > 1 else [False]
            kept = [v for v, keep in enumerate(mask) if keep]
            moved = [v for v, keep in enumerate(mask) if not keep]
            inputs = torch.cat([z[:, kept], context], 1) if kept else context
            parameters = coupling.hyper(inputs).reshape(-1, len(moved), coupling.total)
            both = torch.cat([z[:, kept], self.undo(z[:, moved], parameters)], 1)
            order = kept + moved
            z = both[:, [order.index(v) for v in range(self.targets)]]
        return z


class FlowGenerator(ObservablesGenerator):
    """Generate the continuous targets of tracks with a normalising flow, from one latent number per target.

    Args:
        data: Conditions and targets.
        model: Kind and number of couplings, sizes of their networks.

    Raises:
        ConfigError: If zuko is not installed.
    """

    model: FlowModelConfig

    def __init__(self, data: DataConfig, model: FlowModelConfig) -> None:
        super().__init__(data, model, noise=len(data.targets))

    def _make(self) -> None:
        self.network = CouplingFlow(self.n_targets, self.n_context, self.model)

    def normal(self, context: Tensor, latent: Tensor) -> Tensor:
        """Generate normal numbers (B, V); arguments as in `ObservablesGenerator.normal`."""
        z: Tensor = self.network(latent[:, : self.n_noise], context)
        return z

    def log_density(self, events: TensorEvents, *, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Log density of the free targets of each event, as normal numbers.

        Targets that the pattern fixes are replaced by standard normal numbers, and the log density of these is
        subtracted. The mean over draws is a lower bound, which is exact once the flow leaves such targets unchanged.

        Args:
            events: B events.
            rng: Source of the replacements.

        Returns:
            Log densities (B,), and numbers of free targets (B,).
        """
        context, z, free = self.representation(events)
        noise = normal(*z.shape, rng=rng)
        drawn = ((1 - free) * 0.5 * (noise**2 + math.log(2 * math.pi))).sum(1)
        return self.network.log_density(free * z + (1 - free) * noise, context) + drawn, free.sum(1)

    def loss(self, events: TensorEvents, *, rng: torch.Generator) -> Tensor:
        """Loss (B,) of each event: minus its log density; arguments as in `log_density`."""
        return -self.log_density(events, rng=rng)[0]
