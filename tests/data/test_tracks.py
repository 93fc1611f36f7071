"""Reading observables: scalars or variable-length branches of tracks."""

from __future__ import annotations

import logging
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import STORAGES, TRACK_COUNTS

from hepgan.config import parse
from hepgan.data.reading import iterate, iterate_conditions, read
from hepgan.errors import ConfigError, DataError

CONDITIONS = ("track_P", "track_ETA", "nTracks")
TARGETS = ("track_DLLk", "track_DLLp")


def jagged(values: Any, counts: Any = TRACK_COUNTS) -> ak.Array:
    return ak.unflatten(np.asarray(values), counts)


def columns(tracks: dict[str, Any], names: tuple[str, ...]) -> np.ndarray:
    return np.stack([tracks[name] for name in names], axis=1).astype(np.float32)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("chunk", ["500 B", "1 GB"])
def test_every_storage_gives_the_same_tracks(tiny_tracks, track_file, track_data, storage, chunk) -> None:
    data = track_data([track_file(storage)], weight="track_sWeight", chunk=chunk)
    events = read(data)
    passed = tiny_tracks["track_P"] > 0
    assert 10 < (~passed).sum() < 30, "there are rows to remove"
    np.testing.assert_array_equal(events.conditions, columns(tiny_tracks, CONDITIONS)[passed])
    np.testing.assert_array_equal(events.targets, columns(tiny_tracks, TARGETS)[passed])
    np.testing.assert_array_equal(events.weights, tiny_tracks["track_sWeight"][passed])
    assert (events.weights < 0).any()
    for values in (events.conditions, events.targets, events.weights):
        assert values.dtype == np.float32
        assert values.flags["C_CONTIGUOUS"]
    if chunk == "500 B" and storage in ("scalars", "jagged"):
        assert len(list(iterate(data))) > 1


def test_atoms_and_ties_arrive_exactly(tiny_tracks, track_file, track_data) -> None:
    k, p = read(
        track_data([track_file("jagged doubles")], cut=None, conditions=[{"name": "track_ETA"}])
    ).targets.T
    for value in (0, -999):
        assert (k == value).sum() == (tiny_tracks["track_DLLk"] == value).sum() > 10
    assert ((k == p) & (k != 0) & (k != -999)).sum() > 10


@pytest.mark.parametrize("storage", ["scalars", "jagged", "jagged rntuple"])
@pytest.mark.parametrize("chunk", ["500 B", "1 GB"])
def test_maximum_counts_tracks(tiny_tracks, track_file, track_data, storage, chunk) -> None:
    data = track_data([track_file(storage)], chunk=chunk, max_events=33)
    expected = columns(tiny_tracks, TARGETS)[tiny_tracks["track_P"] > 0][:33]
    np.testing.assert_array_equal(read(data).targets, expected)
    assert sum(len(part) for part in iterate(data)) == 33


