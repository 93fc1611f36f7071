"""Events for an evaluation are those that the training has not seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hepgan.config import DataConfig
from hepgan.data.events import Events
from hepgan.data.held_out import evaluation_events
from hepgan.data.preparing import prepare
from hepgan.errors import DataError
from hepgan.files import digest


def evaluated(data: DataConfig, run: Path, **options: Any) -> tuple[Events, Events | None]:
    """Events for the evaluation of a run folder."""
    defaults = {"asked": data, "files": None, "data_sha256": "", "with_training": True}
    return evaluation_events(data, seed=1, model=run, progress=False, **(defaults | options))


def test_evaluation_refuses_events_of_the_training(tiny_data, two_files, tmp_path, caplog):
    data = tiny_data([two_files[0]])
    reference, training = evaluated(data, tmp_path)
    assert (len(reference), len(training)) == (5, 40)
    assert len(evaluated(data, tmp_path, files=[two_files[1]])[0]) == 50
    for with_training in (True, False):
        with pytest.raises(
            DataError,
            match=r"--data: expected events that the training has not seen, got 40 of 50 .*leave out",
        ):
            evaluated(data, tmp_path, files=[two_files[0]], with_training=with_training)
    asked = data.model_copy(update={"repeated": "keep"})
    assert len(evaluated(data, tmp_path, files=[two_files[0]], asked=asked)[0]) == 50
    gone = tiny_data(["gone.root"])
    assert len(evaluated(gone, tmp_path, files=[two_files[0]], with_training=False)[0]) == 50
    assert "whether the training has seen the events is not known" in caplog.text


def test_evaluation_refuses_a_model_that_was_trained_on_its_test_files(tiny_data, two_files, tmp_path):
    data = tiny_data([str(Path(two_files[0]).with_name("run_*.root"))], test_files=[two_files[1]])
    assert len(evaluated(data, tmp_path, data_sha256=digest([two_files[0]]))[0]) == 50
    with pytest.raises(DataError, match=r"got a model that was trained on all of data.files, these included"):
        evaluated(data, tmp_path, data_sha256=digest(two_files))


@pytest.mark.usefixtures("small_pieces")
def test_a_streamed_training_is_evaluated_on_the_same_events(tiny_data, two_files, tmp_path):
    """Those of the cache, which need not fit into the memory."""
    data = tiny_data([two_files[0]])
    stored = data.model_copy(update={"cache": str(tmp_path / "cache")})
    prepare(stored, tmp_path / "cache", progress=False)
    for a, b in zip(evaluated(data, tmp_path), evaluated(stored, tmp_path), strict=True):
        np.testing.assert_array_equal(a.cells, b.cells)
    assert len(evaluated(stored, tmp_path, files=[two_files[1]])[0]) == 50
    with pytest.raises(
        DataError, match=r"--data: expected events that the training has not seen, got 45 of 50"
    ):
        evaluated(stored, tmp_path, files=[two_files[0]])
    asked = data.model_copy(update={"repeated": "keep"})
    assert len(evaluated(stored, tmp_path, files=[two_files[0]], asked=asked)[0]) == 50
