"""Published numbers of other generators for the same calorimeters.

A published number stands beside ours only if the cells are the same: `peers` recognises the geometry by its
segmentation, not by its name. Even then it was measured with other showers and another classifier; `CAVEAT` says so,
and is printed wherever the numbers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hepgan.evaluation.verdict import Published
from hepgan.geometry import CALOGAN, CaloLayer, Calorimeter

__all__ = ["CAVEAT", "Metric", "Peer", "geometry", "peers"]

Metric = Literal["auc_low", "auc_high", "fpd"]

CAVEAT = (
    "Published numbers come from the authors' own showers and their own classifiers: deep networks on single cells "
    "(low level) or on features of the shower (high level). The area of gradient boosting on this page is another "
    "test: compare it only roughly. The fair comparison is the same network on the same features (evaluation.networks)."
)
"""Warning for the reader, printed beside the numbers."""

_CALOGAN = "arXiv:1705.02355"
_CALOFLOW = "arXiv:2106.05285"
_CHALLENGE = "arXiv:2410.21611"
_ITSELF = "Geant4 against itself"

_SAME = 1e-3  # relative to the size of the layer: edges that differ less are the same


@dataclass(frozen=True)
class Peer:
    """A published number.

    Attributes:
        geometry: Key of the calorimeter, see `geometry`.
        metric: ``auc_low`` and ``auc_high`` (area under the ROC curve of a network that sees cells, or features) or
            ``fpd`` (Frechet physics distance, arXiv:2211.10295).
        model: Name of the generator, and its particle where the geometry does not tell.
        value: The number.
        uncertainty: As published, if it is known here.
        reference: Publication.
        remark: Restrictions of the number.
    """

    geometry: str
    metric: Metric
    model: str
    value: float
    uncertainty: float | None
    reference: str
    remark: str = ""

    def record(self) -> Published:
        """The number as it stands beside a row of the verdict."""
        return Published(
            model=self.model,
            value=self.value,
            uncertainty=self.uncertainty,
            reference=self.reference,
            remark=self.remark,
        )


def _challenge(key: str, rows: Sequence[tuple[str, float, float, float | None]]) -> list[Peer]:
    """Make the numbers of arXiv:2410.21611 from rows of model, low-level AUC, high-level AUC and FPD in 1e-3."""
    result = []
    for model, low, high, distance in rows:
        result.append(Peer(key, "auc_low", model, low, None, _CHALLENGE))
        result.append(Peer(key, "auc_high", model, high, None, _CHALLENGE))
        if distance is not None:
            result.append(Peer(key, "fpd", model, 1e-3 * distance, None, _CHALLENGE))
    return result


_ROUGH = "approximate"
PEERS: tuple[Peer, ...] = (
    Peer("calogan", "auc_low", "CaloFlow, π⁺", 0.64, None, _CALOFLOW, f"{_ROUGH}: 0.63 to 0.65"),
    Peer("calogan", "auc_low", "CaloFlow, γ", 0.71, None, _CALOFLOW, f"{_ROUGH}: 0.66 to 0.76"),
    Peer("calogan", "auc_low", "CaloFlow, e⁺", 0.85, None, _CALOFLOW, _ROUGH),
    Peer(
        "calogan",
        "auc_low",
        "CaloGAN",
        1.0,
        None,
        f"{_CALOGAN}, {_CALOFLOW}",
        f"{_ROUGH}: told from Geant4 with nearly 100 % accuracy",
    ),
    *_challenge(
        "calochallenge-photons",
        [
            ("CaloDiffusion", 0.635, 0.536, 0.65),
            ("CaloINN", 0.626, 0.638, 3.9),
            ("CaloScore", 0.752, 0.552, 0.44),
            ("CaloFlow, student", 0.761, 0.667, 3.15),
            ("BoloGAN", 0.927, 0.966, 142.0),
            ("CaloShower3GAN", 0.928, 0.947, 20.5),
            (_ITSELF, 0.499, 0.500, 0.12),
        ],
    ),
    *_challenge(
        "calochallenge-pions",
        [
            ("DNN CaloSim", 0.676, 0.819, None),
            ("CaloShowerGAN", 0.889, 0.922, 113.0),
            (_ITSELF, 0.609, 0.558, None),
        ],
    ),
)
"""All published numbers."""

Edges = tuple[float, ...]
_POLAR: dict[str, tuple[tuple[int, Edges], ...]] = {
    "calochallenge-photons": (
        (1, (0, 5, 10, 30, 50, 100, 200, 400, 600)),
        (10, (0, 2, 4, 6, 8, 10, 12, 15, 20, 30, 40, 50, 70, 90, 120, 150, 200)),
        (10, (0, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 130, 160, 200, 250, 300, 350, 400)),
        (1, (0, 50, 100, 200, 400, 600)),
        (1, (0, 100, 200, 400, 1000, 2000)),
    ),
    "calochallenge-pions": (
        (1, (0, 5, 10, 30, 50, 100, 200, 400, 600)),
        (10, (0, 1, 4, 7, 10, 15, 30, 50, 90, 150, 200)),
        (10, (0, 5, 10, 20, 30, 50, 80, 130, 200, 300, 400)),
        (1, (0, 50, 100, 200, 400, 600)),
        (10, (0, 10, 20, 30, 50, 80, 100, 130, 160, 200, 250, 300, 350, 400, 1000, 2000)),
        (10, (0, 10, 20, 30, 50, 80, 100, 130, 160, 200, 250, 300, 350, 400, 600, 1000, 2000)),
        (1, (0, 50, 100, 150, 200, 250, 300, 400, 600, 1000, 2000)),
    ),
}
"""Bins in alpha and edges in r (mm) of the layers with cells, data set 1 of the CaloChallenge."""


def _close(edges: Edges, expected: Sequence[float]) -> bool:
    size = expected[-1] - expected[0]
    return len(edges) == len(expected) and np.allclose(edges, expected, rtol=0, atol=_SAME * size)


def _is_calogan(layers: Sequence[CaloLayer]) -> bool:
    return len(layers) == CALOGAN.n_layers and all(
        layer.coordinates == known.coordinates
        and _close(layer.x, known.x)
        and _close(layer.y, known.y)
        and abs(np.ptp(layer.z) - np.ptp(known.z)) < _SAME * np.ptp(known.z)
        for layer, known in zip(layers, CALOGAN.layers, strict=True)
    )


def _is_polar(layers: Sequence[CaloLayer], expected: Sequence[tuple[int, Edges]]) -> bool:
    return len(layers) == len(expected) and all(
        layer.coordinates == "polar" and layer.shape[0] == bins and _close(layer.y, radii)
        for layer, (bins, radii) in zip(layers, expected, strict=True)
    )


def geometry(calorimeter: Calorimeter) -> str | None:
    """Key of a calorimeter that others have published numbers for.

    Args:
        calorimeter: Any; names of layers and their position along the shower axis do not count.

    Returns:
        ``calogan`` (three layers of 504 cells), ``calochallenge-photons`` (data set 1, 368 cells) or
        ``calochallenge-pions`` (533 cells); None for every other calorimeter.

    References:
        arXiv:1705.02355, section 2; arXiv:2410.21611, section 2.
    """
    if _is_calogan(calorimeter.layers):
        return "calogan"
    for key, expected in _POLAR.items():
        if _is_polar(calorimeter.layers, expected):
            return key
    return None


def peers(calorimeter: Calorimeter | None, *, metric: Metric | None = None) -> list[Peer]:
    """Published numbers for a calorimeter, best generator first, Geant4 against itself last.

    Args:
        calorimeter: Our geometry; None if there is none.
        metric: Only this metric; default: all.

    Returns:
        The numbers; empty if nobody has published for this geometry.
    """
    key = geometry(calorimeter) if calorimeter is not None else None
    known = [peer for peer in PEERS if peer.geometry == key and metric in (None, peer.metric)]
    return sorted(known, key=lambda peer: (peer.metric, peer.model == _ITSELF, peer.value))