@pytest.mark.parametrize("storage", ["scalars", "jagged"])
def test_expressions_act_track_by_track(tiny_tracks, track_file, track_data, storage) -> None:
    data = track_data(
        [track_file(storage)],
        cut="track_P > 5 and nTracks < 200 and event != 2",
        weight="abs(track_sWeight) * (nTracks > 0)",
        conditions=[
            {"name": "PT", "branch": "1000 * track_P / cosh(track_ETA)", "unit": "MeV/c"},
            {"name": "occupancy", "branch": "nTracks / 100", "transform": "linear"},
        ],
        targets=[{"name": "difference", "branch": "track_DLLk - track_DLLp"}],
    )
    t = {name: values.astype(np.float64) for name, values in tiny_tracks.items()}
    passed = (t["track_P"] > 5) & (t["nTracks"] < 200) & (t["event"] != 2)
    assert 0 < passed.sum() < len(passed)
    events = read(data)
    expected = [1000 * t["track_P"] / np.cosh(t["track_ETA"]), t["nTracks"] / 100]
    np.testing.assert_allclose(events.conditions, np.stack(expected, 1)[passed], rtol=1e-5)
    np.testing.assert_allclose(
        events.targets[:, 0], (t["track_DLLk"] - t["track_DLLp"])[passed], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(events.weights, np.abs(t["track_sWeight"])[passed])


def test_numbers_of_the_event_are_repeated(tiny_tracks, track_file, track_data) -> None:
    fast = np.bincount(tiny_tracks["event"], weights=tiny_tracks["track_P"] > 20)[tiny_tracks["event"]]
    hits = jagged(np.ones(3 * len(TRACK_COUNTS)), 3)  # of other things than tracks
    conditions = [
        {"name": "n_fast", "branch": "sum(track_P > 20)", "transform": "linear", "integer": True},
        {"name": "n_hits", "branch": "sum(hits)", "transform": "linear"},
    ]
    data = track_data([track_file("jagged", hits=hits)], conditions=conditions, cut="any(track_P > 20)")
    np.testing.assert_array_equal(read(data).conditions, np.stack([fast, fast * 0 + 3], 1)[fast > 0])


def test_categories(tiny_tracks, track_file, track_data) -> None:
    path = track_file("jagged")
    species = {"name": "species", "branch": "track_ID", "transform": "category"}
    both = track_data([path], conditions=[species | {"categories": {"pi": 211, "K": 321}}])
    np.testing.assert_array_equal(
        read(both).conditions[:, 0], tiny_tracks["track_ID"][tiny_tracks["track_P"] > 0]
    )
    message = (
        r"'track_ID': expected one of the categories K = 321, got \d+ other values such as 211 in \d+ tracks .*; "
        r"add it to them, or leave such tracks out with data\.cut"
    )
    with pytest.raises(DataError, match=message):
        read(track_data([path], conditions=[species | {"categories": {"K": 321}}]))


def test_categories_that_single_precision_does_not_tell_apart(tiny_tracks, track_file, track_data) -> None:
    he3, alpha = 1000020030, 1000020040
    nuclei = np.where(tiny_tracks["track_ID"] == 211, he3, alpha).astype(np.int32)
    path = track_file(track_ID=nuclei)
    species = {"name": "species", "branch": "track_ID", "transform": "category"}
    alone = track_data([path], cut=None, conditions=[species | {"categories": {"alpha": alpha}}])
    with pytest.raises(DataError, match=r"one of the categories alpha = 1000020040, got \d+ other values"):
        read(alone)
    numbers = np.concatenate(list(iterate_conditions(alone, path)))[:, 0]
    np.testing.assert_array_equal(np.isnan(numbers), nuclei == he3)
    codes = f"1 * (track_ID == {he3}) + 2 * (track_ID == {alpha})"  # as the message for both of them says
    both = track_data(
        [path], cut=None, conditions=[species | {"branch": codes, "categories": {"He3": 1, "alpha": 2}}]
    )
    np.testing.assert_array_equal(read(both).conditions[:, 0], np.where(nuclei == he3, 1, 2))


@pytest.mark.parametrize("storage", ["scalars", "jagged", "half"])
def test_conditions_alone(tiny_tracks, track_file, track_data, storage) -> None:
    path = track_file(storage, track_P=np.abs(tiny_tracks["track_P"]))
    found = np.concatenate(list(iterate_conditions(track_data(["not.root"], cut="absent > 0"), path)))
    expected = columns(tiny_tracks, CONDITIONS)
    np.testing.assert_array_equal(found, np.abs(expected))


def test_progress_bar_is_optional(track_file, track_data, capsys) -> None:
    data = track_data([track_file()])
    n = len(read(data))
    assert capsys.readouterr().out == ""
    assert len(read(data, progress=True)) == n


# What is wrong with the tracks


def test_branches_of_different_lengths(tiny_tracks, track_file, track_data) -> None:
    counts = TRACK_COUNTS.copy()
    counts[[7, 40]] -= 1
    short = jagged(tiny_tracks["track_DLLp"][: counts.sum()], counts)
    path = track_file("jagged", track_DLLp=short)
    message = (
        r"'track_DLLp': expected as many numbers as '\w+' has in each event, got 2 events that differ, the first in "
        r"entry 7: 4 of 'track_DLLp' for 5 of '\w+'; name branches of the same tracks"
    )
    for settings in ({}, {"cut": "track_DLLp > -900"}):
        with pytest.raises(DataError, match=message):
            read(track_data([path], **settings))
    with pytest.raises(DataError, match="got 1 events that differ, the first in entry 7"):
        read(track_data([path], chunk="500 B"))
    inside = [{"name": "sum", "branch": "track_DLLk + track_DLLp"}]
    with pytest.raises(DataError, match=message):
        read(track_data([path], targets=inside))
    with pytest.raises(DataError, match=r"expected as many numbers .* entry 7: 4 of 'track_DLLp' for 5"):
        read(track_data([path], targets=[{"name": "DLLk", "branch": "track_DLLk"}], weight="track_DLLp"))
    assert len(read(track_data([path], targets=[{"name": "DLLk", "branch": "track_DLLk"}]))) > 100


def test_fixed_arrays_need_an_index(tiny_tracks, track_file, track_data) -> None:
    n = len(tiny_tracks["track_P"])
    three = np.repeat(tiny_tracks["track_DLLk"][:, None], 3, 1)
    path = track_file(track_momentum=three)
    with pytest.raises(
        DataError,
        match=r"'track_momentum': expected one number for each track, got \[3\]; take one of them \(tr",
    ):
        read(track_data([path], targets=[{"name": "track_momentum"}]))
    events = read(
        track_data(
            [path], cut=None, conditions=[{"name": "track_ETA"}], targets=[{"name": "track_momentum[1]"}]
        )
    )
    np.testing.assert_array_equal(events.targets[:, 0], tiny_tracks["track_DLLk"])
    assert len(events) == n


def test_lists_of_lists_are_refused(tiny_tracks, track_file, track_data) -> None:
    nested = ak.unflatten(jagged(np.ones(2 * TRACK_COUNTS.sum()), 2), TRACK_COUNTS)
    path = track_file("jagged rntuple", nested=nested)
    with pytest.raises(
        DataError, match=r"'nested': expected one number for each track, got 2 \* float64; name another"
    ):
        read(track_data([path], targets=[{"name": "nested"}]))


@pytest.mark.parametrize("storage", ["scalars", "jagged"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["track_ETA", "track_DLLk", "track_sWeight"])
def test_infinite_values(tiny_tracks, track_file, track_data, name, value, storage) -> None:
    bad = tiny_tracks[name].copy()
    bad[[50, 70]] = value
    entry = tiny_tracks["event"][50] if storage == "jagged" else 50
    data = track_data([track_file(storage, **{name: bad})], weight="track_sWeight", cut="isfinite(track_P)")
    data = data.model_copy(update={"conditions": data.conditions[1:]})
    message = (
        rf"'{name}': expected finite values, got 2 NaN or infinite in 2 tracks of entries 0 to \d+, the first in entry "
        rf"{entry}; leave such tracks out with data\.cut"
    )
    with pytest.raises(DataError, match=message):
        read(data)
    with pytest.raises(DataError, match=f"the first in entry {entry};"):
        read(data.model_copy(update={"chunk": "500 B"}))
    assert len(read(data.model_copy(update={"cut": f"isfinite({name})"}))) == len(bad) - 2


def test_logarithms_need_positive_values_or_atoms(track_file, track_data) -> None:
    path = track_file("jagged")
    with pytest.raises(
        DataError, match=r"'track_P': expected values > 0 \(transform = \"log\"\), got \d+ values <="
    ):
        read(track_data([path], cut=None))
    target = {"name": "P", "branch": "track_P", "transform": "log"}
    eta = [{"name": "track_ETA", "transform": "linear"}]
    with pytest.raises(DataError, match=r"'track_P': expected values > 0 \(transform = \"log\"\)"):
        read(track_data([path], cut=None, conditions=eta, targets=[target]))
    events = read(track_data([path], cut=None, conditions=eta, targets=[target | {"atoms": [-999.0]}]))
    assert (events.targets == -999).any()


@pytest.mark.parametrize("first", [1_700_000_000, 2**53])  # seconds since 1970
def test_whole_numbers_that_single_precision_makes_equal_are_refused(
    first, tiny_tracks, track_file, track_data
) -> None:
    conditions = [{"name": "t", "branch": f"nTracks + {first}", "transform": "linear"}]
    message = r"that single precision tells apart, .*; subtract a constant: branch = \"nTracks \+ .* - "
    with pytest.raises(DataError, match=message):
        read(track_data([track_file("scalars")], conditions=conditions))
    wide = [{"name": "t", "branch": f"nTracks * {first}", "transform": "linear"}]
    assert len(read(track_data([track_file("scalars")], conditions=wide)))


def test_counts_must_be_whole(tiny_tracks, track_file, track_data) -> None:
    path = track_file("jagged")
    conditions = [{"name": "n", "branch": "nTracks / 7", "transform": "linear", "integer": True}]
    message = (
        r"'nTracks / 7': expected whole numbers \(integer = true\), got \d+ other values such as [\d.]+ in \d+ .*"
        r"; leave integer out, or"
    )
    with pytest.raises(DataError, match=message):
        read(track_data([path], conditions=conditions))
    with pytest.raises(
        DataError, match=r"the first in entry [0-9]+; round them in the file"
    ):  # no cut is applied
        next(iterate_conditions(track_data([path], conditions=conditions), path))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("0 * track_sWeight", "expected weights other than zero, got only zeros"),
        ("-abs(track_sWeight)", "expected a positive sum of weights, got -"),
    ],
)
def test_useless_weights(track_file, track_data, weight, message) -> None:
    with pytest.raises(DataError, match=message):
        read(track_data([track_file("jagged")], weight=weight))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"weight": "track_sWeigt"},
            DataError,
            r"'track_sWeigt' \(data\.weight\); did you mean 'track_sWeight'",
        ),
        (
            {"targets": [{"name": "track_DLLK2"}]},
            DataError,
            r"'track_DLLK2' \(data\.targets\); did you mean 'track_DLL",
        ),
        (
            {"conditions": [{"name": "nTraks"}]},
            DataError,
            r"'nTraks' \(data\.conditions\); did you mean 'nTracks'",
        ),
        (
            {"cut": "track_P"},
            ConfigError,
            r"data\.cut 'track_P': expected true or false for each track, got float32 for",
        ),
        (
            {"cut": "track_P > 1e6"},
            DataError,
            r"expected tracks that pass, got none of 60 entries; loosen the cut",
        ),
    ],
)
def test_mistakes_are_explained(track_file, track_data, settings, error, message) -> None:
    with pytest.raises(error, match=message):
        read(track_data([track_file("jagged")], **settings))


