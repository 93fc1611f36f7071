"""metrics.jsonl of a run that goes on."""

import contextlib
import json
import math
from pathlib import Path

import pytest

from hepgan.progress import _DISPLAY, shown
from hepgan.training import log
from hepgan.training.log import EventRate, Log, ProgressBar
from hepgan.training.run_folder import RunFolder


def test_lines_after_the_checkpoint_and_broken_ones_are_dropped(tmp_path):
    folder = RunFolder(tmp_path)
    folder.log.write_text('{"step": 0}\n{"step": 5, "a": 1.0}\n{"step": 10}\n{"step": 15}\n{"st')
    with Log(folder, step=10, tensorboard=False) as lines:
        lines.write({"step": 11, "a": math.inf})
    assert [json.loads(text)["step"] for text in folder.log.read_text().splitlines()] == [0, 5, 10, 11]
    with Log(folder, step=-1, tensorboard=False):
        pass
    assert folder.log.read_text() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said(tmp_path):
    message = r"log .*metrics.jsonl could not be written \(No space left on device\); make room"
    with Log(RunFolder(tmp_path), step=-1, tensorboard=False) as lines, Path("/dev/full").open("w") as full:
        lines.file.close()
        lines.file = full
        with pytest.raises(OSError, match=message):
            lines.write({"step": 1})
        with contextlib.suppress(OSError):
            full.close()


def test_rate_counts_events_since_it_was_restarted(monkeypatch):
    seconds = iter([0.0, 2.0, 5.0, 7.0])
    monkeypatch.setattr(log.time, "monotonic", lambda: next(seconds))
    rate = EventRate()  # at 0 s
    rate.count(100)
    rate.count(20)
    assert rate.per_second() == 60  # at 2 s
    rate.count(1000)
    rate.restart()  # at 5 s
    rate.count(8)
    assert rate.per_second() == 4  # at 7 s


def test_bar_keeps_numbers_that_a_line_lacks():
    with shown(True), ProgressBar(100, 7) as bar:
        bar.update(10, {"wasserstein": 0.5, "lr": 1e-3})
        bar.update(11, {"distance": 0.25, "auc_boosting": 0.7, "auc": 0.625})
        (training,) = _DISPLAY.get().stages
    assert (training.done, training.total) == (11, 100)
    assert training.note == "W 0.500  distance 0.2500  AUC 0.625"
