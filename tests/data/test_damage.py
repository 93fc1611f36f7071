"""Damaged files: our error or the right numbers; never another exception, nor other numbers where a checksum is."""

import random
import re
import shutil
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest
import uproot
from root_files.make import FOLDER

from hepgan.config import DataConfig
from hepgan.data.convert import convert_hdf5
from hepgan.data.inspection import inspect
from hepgan.data.reading import iterate_conditions, read
from hepgan.errors import DataError, HepganError

CASES = 40
CODECS = {
    "zlib": uproot.ZLIB(1),
    "lzma": uproot.LZMA(1),
    "lz4": uproot.LZ4(1),
    "zstd": uproot.ZSTD(1),
    "none": None,
}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Flip a bit, set a length to 2^31 - 1, zero a range, or cut the end; anywhere, often near an end."""
    data = bytearray(content)
    near_end = min(len(data), 2000)
    at = rng.choice(
        [rng.randrange(near_end), len(data) - 1 - rng.randrange(near_end), rng.randrange(len(data))]
    )
    kind = rng.randrange(4)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at : at + 4] = b"\x7f\xff\xff\xff"[: len(data) - at]
    elif kind == 2:
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    else:
        del data[at:]
    return bytes(data)


@pytest.mark.parametrize("rntuple", [False, True], ids=["TTree", "RNTuple"])
def test_damaged_root_files(tmp_path, rntuple) -> None:
    rng = random.Random(5)
    numbers = np.random.default_rng(1)
    contents = []
    for name, codec in CODECS.items():
        with uproot.recreate(tmp_path / f"{name}.root", compression=codec) as file:
            make = file.mkrntuple if rntuple else file.mktree
            lists = ak.unflatten(np.ones(90, np.float32), np.arange(90) % 3)
            make("tracks", {"P": "f8", "j": "var * float32"}).extend(
                {"P": np.round(numbers.exponential(1, 90), 1) + 1, "j": lists}
            )
        contents.append((tmp_path / f"{name}.root").read_bytes())
    data = DataConfig.model_validate({
        "files": [str(tmp_path / "bad.root")], "tree": "tracks",
        "conditions": [{"name": "P", "transform": "log"}], "targets": [{"name": "j"}],
    })  # fmt: skip
    messages = []
    for case in range(CASES):
        (tmp_path / "bad.root").write_bytes(damaged(contents[case % len(contents)], rng))
        for use in (inspect, lambda path: read(data), lambda path: list(iterate_conditions(data, path))):
            try:
                use(tmp_path / "bad.root")
            except HepganError as error:
                messages.append(str(error))
    assert len(messages) > CASES / 2
    assert all(message.startswith((str(tmp_path), "data.targets", "data.conditions")) for message in messages)


def test_damaged_hdf5_files(tmp_path) -> None:
    rng = random.Random(6)
    numbers = np.random.default_rng(1)
    with h5py.File(tmp_path / "good.hdf5", "w") as file:
        options = {"compression": "gzip", "fletcher32": True}
        file.create_dataset("energy", data=numbers.uniform(1, 100, (60, 1)), **options)
        file.create_dataset("layer_0", data=numbers.exponential(1, (60, 3, 4)), **options)
    convert_hdf5(tmp_path / "good.hdf5", tmp_path / "good.root")
    with uproot.open({tmp_path / "good.root": "showers"}) as tree:
        expected = tree.arrays(library="np")
    content = (tmp_path / "good.hdf5").read_bytes()
    messages = []
    for _ in range(CASES):
        (tmp_path / "bad.hdf5").write_bytes(damaged(content, rng))
        try:
            convert_hdf5(tmp_path / "bad.hdf5", tmp_path / "bad.root")
        except HepganError as error:
            messages.append(str(error))
            continue
        with uproot.open({tmp_path / "bad.root": "showers"}) as tree:
            for name, values in tree.arrays(library="np").items():
                np.testing.assert_array_equal(values, expected[name])
    assert len(messages) > CASES / 4
    assert all(message.startswith(str(tmp_path / "bad.hdf5")) for message in messages)


def test_each_flipped_page_of_an_rntuple_is_seen(tmp_path) -> None:
    path = tmp_path / "bad.root"
    content = (FOLDER / "fields.root").read_bytes()
    with uproot.open({FOLDER / "fields.root": "fields"}) as ntuple:
        columns = [column for cluster in ntuple.page_link_list for column in cluster]
        pages = [page for column in columns for page in column.pages if page.has_checksum]
    assert len(pages) > 20
    (whole,) = inspect(FOLDER / "fields.root").trees
    for page in pages:
        flipped = bytearray(content)
        flipped[page.locator.offset + page.locator.num_bytes // 2] ^= 1
        path.write_bytes(flipped)
        (tree,) = inspect(path).trees
        if "text" in {branch.name for branch in tree.branches if branch.problem}:
            continue
        problems = [branch for branch in tree.branches if branch.problem]
        assert all("differs from its checksum" in branch.problem for branch in problems)
        others = {branch.name for branch in problems}
        same = [(a, b) for a, b in zip(tree.branches, whole.branches, strict=True) if a.name not in others]
        assert all(repr(a) == repr(b) for a, b in same)


def test_damaged_lists_of_pages_and_headers(tmp_path) -> None:
    with uproot.open({FOLDER / "fields.root": "fields"}) as ntuple:
        (record,) = ntuple.footer.cluster_group_records
        place = record.page_list_link.locator
        header = ntuple.member("fSeekHeader")
    for at in (place.offset + place.num_bytes // 2, header + 20):
        path = Path(shutil.copy(FOLDER / "fields.root", tmp_path))
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{re.escape(str(path))}: cannot read tree 'fields': "):
            inspect(path)
