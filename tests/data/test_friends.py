"""Friend trees are named where a branch is missing, and by inspect."""

from pathlib import Path

import pytest
import uproot

from hepgan.data.friends import friends, unread
from hepgan.data.inspection import inspect
from hepgan.data.reading import read
from hepgan.errors import DataError

ROOT_FILES = Path(__file__).parents[1] / "root_files"


def test_friends_are_named(tiny_data) -> None:
    path = str(ROOT_FILES / "layouts.root")
    assert inspect(path).trees[0].friends == ("'angles' of angles.root",)
    data = tiny_data([path])
    with pytest.raises(
        DataError,
        match=r"no branch 'overflow' .*friend trees \('angles' of angles.root\), .*write one tree .*Snapshot",
    ):
        read(data)


def test_trees_without_friends(data_dir) -> None:
    for path in (data_dir / "eplus_test.root", ROOT_FILES / "importer.root"):
        with uproot.open(path) as file:
            tree = file["showers"]
            assert friends(tree) == []
            assert unread(tree) == ""
