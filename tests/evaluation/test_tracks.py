"""Numbers of tracks on the RICH toy: a perfect sample is at its floor, and each defect is seen by its number."""

import json

import numpy as np
import pytest

from hepgan.config import EvaluationConfig, parse
from hepgan.data.events import Events
from hepgan.evaluation.measuring import measure
from hepgan.evaluation.tracks import TrackSetup
from hepgan.metrics.classifier import BOOSTING
from hepgan.toys.rich import RICH_SPECIES, SENTINEL, rich_tracks

TARGETS = ["RichDLLe", "RichDLLk", "RichDLLmu", "RichDLLp", "RichDLLbt"]
CONFIG = EvaluationConfig(
    fast=True, folds=2, bins=20, condition_bins=5, cuts=("RichDLLk > 5", "RichDLLk - RichDLLp > 0")
)
N = 6000


def data_config(**more):
    conditions = [
        {"name": "P", "branch": "Brunel_P", "unit": "MeV"},
        {"name": "nTracks", "branch": "nTracks_Brunel", "transform": "linear", "integer": True},
        {
            "name": "species",
            "branch": "probe_PDG",
            "transform": "category",
            "categories": {name: RICH_SPECIES[name][0] for name in ("K", "pi")},
        },
    ]
    targets = [{"name": name, "atoms": [SENTINEL]} for name in TARGETS]
    return parse(
        {"data": {"files": ["none"], "ties": True, "conditions": conditions, "targets": targets} | more}
    ).data


def tracks(seed, *, n=N, background=0.0):
    branches = rich_tracks(n, rng=np.random.default_rng(seed), species=["K", "pi"], background=background)
    conditions = [branches[name] for name in ("Brunel_P", "nTracks_Brunel", "probe_PDG")]
    targets = np.column_stack([branches[name] for name in TARGETS])
    return Events(np.column_stack(conditions).astype(np.float32), (targets,), branches["probe_sWeight"])


def changed(events, targets):
    return Events(events.conditions, (targets.astype(np.float32),), events.weights)


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOOSTING, "max_iter", 40)
        yield


@pytest.fixture(scope="module")
def samples():
    return tracks(1), tracks(2)


def compared(sample, reference, *, data=None, config=CONFIG):
    setup = TrackSetup(data or data_config(), config, False)
    both = (setup.sample(name, events) for name, events in (("sample", sample), ("reference", reference)))
    metrics = measure(*both, setup, seed=3, step=lambda _: None).metrics
    json.dumps(metrics.model_dump(), allow_nan=False)
    return metrics


def rows(metrics):
    return {row.metric: row for row in metrics.rows}


@pytest.fixture(scope="module")
def perfect(samples):
    reference, sample = samples
    return compared(sample, reference)


def test_perfect_sample_is_at_its_floor(perfect):
    ks = perfect.closure.ks
    for value, floor, expected in (
        (ks.mean, ks.mean_floor, ks.mean_perfect),
        (ks.max, ks.max_floor, ks.max_perfect),
    ):
        assert value.value == pytest.approx(expected, rel=0.35)
        # half as many tracks: larger by the square root of 2
        assert floor.value == pytest.approx(np.sqrt(2) * expected, rel=0.02)
    for shares in (perfect.closure.efficiency, perfect.closure.atoms):
        assert abs(shares.worst.value) == pytest.approx(shares.worst_perfect, rel=0.6)
    worst = perfect.closure.correlations.worst
    assert abs(worst.value) < 4 * worst.uncertainty
    assert ks.projected.value < ks.projected_floor.value * 1.5
    auc, uncertainty = perfect.classifier.auc
    assert auc == pytest.approx(0.5, abs=4 * uncertainty)
    assert {row.verdict for row in perfect.rows[:5]} <= {"pass", "warn"}
    EvaluationConfig(limits=dict.fromkeys((row.key for row in perfect.rows), 1.0))  # none is refused
    assert set(perfect.headline) == {"ks_mean", "ks_max", "auc", "efficiency_worst", "atoms_worst"}