def test_cut_on_tracks_needs_tracks(track_file, track_data) -> None:
    scalars = {"conditions": [{"name": "nTracks"}], "targets": [{"name": "event"}]}
    with pytest.raises(
        ConfigError, match=r"expected true or false for each track, got var \* bool for each; .*any"
    ):
        read(track_data([track_file("jagged")], **scalars))
    assert len(read(track_data([track_file("jagged")], **scalars | {"cut": "any(track_P > 0)"}))) < 60


def test_no_tracks(tiny_tracks, track_file, track_data, tmp_path, caplog) -> None:
    path = str(tmp_path / "empty.root")
    kinds = {name: "var * float32" for name in tiny_tracks} | {"nTracks": "int32"}
    with uproot.recreate(path) as file:
        file.mktree("tracks", kinds)
    with pytest.raises(DataError, match=r"empty\.root: expected tracks, got zero entries; name other files"):
        read(track_data([path]))
    with uproot.recreate(path) as file:
        lists = {
            name: jagged(np.empty(0, np.float32), np.zeros(3, int)) for name in kinds if name != "nTracks"
        }
        file.mktree("tracks", kinds).extend(lists | {"nTracks": np.ones(3, np.int32)})
    for cut, message in (
        ("track_P > 0", "got none of 3 entries"),
        (None, "expected tracks, got none in 3 entries"),
    ):
        with pytest.raises(DataError, match=message):
            read(track_data([path], cut=cut))
    with caplog.at_level(logging.WARNING):  # among others it does no harm
        assert len(read(track_data([path, track_file("jagged")]))) > 100


