"""Files with one tree: what uproot can see of them, and what ROOT's own tools make of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgan import trees
from hepgan.trees import CODECS, check_compression, cluster_rows, tree_file

ROWS = 40
CODEC_CASES = ["zstd:5", "zstd", "LZ4", "lz4:12", "zlib:1", "zlib:9", "lzma:9", "none"]


def branches(n: int, *, seed: int = 1) -> dict[str, Any]:
    """Every type that hepgan writes: scalars, arrays, and lists of different lengths, some empty."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, n)
    total = int(counts.sum())
    return {
        "energy": rng.exponential(10, n).astype(np.float32),
        "number": np.arange(n, dtype=np.int32),
        "layer": rng.normal(size=(n, 2, 3)).astype(np.float32),
        "hit_cell": ak.unflatten(rng.integers(0, 9, total).astype(np.int32), counts),
        "hit_energy": ak.unflatten(rng.exponential(1, total).astype(np.float32), counts),
    }


def part(columns: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    return {name: values[start:stop] for name, values in columns.items()}


def saved(path: Path, columns: dict[str, Any], *, name: str = "sim/showers", **options: Any) -> Path:
    """A file of `columns`, handed over in pieces that are no whole clusters."""
    options = {"rows": ROWS, "title": "made up", "counters": dict.fromkeys(columns, "nhit")} | options
    with tree_file(path, name, content="rows", **options) as tree:
        for start in range(0, len(columns["energy"]), 33):
            tree.extend(part(columns, start, start + 33))
    return path


def read(path: Path, name: str = "sim/showers") -> Any:
    with uproot.open(path) as file:
        return file[name].arrays()


@pytest.mark.parametrize("compression", CODEC_CASES)
@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_values_survive_every_compression(format: Any, compression: str, tmp_path: Path) -> None:
    columns = branches(100)
    back = read(saved(tmp_path / "t.root", columns, format=format, compression=compression))
    for name, values in columns.items():
        assert ak.array_equal(back[name], values, check_regular=False), name
        assert str(ak.type(back[name])).split()[-1] == str(ak.type(ak.Array(values))).split()[-1], name


def test_compression_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    sizes = {}
    columns = branches(2000)
    for compression in ("none", "zstd:1", "lzma:9"):
        path = saved(tmp_path / "t.root", columns, compression=compression, rows=2000)
        with uproot.open(path) as file:
            codec = file.file.compression
        assert (codec and (type(codec).__name__.lower(), codec.level)) == check_compression(compression)
        sizes[compression] = path.stat().st_size
    assert sizes["none"] > sizes["zstd:1"] > sizes["lzma:9"]


@pytest.mark.parametrize(
    "text",
    ["", "zip", "zstd:", "zstd:0", "zstd:23", "lz4:13", "zlib:-1", "none:1", "zstd:1.5", "zstd:²", 5, None],
)
def test_unknown_compressions_write_nothing(text: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"compression: expected .*, got .*; write "):
        saved(tmp_path / "t.root", branches(3), compression=text)
    assert not list(tmp_path.iterdir())


def test_levels_without_a_number() -> None:
    assert check_compression(" ZSTD ") == ("zstd", CODECS["zstd"][0])
    assert check_compression("none") is None


def test_unknown_format_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format: expected 'ttree' or 'rntuple', got 'csv'"):
        saved(tmp_path / "t.root", branches(3), format="csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n", [0, 1, ROWS - 1, ROWS, ROWS + 1, 5 * ROWS + 7])
@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_any_number_of_rows(format: Any, n: int, tmp_path: Path) -> None:
    path = tmp_path / "t.root"
    columns = branches(n)
    with tree_file(path, "showers", content="rows", rows=ROWS, format=format) as tree:
        tree.extend(columns)
    back = read(path, "showers")
    assert len(back) == n
    assert ak.array_equal(back["hit_energy"], columns["hit_energy"], check_regular=False)


def test_clusters_are_baskets_of_equal_size(tmp_path: Path) -> None:
    with uproot.open(saved(tmp_path / "t.root", branches(150))) as file:
        tree = file["sim/showers"]
        assert tree.member("fAutoFlush") == ROWS
        assert tree.title == "made up"
        for branch in tree.branches:
            assert branch.entry_offsets == [0, 40, 80, 120, 150], branch.name


def test_clusters_are_not_forced_on_an_unknown_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = branches(90)
    monkeypatch.setattr(trees, "struct", SimpleNamespace(pack=lambda *_: b"not in the file"))
    with uproot.recreate(tmp_path / "t.root") as file:
        file.mktree("showers", columns)
    before = (tmp_path / "t.root").read_bytes()
    trees._mark_clusters(tmp_path / "t.root", "showers", ROWS)
    assert (tmp_path / "t.root").read_bytes() == before


def test_lists_share_one_counter(tmp_path: Path) -> None:
    with uproot.open(saved(tmp_path / "t.root", branches(100))) as file:
        tree = file["sim/showers"]
        assert tree.keys() == ["energy", "number", "layer", "nhit", "hit_cell", "hit_energy"]
        assert tree["hit_cell"].count_branch.name == tree["hit_energy"].count_branch.name == "nhit"
        np.testing.assert_array_equal(tree["nhit"].array(), ak.num(tree["hit_cell"].array()))


def test_a_branch_of_the_counter_s_name_is_kept(tmp_path: Path) -> None:
    columns = branches(20) | {"nhit": np.full(20, 7, np.int32)}
    back = read(saved(tmp_path / "t.root", columns))
    np.testing.assert_array_equal(back["nhit"], 7)
    assert ak.array_equal(back["hit_cell"], columns["hit_cell"], check_regular=False)


def test_lists_of_different_lengths_have_no_common_counter(tmp_path: Path) -> None:
    columns = branches(20)
    columns["hit_energy"] = columns["hit_energy"][:, :1]
    with pytest.raises(ValueError, match="nhit"):
        saved(tmp_path / "t.root", columns)
    assert not list(tmp_path.iterdir())


NAMES = (
    "kin.P",
    "event/hits.E",
    "E[MeV]",
    "track-pt",
    "énergie",
    "class",
    "Aux::pt",
    "a b",
    "K+_DLL",
    "1st",
    "x" * 300,
)


def test_names_are_kept_as_they_are(tmp_path: Path) -> None:
    columns = {name: np.full(5, k, np.float32) for k, name in enumerate(NAMES)}
    with tree_file(tmp_path / "t.root", "a b/é.t", content="rows", rows=3) as tree:
        tree.extend(columns)
    with uproot.open(tmp_path / "t.root") as file:
        assert file["a b/é.t"].keys() == [*NAMES]
        for k, name in enumerate(NAMES):
            np.testing.assert_array_equal(file["a b/é.t"][name].array(), k)


@pytest.mark.parametrize("name", ["kin.P", "event/hits", "a b", "a\\b"])
def test_names_that_an_rntuple_cannot_have(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"an RNTuple cannot have fields .*; take 'ttree'"),
        tree_file(tmp_path / "t.root", "t", content="rows", rows=3, format="rntuple") as tree,
    ):
        tree.extend({"x": np.ones(2), name: np.ones(2)})
    assert not list(tmp_path.iterdir())


