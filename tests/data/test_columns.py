"""Columns of trees: every type that is accepted is compared with the truth of files that ROOT wrote."""

import math
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
import uproot
from root_files.make import CODES, ENTRIES, FOLDER, RANGES, truth, whole

from hepgan.data.columns import Streams, columns, short_names
from hepgan.data.inspection import inspect
from hepgan.data.root import branch_keys, chunks, find_branch, open_file, open_tree
from hepgan.errors import DataError

LENGTH = np.arange(ENTRIES) % 4  # of each list
TEXTS = {"text", "event.text", "event/text", "texts"}
UNSUPPORTED = {
    "mixed": "TLeafF, TLeafD32",
    "whole_packed": "Packed",
    "ranged": "Ranged",
    "whole_event": "Event",
    "WholeTrack": "TClonesArray",
}


def number_of(name: str) -> int | None:
    """The number of a column, from the last digits of its name."""
    match = re.search(r"_(\d+)(\[\d+\])*$", name)
    return int(match[1]) if match else None


def expected(i: int, k: int, c: int, values: np.ndarray, code: str = "") -> float:
    if values.dtype.kind == "b":
        return whole(i, k, c) % 2
    if values.dtype.kind in "iu":
        return whole(i, k, c)
    return min(truth(i, k, c), RANGES.get(code.partition("[")[2].rstrip("]"), math.inf))


def assert_true(
    values: ak.Array, c: int, *, code: str = "", tolerance: float = 0.0, shift: bool = False
) -> None:
    """Compare the values of column c; with `shift`, element k of a list is that of entry i + k."""
    for i, entry in enumerate(ak.to_list(values)):
        got = np.asarray(entry)
        if shift:
            want = [expected(i + k, j, c, got) for k, row in enumerate(entry) for j in range(np.size(row))]
        else:
            want = [expected(i, k, c, got, code) for k in range(got.size)]
        np.testing.assert_allclose(
            got.ravel().astype(float), want, rtol=0, atol=tolerance, err_msg=f"entry {i}"
        )


def arrays(name: str, pool: ThreadPoolExecutor | None = None) -> dict[str, ak.Array]:
    """Each readable column of numbers of a file, read in steps of three entries."""
    with open_file(FOLDER / f"{name}.root") as file:
        found = {key: column for key, column in columns(open_tree(file)).items() if column.numeric}
        streams = Streams(found.values(), pool=pool)
        parts: dict[str, list[ak.Array]] = {}
        for stop in (*range(3, ENTRIES, 3), ENTRIES):
            for column, values in streams.take(stop):
                if not isinstance(values, Exception):
                    parts.setdefault(column.name, []).append(values)
        return {key: ak.concatenate(part) for key, part in parts.items()}


def test_every_type_of_leaf() -> None:
    found = arrays("leaves")
    assert len(found) == 1 + 5 * len(CODES)
    shapes = {"array": (3,), "matrix": (2, 2)}
    for name, values in found.items():
        if (c := number_of(name)) is None:
            continue
        form = name.split("_")[1] if name.count("_") > 1 else ""
        if form in ("list", "rows"):
            np.testing.assert_array_equal(ak.num(values), LENGTH)
        else:
            assert ak.to_numpy(values).shape[1:] == shapes.get(form, ())
        low, high, bits = (
            (*CODES[c].partition("[")[2].rstrip("]").split(","), "32")[:3] if "[" in CODES[c] else "000"
        )
        step = 0.0 if low == high else RANGES[CODES[c].partition("[")[2].rstrip("]")] * 2 / 2 ** int(bits)
        assert_true(values, c, code=CODES[c], tolerance=step)


