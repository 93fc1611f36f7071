"""CaloChallenge's neural classifier: the two-sample test whose values are published for other generators.

A deep network on the cells (`challenge_low_level` of `hepgan.transforms.shower_shapes`) or on shower shapes
(`challenge_high_level`). It sees patterns that gradient boosting on shower shapes cannot see, at a far higher cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hepgan.metrics.classifier import Score
from hepgan.metrics.moments import Measurement, Weighted, checked_pair, mean
from hepgan.metrics.ratio import isotonic_calibration
from hepgan.metrics.roc import area_under_curve

__all__ = ["NetworkRun", "NetworkTest", "network_test", "trained_network"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# as in the challenge's evaluation code (CaloChallenge/homepage, code/evaluate.py)
SPLIT = (
    0.6,
    0.2,
)  # shares of the events that train, and that choose the epoch and calibrate; the rest is judged
LEARNING_RATE = 2e-4  # of Adam
SLOPE = 0.01  # of LeakyReLU below zero

# of `trained_network`: 10 000 showers of 500 cells in either sample take 3 s on one core
QUICK_WIDTH, QUICK_DEPTH = 256, 3  # units of each hidden layer, and hidden layers
QUICK_RATE, QUICK_DECAY = 2e-3, 1e-2  # of AdamW: learning rate at the beginning, and weight decay
QUICK_BATCH = 512  # events of a step
LARGEST_INPUT = 10.0  # standard deviations; rarer inputs are cut

FEWEST_EVENTS = 10  # of either sample: two of them are judged


@dataclass(frozen=True)
class NetworkRun:
    """Outcome of one training.

    Attributes:
        auc: Area under the ROC curve of the judged events after calibration, and the larger of DeLong's uncertainties
            before and after calibration, because a calibration that finds nothing makes all scores equal.
        jsd: Jensen-Shannon divergence in units of ln 2, from the cross entropy of the judged events.
        accuracy: Accuracy on the events that choose the epoch, at the best epoch.
        best_epoch: Number of the best epoch, from 1.
        sample_events: (n1,) indices of the judged events of the sample.
        reference_events: (n2,) indices of the judged events of the reference.
        sample_scores: (n1,) their calibrated probabilities to come from the sample.
        reference_scores: (n2,) the same for the judged events of the reference.
    """

    auc: Measurement
    jsd: Measurement
    accuracy: float
    best_epoch: int
    sample_events: Indices
    reference_events: Indices
    sample_scores: Array
    reference_scores: Array


@dataclass(frozen=True)
class NetworkTest:
    """Outcome of `network_test`.

    Attributes:
        auc: Mean area under the ROC curve, with the uncertainty of one run (see `network_test`).
        jsd: Mean Jensen-Shannon divergence in units of ln 2, with the uncertainty of one run.
        runs: Outcome of each training.
    """

    auc: Measurement
    jsd: Measurement
    runs: tuple[NetworkRun, ...]


def _network(features: int, width: int, depth: int, rng: torch.Generator) -> nn.Sequential:
    """Fully connected layers from (B, F) to (B, 1), with torch's default start values, drawn from `rng`."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise([features, *[width] * depth, 1]):
        # made without values: torch would draw them from its global random numbers
        linear = nn.Linear(n_in, n_out, device="meta").to_empty(device="cpu")
        for parameter in linear.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(n_in), 1 / math.sqrt(n_in), generator=rng)
        layers += [linear, nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


def _parts(n: int, rng: np.random.Generator) -> list[Indices]:
    """Random indices of the events that train, that choose the epoch, and that are judged."""
    order = rng.permutation(n)
    training, choosing = (int(share * n) for share in SPLIT)
    return [order[:training], order[training : training + choosing], order[training + choosing :]]


@torch.no_grad()
def _scores(network: nn.Module, x: Tensor, batch_size: int) -> Array:
    """Probabilities (N,) that events (N, F) come from the sample."""
    logits = torch.cat([network(batch)[:, 0] for batch in torch.split(x, batch_size)])
    scores: Array = torch.sigmoid(logits.double()).cpu().numpy()
    if not np.isfinite(scores).all():
        raise ValueError(
            "network test: expected finite scores, got NaN; the features must be of order one, like those of "
            "challenge_low_level and challenge_high_level: scale them"
        )
    return scores


def _jsd(s1: Array, w1: Array, s2: Array, w2: Array) -> Measurement:
    """(ln 2 - cross entropy) / ln 2, from probabilities s to come from the sample, of sample (1) and reference (2)."""
    of_reference, of_sample = mean(-np.log(1 - s2), w2), mean(-np.log(s1), w1)
    entropy = 0.5 * (of_reference[0] + of_sample[0])
    uncertainty = 0.5 * math.hypot(of_reference[1], of_sample[1])
    return 1 - entropy / math.log(2), uncertainty / math.log(2)


def _run(
    sample: Weighted,
    reference: Weighted,
    *,
    width: int,
    depth: int,
    epochs: int,
    batch_size: int,
    paired: bool,
    device: torch.device,
    rng: np.random.Generator,
    step: Callable[[str], None],
) -> NetworkRun:
    """Split, train, calibrate and judge once (see `network_test`)."""
    (x1, w1), (x2, w2) = sample, reference
    parts2 = _parts(len(x2), rng)  # drawn first
    parts1 = parts2 if paired else _parts(len(x1), rng)
    torch_rng = torch.Generator().manual_seed(int(rng.integers(2**63)))

    def tensors(part: int) -> Tensor:
        """Events (N, F) of a part: those of the reference, then those of the sample."""
        both = np.concatenate([x2[parts2[part]], x1[parts1[part]]], dtype=np.float32, casting="same_kind")
        return torch.from_numpy(both).to(device)

    def both_scores(x: Tensor, part: int) -> tuple[Array, Array, Array, Array]:
        """Scores and weights of the sample, scores and weights of the reference, in a part."""
        scores, split = _scores(network, x, batch_size), len(parts2[part])
        return scores[split:], w1[parts1[part]], scores[:split], w2[parts2[part]]

    x, x_choose = tensors(0), tensors(1)
    sizes = [np.abs(w[parts[0]]) for w, parts in ((w2, parts2), (w1, parts1))]
    balanced = np.concatenate([0.5 * len(x) * size / size.sum() for size in sizes])  # equal sums, mean 1
    weights = torch.from_numpy(balanced.astype(np.float32)).to(device)
    labels = (torch.arange(len(x), device=device) >= len(parts2[0])).float()
    network = _network(x.shape[1], width, depth, torch_rng).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    best, best_epoch, best_state = -math.inf, 0, {}
    for epoch in range(1, epochs + 1):
        for chosen in torch.split(torch.randperm(len(x), generator=torch_rng).to(device), batch_size):
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(x[chosen])[:, 0], labels[chosen], weight=weights[chosen]
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        s1, v1, s2, v2 = both_scores(x_choose, 1)
        accuracy = 0.5 * float(np.average(s2 <= 0.5, weights=v2) + np.average(s1 > 0.5, weights=v1))
        step(f"epoch {epoch} of {epochs}: accuracy {accuracy:.4f}")
        if accuracy > best:
            best, best_epoch = accuracy, epoch
            best_state = {name: value.clone() for name, value in network.state_dict().items()}
        if accuracy == 1:  # no later epoch can be better
            break
    network.load_state_dict(best_state)
    s1, v1, s2, v2 = both_scores(x_choose, 1)
    calibrated = isotonic_calibration(s1, s2, sample_weights=v1, reference_weights=v2, cautious=False)
    s1, v1, s2, v2 = both_scores(tensors(2), 2)
    _, before = area_under_curve(s1, s2, sample_weights=v1, reference_weights=v2)
    s1, s2 = calibrated(s1), calibrated(s2)
    area, after = area_under_curve(s1, s2, sample_weights=v1, reference_weights=v2)
    return NetworkRun(
        auc=(area, max(before, after)),
        jsd=_jsd(s1, v1, s2, v2),
        accuracy=best,
        best_epoch=best_epoch,
        sample_events=parts1[2],
        reference_events=parts2[2],
        sample_scores=s1,
        reference_scores=s2,
    )


def trained_network(
    sample: Weighted,
    reference: Weighted,
    *,
    rng: np.random.Generator,
    epochs: int = 6,
    device: str | torch.device = "cpu",
    step: Callable[[int], object] = int,
) -> Score:
    """Train a dense network to tell two samples apart in seconds, for events of neither to be scored.

    Features are standardised, the learning rate falls to zero along a cosine, and all epochs are run: no event is set
    aside to choose one. `network_test` is slower and finds more.

    Args:
        sample: (N1, F) features and (N1,) weights, whose magnitudes train.
        reference: (N2, F) features and (N2,) weights.
        rng: Draws the start values and the batches.
        epochs: Passes over the events.
        device: Device of the training.
        step: Called with the number of epochs done after each; an error that it raises ends the training.

    Returns:
        Function from features (N, F) to probabilities (N,) to come from the sample.
    """
    (x1, w1), (x2, w2) = sample, reference
    torch_rng = torch.Generator().manual_seed(int(rng.integers(2**63)))
    x = torch.from_numpy(np.concatenate([x2, x1], dtype=np.float32, casting="same_kind")).to(device)
    mean, scale = x.mean(0), x.std(0)
    scale = torch.where(scale > 0, scale, 1.0)

    def standardised(x: Tensor) -> Tensor:
        return ((x - mean) / scale).clamp(-LARGEST_INPUT, LARGEST_INPUT)

    x = standardised(x)
    balanced = np.concatenate([0.5 * len(x) * np.abs(w) / np.abs(w).sum() for w in (w2, w1)])
    weights = torch.from_numpy(balanced.astype(np.float32)).to(device)
    labels = (torch.arange(len(x), device=device) >= len(x2)).float()
    network = _network(x.shape[1], QUICK_WIDTH, QUICK_DEPTH, torch_rng).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=QUICK_RATE, weight_decay=QUICK_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * math.ceil(len(x) / QUICK_BATCH))
    for epoch in range(epochs):
        for chosen in torch.split(torch.randperm(len(x), generator=torch_rng).to(device), QUICK_BATCH):
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(x[chosen])[:, 0], labels[chosen], weight=weights[chosen]
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        step(epoch + 1)

    def score(values: Array) -> Array:
        inputs = torch.from_numpy(values.astype(np.float32)).to(device)
        return _scores(network, standardised(inputs), QUICK_BATCH)

    return score