def test_bins_hold_equal_shares_and_say_what_is_left_out(perfect):
    bins = perfect.closure.ks.bins
    assert {name: (len(b.edges), b.left_out) for name, b in bins.items()} == {
        "P": (5, 0),
        "nTracks": (5, 0),
        "species": (2, 0),
    }
    assert all(
        low <= m <= high for b in bins.values() for (low, high), m in zip(b.edges, b.mean, strict=True)
    )
    for table in (perfect.closure.ks.values, perfect.closure.ks.floors):
        assert {len(numbers) for numbers in table["P"].values()} == {5}


def test_means_are_those_without_sentinels(perfect, samples):
    k = TARGETS.index("RichDLLk")
    values = samples[0].targets[:, k]
    expected = values[values != SENTINEL].mean()
    assert perfect.features["RichDLLk"].mean.reference.value == pytest.approx(expected, rel=1e-4)
    profile = perfect.closure.profiles["RichDLLk"]["P"].reference
    assert all(mean > -100 for mean, _ in profile)


def test_smeared_sentinels_and_ties_are_seen(samples, perfect):
    reference, sample = samples
    rng = np.random.default_rng(5)
    metrics = compared(changed(sample, sample.targets + rng.normal(0, 0.1, sample.targets.shape)), reference)
    atoms = metrics.closure.atoms
    assert rows(metrics)["Share of exact values, worst difference"].verdict == "fail"
    overall = atoms.overall
    assert overall["RichDLLk = -999"].sample.value == 0
    share = (reference.targets[:, 1] == SENTINEL).mean()
    assert overall["RichDLLk = -999"].reference.value == pytest.approx(share)
    assert overall["RichDLLp tied"].sample.value == 0
    assert overall["RichDLLp tied"].reference.value > 0.2
    assert "RichDLLe tied" not in overall  # an electron is never below threshold
    assert metrics.closure.ks.mean.value > perfect.closure.ks.mean.value


def test_a_cut_moved_in_one_range_is_seen(samples):
    reference, sample = samples
    low = sample.conditions[:, :1] < 8000
    metrics = compared(changed(sample, np.where(low, sample.targets - 5, sample.targets)), reference)
    efficiency = metrics.closure.efficiency
    assert efficiency.worst.value < -0.1
    assert efficiency.worst_at.startswith("RichDLLk > 5, P ")
    assert rows(metrics)["Efficiency difference, worst bin"].verdict == "fail"
    assert rows(metrics)["KS distance in bins, largest"].verdict == "fail"
    against_momentum = efficiency.values["RichDLLk > 5"]["P"]
    first, second = (np.array(c)[:, 0] for c in (against_momentum.reference, against_momentum.sample))
    differences = second - first
    assert differences.argmin() < len(differences) / 2
    assert abs(differences[-1]) < 0.1
    reference_share = efficiency.values["RichDLLk > 5"]["species"].reference
    pi, kaon = reference_share[0][0], reference_share[1][0]  # in the order of the codes: 211, 321
    assert kaon > pi + 0.3


def test_shuffled_targets_change_the_correlations_only(samples):
    data = data_config(conditions=[{"name": "one", "transform": "linear"}], ties=False)
    no_condition = [Events(np.ones((N, 1), np.float32), s.outputs, s.weights) for s in samples]
    targets = no_condition[1].targets.copy()
    free = np.flatnonzero((targets != SENTINEL).all(1))
    targets[free, 0] = np.random.default_rng(6).permutation(targets[free, 0])
    metrics = compared(changed(no_condition[1], targets), no_condition[0], data=data)
    assert metrics.closure.ks.max.value < 0.05
    assert metrics.closure.ks.projected.value > 2 * metrics.closure.ks.projected_floor.value
    assert "RichDLLe" in metrics.closure.correlations.worst_at
    assert abs(metrics.closure.correlations.worst.value) > 0.1
    assert metrics.classifier.auc.value > 0.8


def test_each_category_is_judged(samples):
    reference, sample = samples
    kaon = sample.conditions[:, 2:] == 321
    metrics = compared(changed(sample, np.where(kaon, 0.8 * sample.targets, sample.targets)), reference)
    table = metrics.closure.categories["species"]
    assert table["K"].tracks == (reference.conditions[:, 2] == 321).sum()
    assert table["K"].ks.mean.value > table["pi"].ks.mean.value + 0.02
    assert table["K"].auc.value > 0.6 > table["pi"].auc.value + 0.05
    assert abs(table["K"].atoms.worst.value) > 5 * CONFIG.limits["atoms"]
    assert set(table["K"].ks.bins) == {"P", "nTracks"}