def test_objects_that_root_wrote() -> None:
    found = arrays("objects")
    packed = {
        "d_3": 2e-3,
        "f_7": 2e-3,
        "da_9[3]": 2e-3,
        "fa_13[3]": 2e-3,
        "d_2": 1e-8,
        "f_6": 1e-6,
        "da_10[3]": 1e-8,
    }
    for name, values in found.items():
        if (c := number_of(name)) is None or name.startswith("set"):
            continue
        member = re.split("[./]", name)[-1]
        tolerance = packed.get(member, 0.0) if "packed" in name else 0.0
        assert_true(values, c, tolerance=tolerance, shift=name.startswith(("packeds", "plains")))
    assert {
        "kin.P_1",
        "kin.d_3",
        "split/f_1",
        "dotted./dotted.f_1",
        "plain.a_5",
        "event/inner/inner.v_2",
    } <= set(found)
    assert {
        "whole_hits.e_1",
        "loose_hits.c_2",
        "deriveds.f_2",
        "loose.v_3",
        "packeds/packeds.da_9[3]",
    } <= set(found)
    lorentz = [found[f"lorentz.{name}"] for name in ("fP.fX", "fP.fY", "fP.fZ", "fE")]
    for c, values in enumerate(lorentz, start=1):
        assert_true(values, c)
        assert_true(found["lorentzes." + ("fP.fX", "fP.fY", "fP.fZ", "fE")[c - 1]], c)
    for c, name in enumerate(("PT", "Eta", "Charge"), start=1):
        assert_true(found[f"Track/Track.{name}"], c)
    for name, c in (("map.1", 1), ("pairs.first", 1), ("pairs.second", 2)):
        assert_true(found[name], c)
    assert ak.to_list(found["map.0"]) == ak.to_list(found["set_6"]) == [list(range(n)) for n in LENGTH]


@pytest.mark.parametrize("threads", [0, 3])
def test_fields_of_an_rntuple_that_root_wrote(threads: int) -> None:
    if threads:
        with ThreadPoolExecutor(threads) as pool:
            found = arrays("fields", pool)
    else:
        found = arrays("fields")
    steps = {"real_14": 20 / 2**13, "real_15": 50 / 2**26}
    for name, values in found.items():
        if name == "optional_11":
            assert np.isnan(ak.to_numpy(values)[::3]).all()
            values = ak.where(np.arange(ENTRIES) % 3 == 0, [truth(i, 0, 11) for i in range(ENTRIES)], values)
        if (c := number_of(name)) is not None:
            assert_true(values, c, tolerance=steps.get(name, 0.0))
    assert_true(found["pair.0"], 12)
    assert_true(found["pair.1"], 13)
    assert {"plain.a_5", "hits.e_1", "event.inner.v_2", "event.hits.c_2", "m_10", "b_8", "real_16"} <= set(
        found
    )


def test_arrays_behind_pointers() -> None:
    found = arrays("pointed")
    assert [number_of(name) for name in found] == [None, 1, 2, 3, 4]
    for name, values in list(found.items())[1:]:
        np.testing.assert_array_equal(ak.num(values), LENGTH)
        assert_true(values, number_of(name), tolerance=2e-3 if "d_2" in name else 0.0)


@pytest.mark.parametrize("name", ["leaves", "objects", "fields", "pointed"])
def test_inspect_shows_every_column(name) -> None:
    (tree,) = inspect(FOLDER / f"{name}.root").trees
    numeric = {branch.name for branch in tree.branches if branch.numeric}
    assert numeric == set(arrays(name))
    others = {branch.name: branch for branch in tree.branches if not branch.numeric}
    assert {key for key, branch in others.items() if not branch.problem} == TEXTS & set(others)
    problems = {key: branch for key, branch in others.items() if branch.problem}
    assert all(branch.problem.startswith("unsupported: ") for branch in problems.values())
    if name == "objects":
        assert {key: problems[key].type for key in UNSUPPORTED} == UNSUPPORTED
    else:
        assert not problems


def test_unsupported_branches_are_refused_by_their_type() -> None:
    with open_file(FOLDER / "objects.root") as file:
        tree = open_tree(file)
        for name, message in {
            "ranged": r"'ranged' \(Ranged\) of tree 'objects': unsupported: .*Double32_t with a range .*Ranged::d_1",
            "mixed": r"'mixed' \(TLeafF, TLeafD32\) of tree 'objects': unsupported: uproot .*; store it as plain",
            "many.m_1.0": r"'many\.m_1\.0' \(int32\) of tree 'objects': unsupported",
        }.items():
            with pytest.raises(DataError, match=rf"objects\.root: cannot read branch {message}"):
                list(chunks(tree, [name]))
        (part,) = chunks(tree, ["kin.P_1", "split/f_1"])  # the others are as readable as without them
        assert_true(part["split/f_1"], 1)


