"""Data sets of the benchmark."""

import pytest

from hepgan.studies.work import WORK, Work, find_work


def test_a_file_of_showers_is_compared_on_the_energies_of_its_layers(data_dir):
    work = find_work(str(data_dir / "eplus.root"))
    assert [target["branch"] for target in work.data["targets"]] == [f"sum(layer_{k})" for k in range(3)]
    with pytest.raises(
        ValueError, match=r"expected showers with one array branch a layer, got layout 'hits'"
    ):
        find_work(str(data_dir / "eplus_hits.root"))


def test_the_shipped_sample_is_in_a_checkout_only(monkeypatch):
    missing = {**WORK["calorimeter"].data, "files": ["none/eplus.root"]}
    monkeypatch.setitem(WORK, "calorimeter", Work(missing))
    with pytest.raises(FileNotFoundError, match=r"--data calorimeter: expected the sample none/eplus.root"):
        find_work("calorimeter")


def test_a_name_without_a_data_set_is_refused():
    with pytest.raises(
        ValueError, match=r"--data 'rings': expected a ROOT file or a data set; did you mean 'ring'"
    ):
        find_work("rings")