def test_thousands_of_unreconstructed_rows(track_data, write_tree, tmp_path) -> None:
    rng = np.random.default_rng(3)
    n = 20_000
    lost = rng.random(n) < 0.4
    branches = {
        "track_P": np.where(lost, -999, rng.exponential(20, n) + 2),
        "track_ETA": np.where(lost, np.nan, rng.uniform(2, 5, n)),
        "nTracks": rng.integers(20, 300, n).astype(np.int32),
        **{name: np.where(lost, -999, rng.normal(size=n)) for name in TARGETS},
    }
    path = write_tree(tmp_path / "lost.root", branches, tree="tracks", basket=5000)
    events = read(track_data([path]))
    assert len(events) == (~lost).sum()
    np.testing.assert_array_equal(events.targets[:, 0], branches["track_DLLk"][~lost].astype(np.float32))


def test_arrays_of_fixed_length_are_tracks_if_all_targets_are(tmp_path, write_tree) -> None:
    rng = np.random.default_rng(1)
    branches = {
        "P": rng.random((5, 3)),
        "n": np.arange(5.0),
        "x": rng.normal(size=(5, 3)),
        "y": rng.normal(size=5),
    }
    path = write_tree(tmp_path / "fixed.root", branches, tree="tracks")
    conditions = [{"name": "P", "transform": "linear"}, {"name": "n", "transform": "linear"}]
    table = {
        "files": [path],
        "conditions": conditions,
        "targets": [{"name": "x"}],
        "cut": "P > 0.2",
    }
    events = read(parse({"data": table}).data)
    kept = branches["P"] > 0.2
    np.testing.assert_array_equal(events.conditions[:, 0], branches["P"][kept].astype(np.float32))
    np.testing.assert_array_equal(events.conditions[:, 1], np.nonzero(kept)[0])
    np.testing.assert_array_equal(events.targets[:, 0], branches["x"][kept].astype(np.float32))
    with pytest.raises(
        DataError, match=r"'x': expected one number for each track, got \[3\]; take one of them"
    ):
        read(parse({"data": table | {"cut": None, "targets": [{"name": "x"}, {"name": "y"}]}}).data)