def _of_one_run(measurements: list[Measurement]) -> Measurement:
    """Mean over runs, with the larger of the mean uncertainty and the scatter of the runs."""
    values, uncertainties = np.array(measurements).T
    scatter = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()), max(float(uncertainties.mean()), scatter)


def network_test(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    width: int = 2048,
    depth: int = 3,
    epochs: int = 50,
    batch_size: int = 1000,
    repetitions: int = 1,
    paired: bool = False,
    device: str | torch.device = "cpu",
    step: Callable[[str], None] = lambda _: None,
) -> NetworkTest:
    r"""CaloChallenge's classifier test: area under the ROC curve of a network trained to tell two samples apart.

    Each sample is split 60:20:20. The first parts train (Adam, cross entropy, both samples with the same total weight).
    The second parts choose the epoch of highest accuracy and calibrate the scores (isotonic regression). The third
    parts are judged: area under the ROC curve, and :math:`(\ln 2 - H) / \ln 2` with the cross entropy H, an estimate of
    the Jensen-Shannon divergence from 0 (same) to 1 (no overlap). The estimate can be slightly negative, and it is
    rather too small than too large, since no network is perfect.

    The defaults are those of the published values. Inputs are not scaled: pass `challenge_low_level` or
    `challenge_high_level` of `hepgan.transforms.shower_shapes`, or other features of order one. Differences from the
    challenge's code: single precision, and samples of different sizes are balanced by weights instead of cut to the
    same size.

    An area of 0.5 can mean that the samples agree or that the network did not learn; with few events the sample looks
    better than it is (compare at equal numbers of events). Compare with published values only on the same data set.

    Cost: 6 operations per parameter and event in training. 505 low-level inputs and the default width are 9.4 million
    parameters: 100 000 events of either sample are 7.5e12 operations per epoch, on one core about 110 s, and 90 minutes
    in all: use a GPU. ``width=256`` (0.26 million parameters) takes 2 to 3 s per epoch on one core and usually finds
    less than the default.

    Args:
        sample: (N1, F) features.
        reference: (N2, F) features.
        rng: Draws the splits (of the reference first), the start values and the batches.
        sample_weights: (N1,), default ones. Magnitudes train; signed weights choose, calibrate and judge.
        reference_weights: (N2,), default ones.
        width: Units of each hidden layer.
        depth: Number of hidden layers.
        epochs: Largest number of passes over the training part; training stops at an accuracy of 1.
        batch_size: Events of a step.
        repetitions: Number of trainings, each with another split (10 in the challenge).
        paired: Row i of both samples belongs together (same condition) and must share a part, as in
            `two_sample_test`.
        device: Device of the training.
        step: Called with a line of text after each epoch.

    Returns:
        Means over the repetitions. The uncertainty is that of one run (statistical, or the scatter between repetitions
        if larger): repetitions share their events, so it does not shrink with their number.

    Raises:
        ValueError: If there are too few events, the numbers of features differ, a number of units, layers or the like
            is not positive, the weights of a part have no positive sum, or the features are so large that nothing is
            learnt.

    References:
        Krause et al. (CaloChallenge), arXiv:2410.21611, section on classifier tests; Krause and Shih,
        arXiv:2106.05285.
    """
    (x1, w1), (x2, w2) = checked_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        what="network test",
    )
    if min(len(x1), len(x2)) < FEWEST_EVENTS:
        raise ValueError(
            f"network test: expected at least {FEWEST_EVENTS} events in either sample, got {len(x1)} and {len(x2)}; "
            "take more events"
        )
    if paired and len(x1) != len(x2):
        raise ValueError(f"network test: paired samples must have equal sizes, got {len(x1)} and {len(x2)}")
    numbers = {
        "width": width,
        "depth": depth,
        "epochs": epochs,
        "batch_size": batch_size,
        "repetitions": repetitions,
    }
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"network test: expected a positive {name}, got {number}; give at least 1")
    runs = tuple(
        _run(
            (x1, w1),
            (x2, w2),
            width=width,
            depth=depth,
            epochs=epochs,
            batch_size=batch_size,
            paired=paired,
            device=torch.device(device),
            rng=rng,
            step=step,
        )
        for _ in range(repetitions)
    )
    return NetworkTest(_of_one_run([r.auc for r in runs]), _of_one_run([r.jsd for r in runs]), runs)
