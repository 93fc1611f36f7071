"""The toy RICH against closed forms, its exact ties and sentinels, its sWeights, and the files of toys."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import signal
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from numpy.typing import NDArray
from scipy import stats
from typer.testing import CliRunner

from hepgan import toys
from hepgan.cli import app
from hepgan.toys.rich import RADIATORS, RICH_SPECIES, SENTINEL, Radiator

RICH1, RICH2 = RADIATORS
MASS = {name: mass for name, (_, mass) in RICH_SPECIES.items()}
PDG = {name: code for name, (code, _) in RICH_SPECIES.items()}
DLLS = ("RichDLLe", "RichDLLk", "RichDLLmu", "RichDLLp", "RichDLLbt")
GEV = 1000.0

Tracks = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def tracks() -> Tracks:
    return toys.rich_tracks(100_000, rng=np.random.default_rng(1))


def some(tracks: Tracks, chosen: NDArray[np.bool_]) -> Tracks:
    return {name: values[chosen] for name, values in tracks.items()}


def separations(momentum: float, radiator: Radiator) -> tuple[float, float, float]:
    """(theta_pi - theta_K) / sigma of one photon, and the photons expected of K and pi."""
    angles = [float(toys.cherenkov_angle(momentum, MASS[h], radiator)) for h in ("pi", "K")]
    counts = [float(toys.expected_photons(momentum, MASS[h], radiator)) for h in ("K", "pi")]
    return (angles[0] - angles[1]) / radiator.resolution, *counts


@pytest.mark.parametrize(
    ("species", "first", "second"),
    [("mu", 2.00, 3.34), ("pi", 2.64, 4.41), ("K", 9.33, 15.61), ("p", 17.73, 29.67)],
)
def test_thresholds(species: str, first: float, second: float) -> None:
    for radiator, expected in ((RICH1, first), (RICH2, second)):
        momentum = toys.threshold(MASS[species], radiator)
        assert momentum == pytest.approx(expected * GEV, abs=6)
        around = momentum * np.array([0.5, 0.9999, 1.0001])
        for quantity in (toys.cherenkov_angle, toys.expected_photons):
            values = quantity(around, MASS[species], radiator)
            assert values[0] == values[1] == 0 < values[2]


@pytest.mark.parametrize(("radiator", "milliradians", "photons"), [(RICH1, 52.9, 25), (RICH2, 31.6, 20)])
def test_saturated_ring(radiator: Radiator, milliradians: float, photons: float) -> None:
    assert radiator.largest_angle == pytest.approx(milliradians * 1e-3, abs=5e-5)
    assert toys.cherenkov_angle(1e9, MASS["pi"], radiator) == pytest.approx(radiator.largest_angle)
    assert toys.expected_photons(1e9, MASS["pi"], radiator) == pytest.approx(photons)


def test_photons_of_the_ring() -> None:
    momentum, n = 12 * GEV, 40_000
    expected = 25 * (1 - (1 + (MASS["K"] / momentum) ** 2) / 1.0014**2) / (1 - 1 / 1.0014**2)
    track, angle = toys.photons(
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
    track, angle = toys.photons(
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
        track, angle = toys.photons(
            np.full(n, 1e6),
            np.full(n, MASS["pi"]),
            np.full(n, n_tracks, np.int32),
            radiator=radiator,
            rng=np.random.default_rng(4),
        )
        mean = np.bincount(track, weights=angle) / np.bincount(track)
        quartiles = np.quantile(mean - radiator.largest_angle, [0.25, 0.75])
        # the quartiles of Student's t with two degrees of freedom are at sqrt(2/3)
        expected = np.sqrt(2 / 3) * radiator.tracking * n_tracks / toys.MEAN_TRACKS
        assert np.abs(quartiles) == pytest.approx(expected, rel=0.15)
        assert np.abs(angle - mean[track])[np.abs(mean[track]) < 0.1].max() < 1e-7  # none of its own


def test_log_likelihood_of_one_track_by_hand() -> None:
    photons, momentum, n_tracks = np.array([0.0301, 0.0312, 0.0100]), 40 * GEV, 120
    found = toys.log_likelihoods(
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
        found = toys.photons(mass=np.full(n, MASS[species]), rng=np.random.default_rng(5), **there)
        likelihood = dict(zip(RICH_SPECIES, toys.log_likelihoods(*found, **there), strict=True))
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
    tracks = toys.rich_tracks(1_001, rng=np.random.default_rng(1), species=["K", "p"])
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
    first = toys.rich_tracks(20_000, rng=np.random.default_rng(6), radiators=[RICH1])
    polar = 2 * np.arctan(np.exp(-first["Brunel_ETA"].astype(float)))
    assert np.array_equal(first["hasRich"][polar < 0.2499] == 1, polar[polar < 0.2499] > 0.025)
    wide = (polar > 0.2501) & (polar < 0.3)
    assert 0 < first["hasRich"][wide].mean() < 1
    second = toys.rich_tracks(20_000, rng=np.random.default_rng(6), radiators=[RICH2])
    slow, fast = second["Brunel_P"] < 4 * GEV, second["Brunel_P"] > 20 * GEV
    forward = (second["Brunel_ETA"] > 3.1) & (second["Brunel_ETA"] < 4)
    assert second["hasRich"][forward & fast].mean() > 0.99
    assert second["hasRich"][forward & slow].mean() < 0.4  # bent by 150 mrad and more
    straight = toys.rich_tracks(20_000, rng=np.random.default_rng(6), radiators=[replace(RICH2, kick=0.0)])
    assert straight["hasRich"][forward].all()


def test_seed() -> None:
    first, again, other = (toys.rich_tracks(500, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    for name, values in first.items():
        assert np.array_equal(values, again[name])
    assert not np.array_equal(first["RichDLLk"], other["RichDLLk"])


@pytest.fixture(scope="module")
def mixture() -> Tracks:
    return toys.rich_tracks(60_000, rng=np.random.default_rng(8), species=["K"], background=0.4)


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
    pure = toys.rich_tracks(60_000, rng=np.random.default_rng(9), species=["K"])
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
        toys.rich_tracks(10, rng=np.random.default_rng(1), species=["pi", "k"])
    with pytest.raises(ValueError, match=r"species: expected at least one of \['e', .*\], got none"):
        toys.rich_tracks(10, rng=np.random.default_rng(1), species=[])


@pytest.mark.parametrize("background", [-0.1, 1.0, float("nan")])
def test_impossible_background(background: float) -> None:
    with pytest.raises(ValueError, match=r"background: expected a fraction in \[0, 1\), got"):
        toys.rich_tracks(10, rng=np.random.default_rng(1), background=background)


def test_centres_of_showers_follow_rice_on_both_sides_of_the_seam() -> None:
    n = 40_000
    showers = toys.shower_shape(n, rng=np.random.default_rng(1))
    energy = showers["incident_energy"].astype(np.float64)
    scale = toys.SHOWER_POSITION / np.sqrt(energy)
    moved = toys.SHOWER_BENDING / energy
    limit = 1.63 / np.sqrt(n)  # of Kolmogorov's statistic, at 1 %
    log_low, log_high = np.log(toys.SHOWER_ENERGIES)
    uniform = {
        "energy": (np.log(energy) - log_low) / (log_high - log_low),
        "radius": stats.rice.cdf(showers["radius"] / scale, moved / scale),
        "log energy": stats.norm.cdf(
            (showers["log_energy"] - np.log(energy) + showers["radius"] / toys.SHOWER_LEAKAGE)
            * np.sqrt(energy)
            / toys.SHOWER_RESOLUTION
        ),
        "across": stats.norm.cdf(showers["radius"] * np.sin(showers["angle"]) / scale),
        "along": stats.norm.cdf(
            (showers["radius"] * np.cos(showers["angle"]) - showers["charge"] * moved) / scale
        ),
    }
    for name, values in uniform.items():
        assert stats.kstest(values, "uniform").statistic < limit, name
    angle = showers["angle"]
    assert ((angle >= 0) & (angle < 2 * np.pi)).all()
    slow = angle[energy < 4]
    assert min((slow < 0.2).mean(), (slow > 2 * np.pi - 0.2).mean()) > 1.5 * 0.2 / (2 * np.pi)


def test_centres_of_modes() -> None:
    circle, square = toys.ring_centres(), toys.grid_centres()
    assert circle.shape == (8, 2)
    assert np.hypot(*circle.T) == pytest.approx(2)
    assert np.linalg.norm(circle - np.roll(circle, 1, axis=0), axis=1) == pytest.approx(4 * np.sin(np.pi / 8))
    assert circle[2] == pytest.approx([0, 2])
    assert square.tolist() == [[x, y] for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]


@pytest.mark.parametrize(
    ("toy", "centres", "sigma"),
    [(toys.ring, toys.ring_centres(), toys.RING_SIGMA), (toys.grid, toys.grid_centres(), toys.GRID_SIGMA)],
)
def test_modes_are_equal_gaussians_at_their_centres(
    toy: Callable[..., Tracks], centres: NDArray[Any], sigma: float
) -> None:
    n = 50_000
    points = toy(n, rng=np.random.default_rng(1))
    assert {name: values.dtype for name, values in points.items()} == {
        "x": np.float32,
        "y": np.float32,
        "mode": np.int32,
    }
    each = n / len(centres)
    assert np.bincount(points["mode"], minlength=len(centres)) == pytest.approx(each, abs=5 * np.sqrt(each))
    offset = np.column_stack([points["x"], points["y"]]) - centres[points["mode"]]
    assert offset.mean(axis=0) == pytest.approx(0, abs=5 * sigma / np.sqrt(n))
    assert offset.std(axis=0) == pytest.approx(sigma, rel=5 / np.sqrt(2 * n))
    assert abs(np.corrcoef(offset.T)[0, 1]) < 5 / np.sqrt(n)


def read(path: Path, tree: str = "tracks") -> Tracks:
    with uproot.open(path) as file:
        branches: Tracks = file[tree].arrays(library="np")
    return branches


def test_file_is_the_toy_chunk_by_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toys, "_CHUNK", 400)
    out = tmp_path / "new" / "t.root"
    assert toys.write("rich", out, n=1_000, seed=3, species=["mu", "p"], background=0.2) == 1_000
    branches = read(out)
    expected = [
        toys.rich_tracks(n, rng=np.random.default_rng(child), species=["mu", "p"], background=0.2)
        for n, child in zip((400, 400, 200), np.random.SeedSequence(3).spawn(3), strict=True)
    ]
    assert list(branches) == list(expected[0])
    for name, values in branches.items():
        assert values.dtype == expected[0][name].dtype
        assert np.array_equal(values, np.concatenate([part[name] for part in expected])), name
    with uproot.open(out) as file:
        origin = json.loads(file["generated_by"])
    assert origin["toy"] == "rich"
    assert origin["seed"] == 3
    assert origin["options"] == {"species": ["mu", "p"], "background": 0.2}


def test_longer_file_begins_with_the_chunks_of_the_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toys, "_CHUNK", 300)
    for n in (600, 1_000):
        toys.write("rich", tmp_path / f"{n}.root", n=n, seed=4)
    short, long = (read(tmp_path / f"{n}.root") for n in (600, 1_000))
    assert all(np.array_equal(values, long[name][:600]) for name, values in short.items())


def test_memory_does_not_grow_with_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toys, "_CHUNK", 2_000)
    toys.write("rich", tmp_path / "t.root", n=2_000)  # what is allocated once
    peaks = []
    for n in (4_000, 30_000):
        tracemalloc.start()
        try:
            toys.write("rich", tmp_path / "t.root", n=n)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "t.root"
    with pytest.raises(
        ValueError, match=r"toy 'rihc': there is none of this name; did you mean 'rich', .*\?"
    ):
        toys.write("rihc", out, n=10)
    with pytest.raises(ValueError, match=r"modes: the toy 'ring' has no such option; leave it out$"):
        toys.write("ring", out, n=10, modes=9)
    with pytest.raises(ValueError, match="n: expected a positive number of events, got 0; add -n N"):
        toys.write("rich", out, n=0)
    with pytest.raises(ValueError, match="species 'kaon': the toy has none of this name"):
        toys.write("rich", out, n=10, species=["kaon"])
    with pytest.raises(OSError, match="expected the name of a file, got a folder"):
        toys.write("rich", tmp_path, n=10)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(OSError, match="events could not be written; nothing was left behind, make room"):
            toys.write("rich", tmp_path / "t.root", n=5_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(n: int, *, rng: np.random.Generator) -> Tracks:
        if list(tmp_path.iterdir()):
            raise KeyboardInterrupt
        return toys.rich_tracks(n, rng=rng)

    monkeypatch.setattr(toys, "_CHUNK", 100)
    monkeypatch.setitem(toys.TOYS, "rich", replace(toys.TOYS["rich"], sample=interrupted))
    with pytest.raises(KeyboardInterrupt):
        toys.write("rich", tmp_path / "t.root", n=200)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path: Path) -> None:
    out = tmp_path / "t.root"
    words = ["toy", "rich", "-n", "300", "--species", "K", "--species", "pi", "--background", "0.3"]
    result = CliRunner().invoke(app, [*words, "--seed", "5", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"Next: hepgan inspect {out}" in result.stdout
    branches = read(out)
    assert set(branches["probe_PDG"]) == {PDG["K"], PDG["pi"]}
    assert branches["probe_sWeight"].min() < 0


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_command_writes_points_in_modes(name: str, tmp_path: Path) -> None:
    out = tmp_path / "t.root"
    words = ["toy", name, "-n", "300", "--seed", "5", "--out", str(out)]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    expected = toys.TOYS[name].sample(300, rng=np.random.default_rng(np.random.SeedSequence(5).spawn(1)[0]))
    branches = read(out, "points")
    assert list(branches) == ["x", "y", "mode"]
    assert all(np.array_equal(values, expected[branch]) for branch, values in branches.items())


def test_help_names_every_toy() -> None:
    words = CliRunner().invoke(app, ["toy", "--help"]).stdout
    assert all(re.search(rf"\b{name}\b", words) for name in toys.TOYS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["ring", "--species", "K"],
            "species: the toy 'ring' has no such option; leave it out, only 'rich' has it",
        ),
        (
            ["grid", "--background", "0.1"],
            "background: the toy 'grid' has no such option; leave it out, only",
        ),
        (["rihc"], "toy 'rihc': there is none of this name; did you mean 'rich', "),
        (["rich", "--species", "kaon"], "species 'kaon': the toy has none of this name"),
        (["rich", "--background", "2"], "background: expected a fraction in [0, 1), got 2.0"),
    ],
)
def test_command_refuses(words: list[str], message: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "t.root"
    result = CliRunner().invoke(app, ["toy", *words, "-n", "10", "--out", str(out)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_shipped_samples_are_what_their_page_says(data_dir: Path) -> None:
    page = (data_dir / "README.md").read_text(encoding="utf-8")
    total = 0
    for name in ("rich.root", "rich_test.root"):
        content = (data_dir / name).read_bytes()
        total += len(content)
        branches = read(data_dir / name)
        row = f"| {name} | {len(branches['hasRich'])} | {len(content)} | `{hashlib.sha256(content).hexdigest()}` |"
        assert row in page
        with uproot.open(data_dir / name) as file:
            origin = json.loads(file["generated_by"])
        assert re.search(
            rf"hepgan toy rich -n {origin['events']} --seed {origin['seed']} --out \S*{name}", page
        )
    assert total <= 4_000_000
