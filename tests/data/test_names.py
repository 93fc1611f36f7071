"""Names of the training file that go into the exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgan.data.names import completed
from hepgan.errors import DataError, NotFoundError

HITS = {"cell": "hit_cell", "energy": "hit_energy"}


def hits_file(path: Path, *, tree: str = "sim/Events", counter: str = "n_hits") -> str:
    cells = ak.Array([[0, 1], [], [3]])
    with uproot.recreate(path) as file:
        branches = {"incident_energy": np.ones(3), "hit_cell": cells, "hit_energy": cells * 0.5}
        file.mktree(tree, branches, counter_name=lambda _: counter)
    return str(path)


def test_tree_and_counter_of_the_training_file(tmp_path: Path, tiny_data: Any) -> None:
    files = [hits_file(tmp_path / "a.root")]
    data = tiny_data(files, "cell_ids", calorimeter={"overflow": None})
    named = completed(data)
    assert named.output_tree == "sim/Events"
    assert named.calo.hits.count == named.calo.hits.counter == "n_hits"
    assert named.tree == "", "the name of the tree in other files stays open"
    assert completed(named) == named


def test_what_is_written_in_the_configuration_stays(tmp_path: Path, tiny_data: Any) -> None:
    files = [hits_file(tmp_path / "a.root")]
    hits = HITS | {"count": "mine"}
    data = tiny_data(files, "cell_ids", output_tree="showers", calorimeter={"hits": hits, "overflow": None})
    assert completed(data) == data


def test_vectors_and_rntuples_have_no_counter(tmp_path: Path, tiny_data: Any, tiny_file: Any) -> None:
    with uproot.recreate(tmp_path / "n.root") as file:
        file.mkrntuple("showers", {"hit_cell": ak.Array([[0], []]), "hit_energy": ak.Array([[0.5], []])})
    named = completed(tiny_data([str(tmp_path / "n.root")], "cell_ids"))
    assert named.calo.hits.count is None
    assert named.calo.hits.counter == "nhit"
    assert completed(tiny_data([tiny_file("arrays")])).output_tree == "showers"


def test_files_that_cannot_be_named(tmp_path: Path, tiny_data: Any) -> None:
    with pytest.raises(NotFoundError, match=r"absent\.root"):
        completed(tiny_data([str(tmp_path / "absent.root")]))
    with uproot.recreate(tmp_path / "two.root") as file:
        for tree in ("a", "b"):
            file.mktree(tree, {"x": np.ones(3)})
    with pytest.raises(DataError, match="expected one tree"):
        completed(tiny_data([str(tmp_path / "two.root")]))


@pytest.mark.parametrize(
    ("energy", "cell", "counter"),
    [
        ("hit_energy", "hit_cell", "nhit"),
        ("hits.E", "hits.id", "nhits"),
        ("event/calo.E", "event/calo.id", "ncalo"),
        ("e", "id", "nhits"),
        ("hit_energy", "cell_id", "nhits"),
    ],
)
def test_counter_without_a_training_file(energy: str, cell: str, counter: str, tiny_data: Any) -> None:
    data = tiny_data(["none.root"], "cell_ids", calorimeter={"hits": {"energy": energy, "cell": cell}})
    assert data.calo.hits.counter == counter
