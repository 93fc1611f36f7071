"""Progress in a log: silent unless asked for, a line for what takes long, and nothing that outlives its stage."""

from __future__ import annotations

import re
import threading
import time

import pytest

from hepgan import progress
from hepgan.progress import duration, event_bar, shown, stage


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_FIRST", 0.1)


def test_a_long_stage_says_how_far_it_is_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(True), stage("fitting", total=10) as outer, stage("correlations", total=4) as update:
        update(1, note="node 1")
        time.sleep(0.5)
        outer(5)
    output, lines = capsys.readouterr()
    assert output == ""
    so_far, inner_done, outer_done = lines.splitlines()
    assert re.fullmatch(r"correlations: 1 of 4, \d s so far, about \d s left, node 1", so_far)
    assert re.fullmatch(r"correlations: done in \d s", inner_done)
    assert re.fullmatch(r"fitting: done in \d s", outer_done)
    time.sleep(0.3)
    assert not any("_beat" in thread.name for thread in threading.enumerate())


def test_short_stages_and_those_not_asked_for_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(True), stage("quick") as update:
        update(3)
    with stage("nobody asked"), event_bar("hidden", total=None, show=False) as show_done:
        show_done(1)
        time.sleep(0.4)
    with shown(True), shown(False), stage("hidden inside"):
        time.sleep(0.4)
    assert capsys.readouterr() == ("", "")


def test_a_stage_that_fails_does_not_claim_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        with shown(True), stage("work"):
            time.sleep(0.4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert "done" not in capsys.readouterr().err
    assert progress._DISPLAY.get() is None


@pytest.mark.parametrize(("seconds", "words"), [(8, "8 s"), (240, "4 min"), (9000, "2.5 h")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