def test_weights_subtract_the_background(samples):
    reference, _ = samples
    polluted = tracks(3, n=2 * N, background=0.4)
    assert polluted.weights.min() < 0
    subtracted = compared(polluted, reference)
    counted = compared(Events(polluted.conditions, polluted.outputs, np.ones(2 * N, np.float32)), reference)
    assert subtracted.closure.ks.mean.value < 1.5 * subtracted.closure.ks.mean_perfect
    assert counted.closure.ks.mean.value > 2 * counted.closure.ks.mean_perfect


def test_thin_bins_are_left_out_and_counted(samples):
    reference, sample = samples
    config = CONFIG.model_copy(update={"condition_bins": 20})
    few = compared(sample[:600], reference[:600], config=config).closure.ks.bins
    assert (len(few["P"].edges), few["P"].left_out) == (10, 0)
    soft = sample[sample.conditions[:, 0] < 10_000]
    bins = compared(soft, reference, config=config).closure.ks.bins["P"]
    assert bins.left_out == 20 - len(bins.edges) > 5
    assert max(high for _, high in bins.edges) < 12_000
    with pytest.raises(ValueError, match="conditions: no bin holds 30 effective tracks of both samples"):
        compared(sample[:28], reference[:28])


def test_default_cuts_are_medians(samples):
    metrics = compared(samples[1], samples[0], config=CONFIG.model_copy(update={"cuts": ()}))
    values = metrics.closure.efficiency.values
    assert [label.split(" > ")[0] for label in values] == TARGETS
    for k, label in enumerate(values):
        x = samples[0].targets[:, k]
        assert float(label.split(" > ")[1]) == pytest.approx(np.median(x[x != SENTINEL]), abs=0.2)


@pytest.mark.parametrize("name", ["K+_DLL", "2nd_DLL", "jet.pt()", "p K", "and", "E[MeV]", "a`b", "DLL κ"])
def test_default_cuts_of_any_name(samples, name):
    data = data_config(targets=[{"name": name, "atoms": [SENTINEL]}, {"name": "other"}])
    setup = TrackSetup(data, CONFIG.model_copy(update={"cuts": ()}), False)
    events = changed(samples[0], samples[0].targets[:, :2])
    sample = setup.sample("fast", events)
    for k, (label, passing) in enumerate(setup.cuts(sample).items()):
        passed = passing(sample)
        assert 0.2 < passed.mean() < 0.6
        np.testing.assert_array_equal(passed, sample.features[:, k] > float(label.rpartition(" > ")[2]))


def test_one_target_without_atoms(samples):
    reference, sample = (
        Events(s.conditions[:, :1], (s.targets[:, :1],), s.weights)[s.targets[:, 0] != SENTINEL]
        for s in samples
    )
    data = data_config(conditions=[{"name": "P", "unit": "MeV"}], targets=[{"name": "RichDLLe"}], ties=False)
    metrics = compared(sample, reference, data=data, config=CONFIG.model_copy(update={"cuts": ()}))
    assert metrics.closure.atoms is None
    assert metrics.closure.correlations is None
    assert metrics.closure.categories == {}
    assert "atoms_worst" not in metrics.headline


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ("RichDLk > 0", r"'RichDLk > 0': there is no target 'RichDLk'; .*RichDLLk"),
        ("RichDLLk + 1", r"expected a comparison of targets, such as RichDLLe > 0, got 'RichDLLk \+ 1'"),
        ("RichDLLk >", "expected an expression of branches"),
    ],
)
def test_cuts_that_are_none(samples, cut, message):
    with pytest.raises(ValueError, match=f"evaluation.cuts.*{message}"):
        compared(*samples[::-1], config=CONFIG.model_copy(update={"cuts": (cut,)}))


def test_samples_that_do_not_fit(samples):
    setup = TrackSetup(data_config(), CONFIG, False)
    reference, _ = samples
    with pytest.raises(ValueError, match=r"fast: expected 5 target\(s\) a track, got \[4\]"):
        setup.sample("fast", changed(reference, reference.targets[:, :4]))
    with pytest.raises(ValueError, match="fast: expected at least one track, got none"):
        setup.sample("fast", reference[:0])