def test_rows_of_a_cluster() -> None:
    assert cluster_rows(3) == 50_000
    assert cluster_rows(504) == 3968
    assert cluster_rows(504, batch=128) == 3968
    assert cluster_rows(3, batch=128) == 49_920
    assert cluster_rows(10**9) == 1
    assert cluster_rows(10**9, batch=128) == 128


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stop")])
@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_an_interrupted_file_does_not_appear(format: Any, error: BaseException, tmp_path: Path) -> None:
    def interrupted() -> None:
        with tree_file(path, "t", content="rows", rows=ROWS, format=format) as tree:
            tree.extend(branches(100))
            raise error

    path = tmp_path / "t.root"
    path.write_text("before")
    with pytest.raises(type(error)):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["t.root"]
    assert path.read_text() == "before"


# With ROOT

MACRO = """
import json, sys
import ROOT
ROOT.gROOT.SetBatch()
files, tree = json.loads(sys.argv[1]), sys.argv[2]
"""


@pytest.fixture
def root(root_python: str) -> Callable[..., Any]:
    """Run lines of Python in ROOT; they find `files` and `tree`, and print JSON at the end."""

    def run(lines: str, *files: Path, tree: str = "showers") -> Any:
        arguments = [json.dumps([str(file) for file in files]), tree]
        done = subprocess.run(
            [root_python, "-W", "ignore", "-c", MACRO + lines, *arguments],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not done.returncode, done.stderr
        assert not re.search(r"^(Error|Warning|SysError) in", done.stderr, re.MULTILINE), done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def hadd(root_python: str) -> Callable[..., Path]:
    """Merge files by ROOT's `hadd`."""
    where = "from importlib.util import find_spec; print(find_spec('ROOT').origin)"
    found = subprocess.run([root_python, "-c", where], capture_output=True, text=True, check=True)
    own = Path(found.stdout.strip()).parent / "bin" / "hadd"  # of the wheel
    program = own if own.exists() else shutil.which("hadd")

    def run(out: Path, *files: Path, options: tuple[str, ...] = ()) -> Path:
        command = [str(word) for word in (program, *options, out, *files)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert not done.returncode, done.stderr
        assert not re.search("^Error", done.stderr, re.MULTILINE), done.stderr
        return out

    return run


SUMS = """
def sums(files):
    frame = ROOT.RDataFrame(tree, files)
    booked = [frame.Sum(name) for name in ("energy", "number", "hit_cell", "hit_energy", "layer")]
    return [float(sum.GetValue()) for sum in booked]
ROOT.EnableImplicitMT(2)
"""


def expected_sums(*samples: dict[str, Any]) -> Any:
    return pytest.approx(
        [
            sum(
                float(np.sum(ak.to_numpy(ak.flatten(sample[name], axis=None)), dtype=float))
                for sample in samples
            )
            for name in ("energy", "number", "hit_cell", "hit_energy", "layer")
        ],
        rel=1e-5,
    )


def test_root_reads_every_compression_and_rntuples(root: Callable[..., Any], tmp_path: Path) -> None:
    columns = branches(500)
    given = [{"compression": text} for text in ("zstd:5", "lz4:4", "zlib:6", "lzma:1", "none")]
    given += [{"format": "rntuple"}, {"format": "rntuple", "compression": "none"}]
    files = [
        saved(tmp_path / f"{k}.root", columns, name="showers", **options) for k, options in enumerate(given)
    ]
    results = root(SUMS + "print(json.dumps([sums([file]) for file in files]))", *files)
    assert results == [expected_sums(columns)] * len(given)


CLUSTERS = """
file = ROOT.TFile(files[0])
tree = file.Get(tree)
clusters, starts = tree.GetClusterIterator(0), []
while (start := clusters()) < tree.GetEntries():
    starts.append(start)
counted = ROOT.TTree.Draw(tree, "hit_energy", "hit_cell == 3 && nhit > 1", "goff")
scanned = tree.Scan("number:nhit:layer[1][2]:hit_energy", "", "", 2)
titles = [tree.GetTitle(), *(b.GetTitle() for b in tree.GetListOfBranches())]
ROOT.EnableImplicitMT(2)
slots = ROOT.RDataFrame(tree).DefinePerSample("first", "(ULong64_t) rdfsampleinfo_.EntryRange().first")
ranges = sorted(set(slots.Take["ULong64_t"]("first").GetValue()))
print(json.dumps([starts, counted, scanned, titles, ranges]))
"""


BY_NAME = """
file = ROOT.TFile(files[0])
tree = file.Get(tree)
names = [str(branch.GetName()) for branch in tree.GetListOfBranches()]
print(json.dumps({name: float(ROOT.RDataFrame(tree).Sum["float"](name).GetValue()) for name in names}))
"""


def test_root_finds_every_name(root: Callable[..., Any], tmp_path: Path) -> None:
    with tree_file(tmp_path / "t.root", "t", content="rows", rows=3) as tree:
        tree.extend({name: np.full(5, k, np.float32) for k, name in enumerate(NAMES)})
    assert root(BY_NAME, tmp_path / "t.root", tree="t") == {name: 5 * k for k, name in enumerate(NAMES)}


def test_root_sees_the_clusters(root: Callable[..., Any], tmp_path: Path) -> None:
    columns = branches(150)
    path = saved(tmp_path / "t.root", columns, name="showers")
    starts, counted, scanned, titles, ranges = root(CLUSTERS, path)
    assert starts == [0, 40, 80, 120]
    assert len(ranges) > 1, "shared out to threads"
    chosen = columns["hit_energy"][(columns["hit_cell"] == 3) & (ak.num(columns["hit_cell"]) > 1)]
    assert counted == ak.count(chosen) > 5
    assert scanned == sum(max(1, len(hits)) for hits in columns["hit_energy"][:2])
    assert titles[0] == "made up"
    assert titles[-1] == "hit_energy[nhit]/F"


def test_hadd_merges_trees(hadd: Callable[..., Path], root: Callable[..., Any], tmp_path: Path) -> None:
    samples = [branches(n, seed=n) for n in (500, 37, 130)]
    files = [
        saved(tmp_path / f"{k}.root", sample, name="showers", notes={"units": json.dumps({"energy": k})})
        for k, sample in enumerate(samples)
    ]
    copied = hadd(tmp_path / "copied.root", *files)
    fast = hadd(tmp_path / "fast.root", *files, options=("-ff",))
    lines = SUMS + "print(json.dumps([sums(files[:1]), sums(files[1:2]), sums(files[2:])]))"
    assert root(lines, copied, fast, *files) == [expected_sums(*samples)] * 3, "merged, and as a chain"
    for merged in (copied, fast):
        back = read(merged, "showers")
        for name in samples[0]:
            whole = ak.concatenate([sample[name] for sample in samples])
            assert ak.array_equal(back[name], whole, check_regular=False), name
        with uproot.open(merged) as file:
            assert json.loads(file["units"])["energy"] in range(3)
            assert [key for key in file.keys(cycle=True) if key.startswith("showers")] == ["showers;1"]


SNAPSHOT = """
options = ROOT.RDF.RSnapshotOptions()
options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kRNTuple
ROOT.RDataFrame(tree, files[1:]).Snapshot(tree, files[0], "", options)
print(json.dumps(sums(files[:1])))
"""


def test_root_merges_rntuples_by_a_snapshot(
    hadd: Callable[..., Path], root: Callable[..., Any], tmp_path: Path
) -> None:
    """The way around that docs/root.md gives: `hadd` needs checksums of pages, which uproot does not write."""
    samples = [branches(n, seed=n) for n in (200, 37)]
    files = [
        saved(tmp_path / f"{k}.root", sample, name="showers", format="rntuple")
        for k, sample in enumerate(samples)
    ]
    merged = tmp_path / "merged.root"
    assert root(SUMS + SNAPSHOT, merged, *files) == expected_sums(*samples)
    assert len(read(hadd(tmp_path / "again.root", merged, merged), "showers")) == 2 * 237
    with pytest.raises(AssertionError, match="RNTuple"):  # else the remark in docs/root.md and --help can go
        hadd(tmp_path / "direct.root", *files)
