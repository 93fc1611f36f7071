"""Summaries of ROOT files, and their tables for the terminal."""

import io

import awkward as ak
import numpy as np
import pytest
import uproot
from rich.console import Console

from hepgan.data.inspection import inspect, render
from hepgan.data.summaries import Branch, Report, Tree
from hepgan.errors import DataError, NotFoundError


def printed(report: Report) -> str:
    console = Console(width=140, file=io.StringIO())
    console.print(render(report))
    return console.file.getvalue()


def test_shipped_sample(data_dir) -> None:
    (tree,) = inspect(str(data_dir / "eplus_test.root")).trees
    assert (tree.name, tree.kind, tree.entries) == ("showers", "TTree", 3000)
    assert "GeV" in tree.title
    branches = {branch.name: branch for branch in tree.branches}
    assert branches["layer_0"].shape == (3, 96)
    assert 1 <= branches["incident_energy"].minimum < branches["incident_energy"].maximum <= 65
    assert all(branch.minimum >= 0 and not branch.n_nan for branch in tree.branches)
    assert abs(branches["cpu_seconds"].mean - 0.077) < 0.005


def test_ranges_nan_and_sentinels(tiny_file) -> None:
    energy = np.linspace(1, 50, 50, dtype=np.float32)
    energy[[3, 4, 5]] = [np.nan, np.inf, -999]
    jagged = ak.unflatten(np.arange(75, dtype=np.float64), [1, 2] * 25)
    path = tiny_file(incident_energy=energy, hits=jagged, number=np.full(50, -99, np.int32))
    (tree,) = inspect(path).trees
    branches = {branch.name: branch for branch in tree.branches}
    found = branches["incident_energy"]
    assert (found.n_nan, found.minimum, found.maximum) == (2, -999, 50)
    assert found.exact == ((-999.0, 1),)
    assert branches["number"].exact == ((-99.0, 50),)
    assert (branches["hits"].shape, branches["hits"].lengths) == (None, (1, 2))
    assert (branches["hits"].maximum, branches["hits"].mean) == (74, 37)
    text = printed(inspect(path))
    assert "1 x -999" in text
    assert "1 to 2" in text
    assert "2x3" in text


def test_text_branches_and_several_trees(tmp_path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mkrntuple("names", ak.zip({"label": ak.Array(["a", "bc"]), "x": np.ones(2)}, depth_limit=1))
        file.mktree("empty", {"x": "f4"})
    report = inspect(str(path))
    assert [(tree.name, tree.kind, tree.entries) for tree in report.trees] == [
        ("names", "RNTuple", 2),
        ("empty", "TTree", 0),
    ]
    assert [branch.numeric for branch in report.trees[0].branches] == [False, True]
    text = printed(report)
    assert "no numbers" in text
    assert "empty: TTree, 0 entries" in text
    assert [tree.name for tree in inspect(f"{path}:names").trees] == ["names"]


def test_numbered_branches_share_a_line(tmp_path, write_tree) -> None:
    branches = {f"cell_{k}": np.ones(2) for k in range(507)} | {"TotalEnergy": np.ones(2)}
    text = printed(inspect(write_tree(tmp_path / "fancy.root", branches, tree="fancy_tree")))
    assert "cell_0 ... cell_506" in text
    assert "cell_17 " not in text
    assert "TotalEnergy" in text


def test_errors(tmp_path, tiny_file) -> None:
    with pytest.raises(NotFoundError, match=r"data file not found: .*none\.root"):
        inspect(str(tmp_path / "none.root"))
    with pytest.raises(DataError, match=r"has no tree 'shower' .*did you mean 'showers'"):
        inspect(tiny_file() + ":shower")
    path = tmp_path / "histogram.root"
    with uproot.recreate(path) as file:
        file["h"] = np.histogram([1.0, 2.0])
    with pytest.raises(DataError, match=r"got a ROOT file with none; it holds h \(TH1[A-Z]\); name another"):
        inspect(str(path))


def test_exact_values_and_equal_branches(track_file, tiny_tracks) -> None:
    for storage in ("scalars", "jagged", "jagged half"):
        (tree,) = inspect(track_file(storage)).trees
        branches = {branch.name: branch for branch in tree.branches}
        for name in ("track_DLLk", "track_DLLp"):
            expected = tuple((v, int((tiny_tracks[name] == v).sum())) for v in (-999.0, 0.0))
            assert branches[name].exact == expected
        assert branches["track_ETA"].exact == branches["track_sWeight"].exact == ()
        assert (branches["track_ID"].few, branches["track_ID"].integer) == ((211, 321), True)
        k, p = tiny_tracks["track_DLLk"], tiny_tracks["track_DLLp"]
        share = np.mean((k == p) & (k != 0) & (k != -999))
        assert tree.ties == (("track_DLLk", "track_DLLp", pytest.approx(share)),)
    text = printed(inspect(track_file()))
    assert f"{(tiny_tracks['track_DLLk'] == 0).sum()} x 0" in text
    assert f"exactly equal, not at exact values: track_DLLk = track_DLLp in {share:.0%}" in text


def test_discrete_and_rounded_numbers_are_no_exact_values(tmp_path, write_tree) -> None:
    rng = np.random.default_rng(5)
    n = 20_000
    atom = np.where(rng.random(n) < 0.003, 0.25, rng.normal(size=n))
    branches = {
        "atom": atom,
        "charge": rng.choice([-1.0, 1.0], n, p=[0.2, 0.8]),  # two values
        "time": np.round(rng.normal(0, 20, n)),  # every value again and again
        "half": rng.exponential(1, n).astype(np.float16).astype(np.float32),
        "copy": rng.permutation(atom),
    }
    (tree,) = inspect(write_tree(tmp_path / "a.root", branches, basket=7000)).trees
    exact = {branch.name: branch.exact for branch in tree.branches}
    assert exact["atom"] == exact["copy"] == ((0.25, int((atom == 0.25).sum())),)
    assert exact["charge"] == exact["time"] == exact["half"] == ()
    assert tree.ties == ()


def test_trees_with_cycles_and_outer_slashes(tmp_path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        for n in (30, 20):
            file.mktree("d/tracks", {"P": "f8"}).extend({"P": np.arange(1.0 * n)})
    for written, entries in {"d/tracks": 20, "/d/tracks": 20, "d/tracks;1": 30, "d/tracks;2": 20}.items():
        (tree,) = inspect(f"{path}:{written}").trees
        assert (tree.name, tree.entries) == ("d/tracks", entries)
    with pytest.raises(NotFoundError, match=r"cannot read tree 'd/tracks': not found .*cycle 7"):
        inspect(f"{path}:d/tracks;7")


def test_thousands_of_branches_are_aligned_text(tmp_path) -> None:
    names = [f"b{k}_{'x' * (k % 30)}[m]" for k in range(1200)]
    branches = tuple(Branch(name, "float", minimum=k, maximum=k + 0.5) for k, name in enumerate(names))
    text = printed(Report("a.root", (Tree("wide", "TTree", "a title", 3, branches),)))
    lines = text.splitlines()
    assert (lines[1], lines[-1]) == ("wide: TTree, 3 entries", "a title")
    assert [line.split()[0] for line in lines[3:-1]] == names
    assert [line.split()[1:] for line in lines[3:5]] == [
        ["float", "1", "0", "0.5", "0"],
        ["float", "1", "1", "1.5", "0"],
    ]
    assert len({line.index("float") for line in lines[3:-1]}) == 1