def test_names_with_dots_and_slashes() -> None:
    with open_file(FOLDER / "objects.root") as file:
        tree = open_tree(file)
        known = branch_keys(columns(tree))
        for written, full in {
            "kin.P_1": "kin.P_1", "kin/P_1": "kin.P_1", "P_1": "kin.P_1", "split/f_1": "split/f_1",
            "split.f_1": "split/f_1", "dotted.f_1": "dotted./dotted.f_1", "dotted/f_1": "dotted./dotted.f_1",
            "split.a_5": "split/a_5[3]", "split/a_5": "split/a_5[3]", "hits.e_1": "hits/hits.e_1",
            "Track.PT": "Track/Track.PT", "PT": "Track/Track.PT", "Track_size": "Track_size", "Track": "Track",
            "event.inner.x_1": "event/inner/inner.x_1", "inner.v_2": "event/inner/inner.v_2",
        }.items():  # fmt: skip
            assert known[written] == full
        assert "f_1" not in known
        with pytest.raises(
            DataError,
            match=r"'f_1' \(data\.cut\) stands for 'split\.f_1', 'dotted\.f_1', .*; write one",
        ):
            find_branch(tree, "f_1", label="data.cut")
    with open_file(FOLDER / "fields.root") as file:
        known = branch_keys(columns(open_tree(file)))
        assert known["hits/e_1"] == "hits.e_1"
        assert known["inner.x_1"] == known["event.inner.x_1"] == known["event/inner/x_1"] == "event.inner.x_1"


def test_a_full_name_stands_for_itself() -> None:
    names = short_names(["P", "trk/P", "calo./calo.P", "trk.Q", "m[2][3]"])
    assert names["P"] == ("P",)
    assert names["trk.P"] == ("trk/P",)
    assert names["calo.P"] == names["calo/P"] == ("calo./calo.P",)
    assert names["Q"] == ("trk.Q",)
    assert names["m"] == names["m[2][3]"] == ("m[2][3]",)


def test_letters_with_marks_may_be_one_character_or_two() -> None:
    composed, decomposed = "\u00e9nergie", "e\u0301nergie"
    assert short_names([composed])[decomposed] == (composed,)
    assert short_names([f"trk/{decomposed}"])[f"trk.{composed}"] == (f"trk/{decomposed}",)
    both = short_names([composed, decomposed])
    assert both[composed] == (composed,)
    assert both[decomposed] == (decomposed,)


@pytest.mark.slow
def test_the_root_that_is_installed_writes_the_same(root_python, tmp_path) -> None:
    command = [root_python, "-W", "ignore", str(FOLDER / "make.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": ""})
    for name in ("leaves", "objects", "fields", "pointed"):
        here, there = arrays(name), arrays(str(tmp_path / name))
        assert list(here) == list(there)
        for key, values in here.items():
            assert ak.array_equal(values, there[key], equal_nan=True), key


def test_each_basket_is_read_once(tmp_path, write_tree, monkeypatch) -> None:
    path = write_tree(tmp_path / "a.root", {"x": np.arange(100.0)}, basket=40)
    ranges = []
    original = uproot.behaviors.TBranch.TBranch.array

    def spy(self, interpretation=None, entry_start=None, entry_stop=None, **options):
        ranges.append((entry_start, entry_stop))
        return original(self, interpretation, entry_start, entry_stop, **options)

    monkeypatch.setattr(uproot.behaviors.TBranch.TBranch, "array", spy)
    with open_file(path) as file:
        parts = [part["x"] for part in chunks(open_tree(file), ["x"], chunk="72 B")]
    assert len(parts) > 10
    np.testing.assert_array_equal(ak.concatenate(parts), np.arange(100.0))
    assert ranges == [(0, 40), (40, 80), (80, 100)]


def test_variants_are_named() -> None:
    union = ak.forms.UnionForm("i8", "i64", [ak.forms.NumpyForm("int32"), ak.forms.NumpyForm("float32")])
    field = SimpleNamespace(typename="std::variant<int,float>", to_akform=lambda: union)
    tree = SimpleNamespace(items=lambda: [("either", field)], cluster_summaries=[])
    column = columns(tree)["either"]
    assert (column.type, column.numeric) == ("std::variant<int,float>", False)
    assert str(column.error) == "values of several types"
