"""Default spaces: one for each model, of keys that the objective has, with the configuration itself in it."""

import pytest

from hepgan import config
from hepgan.models import MODELS
from hepgan.objectives import OBJECTIVES, chosen
from hepgan.studies.spaces import SPACES, own_values, space_of

LAYER = {"shape": [2, 3], "x": [-10.0, 10.0], "y": [-15.0, 15.0], "z": [0.0, 10.0]}


def recipe(model, objective):
    data = {"files": ["none.root"], "conditions": [{"name": "incident_energy"}]}
    if model == "calo":
        data["calorimeter"] = {"branches": ["layer_0"], "layers": [LAYER]}
    else:
        data["targets"] = [{"name": "x"}, {"name": "y"}]
    return config.parse({"data": data, "model": {"name": model}, "objective": {"name": objective}})


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_and_objective_has_a_space_that_fits(model, objective):
    given = recipe(model, objective)
    space = space_of(given)
    played, regulariser = chosen(given.objective)
    assert SPACES[model].keys() <= space.keys()
    assert ("training.lr_critic" in space) == (played.game is not None)
    assert ("objective.penalty" in space) == (regulariser.at is not None)
    checked = config.parse(
        {
            **given.model_dump(mode="json", exclude_none=True),
            "tune": {"space": {key: value.model_dump() for key, value in space.items()}},
        }
    )
    assert space_of(checked) == space


def test_own_values_are_those_in_range():
    given = recipe("dll", "wgan-gp")
    space = {
        "training.lr_critic": config.Dimension(
            low=1e-3, high=1e-2, log=True
        ),  # the default, 5e-4, is outside
        "training.batch_size": config.Dimension(low=64, high=512, step=64),
        "model.depth": config.Dimension(low=1, high=7, step=2),  # 4 is between two values
        "model.width": config.Dimension(choices=(64, 128)),
    }
    assert own_values(space, given) == {"training.batch_size": 256, "model.width": 64}
