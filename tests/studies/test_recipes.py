"""Rows of the benchmark and their configurations."""

import pytest

from hepgan.objectives import chosen
from hepgan.studies.recipes import ROWS, find_row, recipe
from hepgan.studies.work import WORK


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_a_configuration(name):
    row = ROWS[name]
    config = recipe(WORK["ring"], row, steps=7, seed=2, settings=["model.width=8"])
    objective, _ = chosen(config.objective)
    assert not objective.own or row.model  # the model of the others has no loss of its own
    assert (config.training.steps, config.training.seed, config.training.warm_up, config.model.width) == (
        7,
        2,
        0,
        8,
    )


def test_any_objective_goes_with_any_regulariser():
    row = find_row("hinge+dragan")
    assert row.objective == {"name": "hinge", "regulariser": "dragan"}
    for name in ("hing", "hing+r1"):
        with pytest.raises(
            ValueError, match=rf"--rows '{name.replace('+', '.')}': there is no such row; did you mean"
        ):
            find_row(name)
