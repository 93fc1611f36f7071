"""The toy RICH against closed forms, its exact ties and sentinels, and its sWeights."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hepgan.toys import rich
from hepgan.toys.rich import RADIATORS, RICH_SPECIES, SENTINEL, Radiator

RICH1, RICH2 = RADIATORS
MASS = {name: mass for name, (_, mass) in RICH_SPECIES.items()}
PDG = {name: code for name, (code, _) in RICH_SPECIES.items()}
DLLS = ("RichDLLe", "RichDLLk", "RichDLLmu", "RichDLLp", "RichDLLbt")
GEV = 1000.0

Tracks = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def tracks() -> Tracks:
    return rich.rich_tracks(100_000, rng=np.random.default_rng(1))


def some(tracks: Tracks, chosen: NDArray[np.bool_]) -> Tracks:
    return {name: values[chosen] for name, values in tracks.items()}


def separations(momentum: float, radiator: Radiator) -> tuple[float, float, float]:
    """(theta_pi - theta_K) / sigma of one photon, and the photons expected of K and pi."""
    angles = [float(rich.cherenkov_angle(momentum, MASS[h], radiator)) for h in ("pi", "K")]
    counts = [float(rich.expected_photons(momentum, MASS[h], radiator)) for h in ("K", "pi")]
    return (angles[0] - angles[1]) / radiator.resolution, *counts


@pytest.mark.parametrize(
    ("species", "first", "second"),
    [("mu", 2.00, 3.34), ("pi", 2.64, 4.41), ("K", 9.33, 15.61), ("p", 17.73, 29.67)],
)
def test_thresholds(species: str, first: float, second: float) -> None:
    for radiator, expected in ((RICH1, first), (RICH2, second)):
        momentum = rich.threshold(MASS[species], radiator)
        assert momentum == pytest.approx(expected * GEV, abs=6)
        around = momentum * np.array([0.5, 0.9999, 1.0001])
        for quantity in (rich.cherenkov_angle, rich.expected_photons):
            values = quantity(around, MASS[species], radiator)
            assert values[0] == values[1] == 0 < values[2]


@pytest.mark.parametrize(("radiator", "milliradians", "photons"), [(RICH1, 52.9, 25), (RICH2, 31.6, 20)])
def test_saturated_ring(radiator: Radiator, milliradians: float, photons: float) -> None:
    assert radiator.largest_angle == pytest.approx(milliradians * 1e-3, abs=5e-5)
    assert rich.cherenkov_angle(1e9, MASS["pi"], radiator) == pytest.approx(radiator.largest_angle)
    assert rich.expected_photons(1e9, MASS["pi"], radiator) == pytest.approx(photons)


def test_photons_of_the_ring() -> None:
    momentum, n = 12 * GEV, 40_000
    expected = 25 * (1 - (1 + (MASS["K"] / momentum) ** 2) / 1.0014**2) / (1 - 1 / 1.0014**2)
    track, angle = rich.photons(
        np.full(n, momentum),
        np.full(n, MASS["K"]),
        np.full(n, 170, np.int32),
        radiator=replace(RICH1, background=0.0, tracking=0.0),
        rng=np.random.default_rng(2),
    )
    counts = np.bincount(track, minlength=n)
    assert counts.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / n))
    assert counts.var() == pytest.approx(expected, rel=5 * np.sqrt((2 + 1 / expected) / n))
    centre = np.arccos(np.sqrt(1 + (MASS["K"] / momentum) ** 2) / 1.0014)
    assert angle.mean() == pytest.approx(centre, abs=5 * 1.65e-3 / np.sqrt(len(angle)))
    assert angle.std() == pytest.approx(1.65e-3, rel=5 / np.sqrt(2 * len(angle)))


def test_background_is_flat_and_grows_with_the_tracks_of_the_event() -> None:
    n_tracks = np.repeat(np.array([50, 400], np.int32), 5_000)
    below = np.full(len(n_tracks), 3 * GEV)
    track, angle = rich.photons(
        below, np.full(len(n_tracks), MASS["K"]), n_tracks, radiator=RICH2, rng=np.random.default_rng(3)
    )
    counts = np.bincount(track, minlength=len(n_tracks))
    for number in (50, 400):
        expected = number * RICH2.background * RICH2.window
        assert counts[n_tracks == number].mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / 5_000))
    parts = np.histogram(angle, bins=10, range=(0, RICH2.window))[0]
    assert parts.sum() == len(angle)
    assert np.sum((parts - parts.mean()) ** 2 / parts.mean()) < 30  # 9 degrees of freedom


def test_photons_of_a_track_share_the_error_of_its_direction() -> None:
    n, radiator = 5_000, replace(RICH2, background=0.0, photons=100.0, resolution=1e-8)
    for n_tracks in (85, 340):
        track, angle = rich.photons(
            np.full(n, 1e6),
            np.full(n, MASS["pi"]),
            np.full(n, n_tracks, np.int32),
            radiator=radiator,
            rng=np.random.default_rng(4),
        )
        mean = np.bincount(track, weights=angle) / np.bincount(track)
        quartiles = np.quantile(mean - radiator.largest_angle, [0.25, 0.75])
        # the quartiles of Student's t with two degrees of freedom are at sqrt(2/3)
        expected = np.sqrt(2 / 3) * radiator.tracking * n_tracks / rich.MEAN_TRACKS
        assert np.abs(quartiles) == pytest.approx(expected, rel=0.15)
        assert np.abs(angle - mean[track])[np.abs(mean[track]) < 0.1].max() < 1e-7  # none of its own


def test_log_likelihood_of_one_track_by_hand() -> None:
    photons, momentum, n_tracks = np.array([0.0301, 0.0312, 0.0100]), 40 * GEV, 120
    found = rich.log_likelihoods(
        np.zeros(3, np.intp),
        photons.astype(np.float32),
        momentum=np.array([momentum]),
        n_tracks=np.array([n_tracks], np.int32),
        radiator=RICH2,
    )
    for value, mass in zip(found[:, 0], MASS.values(), strict=True):
        angle = np.arccos(np.sqrt(1 + (mass / momentum) ** 2) / 1.0005)
        number = 20 * np.sin(angle) ** 2 / (1 - 1 / 1.0005**2)
        ring = number * np.exp(-((photons - angle) ** 2) / 2 / 0.67e-3**2) / np.sqrt(2 * np.pi) / 0.67e-3
        assert value == pytest.approx(np.log1p(ring / (RICH2.background * n_tracks)).sum() - number, rel=1e-4)


@pytest.mark.parametrize(
    ("momentum", "radiator"), [(20, RICH1), (35, RICH1), (40, RICH2), (60, RICH2), (100, RICH2)]
)
def test_separation_of_kaons_and_pions_is_the_closed_form(momentum: float, radiator: Radiator) -> None:
    """Without background a photon at pull z adds ((z + d)^2 - z^2) / 2 + ln(N_K / N_pi) to DLLk of a kaon.

    Summed over a Poisson number of them: mean and variance of a compound Poisson variable.
    """
    n, clean = 4_000, replace(radiator, background=1e-22, tracking=0.0)
    there: dict[str, Any] = {
        "momentum": np.full(n, momentum * GEV),
        "n_tracks": np.full(n, 170, np.int32),
        "radiator": clean,
    }
    d, kaons, pions = separations(momentum * GEV, clean)
    for number, species, sign in ((kaons, "K", 1), (pions, "pi", -1)):
        found = rich.photons(mass=np.full(n, MASS[species]), rng=np.random.default_rng(5), **there)
        likelihood = dict(zip(RICH_SPECIES, rich.log_likelihoods(*found, **there), strict=True))
        dll = likelihood["K"] - likelihood["pi"]
        photon = sign * d**2 / 2 + np.log(kaons / pions)
        mean, variance = number * photon - kaons + pions, number * (d**2 + photon**2)
        assert dll.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / n))
        assert dll.var() == pytest.approx(variance, rel=0.15)


def test_separation_is_about_nine_sigma_at_50_gev_and_two_at_100() -> None:
    for momentum, expected in ((50, 9.3), (100, 2.3)):
        d, kaons, _ = separations(momentum * GEV, RICH2)
        assert d * np.sqrt(kaons) == pytest.approx(expected, abs=0.3)


def kaon_efficiency(tracks: Tracks, species: str) -> float:
    chosen = (tracks["probe_PDG"] == PDG[species]) & (tracks["hasRich"] == 1)
    return float((tracks["RichDLLk"][chosen] > 0).mean())


def test_identification_is_good_between_the_thresholds_and_saturation(tracks: Tracks) -> None:
    momentum = tracks["Brunel_P"] / GEV
    good = some(tracks, (momentum > 10) & (momentum < 45))
    poor = some(tracks, momentum > 80)
    assert kaon_efficiency(good, "K") > 0.97
    assert kaon_efficiency(good, "pi") < 0.03
    assert 0.6 < kaon_efficiency(poor, "K") < 0.85
    assert 0.15 < kaon_efficiency(poor, "pi") < 0.4


def test_identification_is_worse_in_busy_events(tracks: Tracks) -> None:
    fast = (tracks["Brunel_P"] > 30 * GEV) & (tracks["Brunel_P"] < 100 * GEV)
    quiet, busy = (
        some(tracks, fast & chosen)
        for chosen in (tracks["nTracks_Brunel"] < 120, tracks["nTracks_Brunel"] > 220)
    )
    assert kaon_efficiency(quiet, "K") > kaon_efficiency(busy, "K") + 0.02
    assert kaon_efficiency(quiet, "pi") < kaon_efficiency(busy, "pi") - 0.02


def test_kinematics(tracks: Tracks) -> None:
    momentum, eta, number = (tracks[name] for name in ("Brunel_P", "Brunel_ETA", "nTracks_Brunel"))
    assert momentum.min() >= 2 * GEV
    assert momentum.max() <= 200 * GEV
    assert eta.min() >= 2
    assert eta.max() <= 5
    assert number.dtype == np.int32
    assert number.min() >= 20
    assert number.max() <= 500
    assert number.mean() == pytest.approx(170, abs=3)
    assert np.corrcoef(np.log(momentum), eta)[0, 1] > 0.3
    assert abs(np.corrcoef(momentum, number)[0, 1]) < 5 / np.sqrt(len(number))
    edges = np.array([2, 5, 10, 20, 40, 70, 100, 200]) * GEV
    for name, code in PDG.items():
        counts = np.histogram(momentum[tracks["probe_PDG"] == code], edges)[0]
        density = counts / np.diff(edges)
        assert all(low > high for low, high in pairwise(density[1:])), name
        assert density[0] > 20 * density[-1]
        assert counts.min() > 50, name


def test_species_have_equal_shares_in_random_order() -> None:
    tracks = rich.rich_tracks(1_001, rng=np.random.default_rng(1), species=["K", "p"])
    codes, counts = np.unique(tracks["probe_PDG"], return_counts=True)
    assert dict(zip(codes, counts, strict=True)) == {PDG["K"]: 501, PDG["p"]: 500}
    changes = np.count_nonzero(np.diff(tracks["probe_PDG"]))
    assert changes == pytest.approx(500, abs=80)
    assert np.array_equal(tracks["probe_PDG"], tracks["probe_TRUEID"])
    assert np.all(tracks["probe_sWeight"] == 1)


def test_below_threshold_the_hypotheses_tie_exactly(tracks: Tracks) -> None:
    momentum, seen = tracks["Brunel_P"], tracks["hasRich"] == 1
    kaon, proton, nothing = (tracks[name] for name in ("RichDLLk", "RichDLLp", "RichDLLbt"))
    slow = seen & (momentum < 9.32 * GEV)
    assert np.array_equal(kaon[slow], nothing[slow])
    assert np.array_equal(proton[slow], nothing[slow])
    assert np.unique(kaon[slow]).size > 0.7 * np.count_nonzero(slow)
    slowest = seen & (momentum < 2.63 * GEV)
    for dll in (kaon, proton, nothing):
        assert np.all(dll[slowest] == 0)
        assert not np.any(np.signbit(dll[dll == 0]))
    between = seen & (momentum > 9.4 * GEV) & (momentum < 15 * GEV)  # the kaon radiates in RICH1 alone
    assert 0 < np.mean(kaon[between] == nothing[between]) < 0.7
    assert np.array_equal(proton[between], nothing[between])
    fast = seen & (momentum > 30 * GEV)
    assert not np.any((kaon == nothing)[fast] | (proton == nothing)[fast])


def test_tracks_outside_the_acceptance_have_the_sentinel_everywhere(tracks: Tracks) -> None:
    seen = tracks["hasRich"] == 1
    assert set(tracks["hasRich"]) == {0, 1}
    assert 0.01 < 1 - seen.mean() < 0.06
    for name in DLLS:
        assert tracks[name].dtype == np.float32
        assert np.all(tracks[name][~seen] == SENTINEL)
        assert np.all(np.abs(tracks[name][seen]) < 500)


def test_acceptance_follows_the_direction_and_the_bend() -> None:
    first = rich.rich_tracks(20_000, rng=np.random.default_rng(6), radiators=[RICH1])
    polar = 2 * np.arctan(np.exp(-first["Brunel_ETA"].astype(float)))
    assert np.array_equal(first["hasRich"][polar < 0.2499] == 1, polar[polar < 0.2499] > 0.025)
    wide = (polar > 0.2501) & (polar < 0.3)
    assert 0 < first["hasRich"][wide].mean() < 1
    second = rich.rich_tracks(20_000, rng=np.random.default_rng(6), radiators=[RICH2])
    slow, fast = second["Brunel_P"] < 4 * GEV, second["Brunel_P"] > 20 * GEV
    forward = (second["Brunel_ETA"] > 3.1) & (second["Brunel_ETA"] < 4)
    assert second["hasRich"][forward & fast].mean() > 0.99
    assert second["hasRich"][forward & slow].mean() < 0.4  # bent by 150 mrad and more
    straight = rich.rich_tracks(20_000, rng=np.random.default_rng(6), radiators=[replace(RICH2, kick=0.0)])
    assert straight["hasRich"][forward].all()


def test_seed() -> None:
    first, again, other = (rich.rich_tracks(500, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    for name, values in first.items():
        assert np.array_equal(values, again[name])
    assert not np.array_equal(first["RichDLLk"], other["RichDLLk"])


@pytest.fixture(scope="module")
def mixture() -> Tracks:
    return rich.rich_tracks(60_000, rng=np.random.default_rng(8), species=["K"], background=0.4)


def test_sweights_count_the_signal(mixture: Tracks) -> None:
    weights = mixture["probe_sWeight"].astype(float)
    other = mixture["probe_TRUEID"] != PDG["K"]  # 15 % of the background are kaons, too
    assert np.all(mixture["probe_PDG"] == PDG["K"])
    assert other.mean() == pytest.approx(0.4 * 0.85, abs=0.01)
    assert weights.min() < 0 < 1 < weights.max() < 2
    assert weights.sum() == pytest.approx(0.6 * len(weights), abs=5 * np.sqrt(np.square(weights).sum()))
    assert weights[other].sum() == pytest.approx(0, abs=5 * np.sqrt(np.square(weights[other]).sum()))


@pytest.mark.parametrize(("branch", "edges"), [("RichDLLk", (-20, 60)), ("Brunel_P", (2 * GEV, 60 * GEV))])
def test_sweights_give_the_distribution_of_the_signal(
    branch: str, edges: tuple[float, float], mixture: Tracks
) -> None:
    bins = np.linspace(*edges, 21)
    pure = rich.rich_tracks(60_000, rng=np.random.default_rng(9), species=["K"])
    expected = np.histogram(pure[branch], bins)[0]

    def chi_square(weights: NDArray[Any]) -> float:
        total = len(pure[branch]) / weights.sum()
        sums = np.histogram(mixture[branch], bins, weights=weights)[0] * total
        variance = np.histogram(mixture[branch], bins, weights=weights**2)[0] * total**2
        filled = expected > 20
        return float((((sums - expected) ** 2) / (variance + expected))[filled].mean())

    assert chi_square(mixture["probe_sWeight"].astype(float)) < 2
    assert chi_square(np.ones(len(mixture[branch]))) > 20


def test_unknown_species() -> None:
    with pytest.raises(ValueError, match=r"species 'k': the toy has none of this name; there is 'e', 'mu'"):
        rich.rich_tracks(10, rng=np.random.default_rng(1), species=["pi", "k"])
    with pytest.raises(ValueError, match=r"species: expected at least one of \['e', .*\], got none"):
        rich.rich_tracks(10, rng=np.random.default_rng(1), species=[])


@pytest.mark.parametrize("background", [-0.1, 1.0, float("nan")])
def test_impossible_background(background: float) -> None:
    with pytest.raises(ValueError, match=r"background: expected a fraction in \[0, 1\), got"):
        rich.rich_tracks(10, rng=np.random.default_rng(1), background=background)
