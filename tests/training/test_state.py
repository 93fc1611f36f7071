"""State of a run: saved and restored to the last bit."""

import pytest
import torch

from hepgan.errors import ModelFileError
from hepgan.objectives import chosen
from hepgan.training import checkpoint
from hepgan.training.setup import set_up
from hepgan.training.state import RunState, SavedState
from hepgan.training.steps import critic_step, generator_step, update_average

pytestmark = pytest.mark.usefixtures("quick_chances")


def step(run, state):
    """One step of both networks."""
    settings = run.config
    objective, regulariser = chosen(settings.objective)
    batches = [run.events.batch(settings.training.batch_size, rng=state.batch_rng) for _ in range(2)]
    critic_step(state, batches[0], objective, regulariser, settings)
    generator_step(state, batches[1], objective, settings)
    state.step += 1
    update_average(state, decay=settings.training.ema)


@pytest.mark.parametrize("name", ["recipe", "track_recipe"])
def test_a_restored_state_goes_on_as_the_one_that_was_saved(name, tmp_path, request):
    build = request.getfixturevalue(name)
    settings = build() if name == "recipe" else build(objective="wgan-gp")
    run = set_up(settings, tmp_path / "run", resume=False, progress=False)
    state = run.state
    state.validate(run.distance)
    step(run, state)
    step(run, state)
    state.save(run.folder.checkpoint)
    before = torch.random.get_rng_state()
    restored = RunState.restore(settings, SavedState.read(run.folder.checkpoint))
    assert torch.equal(torch.random.get_rng_state(), before), "global random numbers are left alone"
    assert (restored.step, restored.best_step, restored.best_distance) == (2, 0, state.best_distance)
    paths = [tmp_path / f"{k}.safetensors" for k in range(2)]
    for each, path in zip((state, restored), paths, strict=True):
        step(run, each)
        each.save(path)
    (a, texts_a), (b, texts_b) = map(checkpoint.load, paths)
    assert texts_a == texts_b
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def test_the_best_weights_are_those_of_the_smallest_distance(track_recipe, tmp_path):
    state = set_up(track_recipe(), tmp_path / "run", resume=False, progress=False).state
    assert state.best == {}
    first = state.average.state_dict()["network.last.bias"].clone()
    for distance, step_number in ((0.3, 0), (0.4, 1), (0.2, 2), (0.2, 3)):
        state.step = step_number
        state.average.network.last.bias.data.fill_(step_number)
        assert state.validate(lambda _, distance=distance: distance) == distance
        assert (state.best_step, state.best_distance) == ((0, 0.3) if step_number < 2 else (2, 0.2))
    assert torch.equal(state.best["network.last.bias"], torch.full_like(first, 2))


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    checkpoint.save(path, {"model": {"w": torch.ones(1)}}, {"step": "two"})
    with pytest.raises(ModelFileError, match="not the checkpoint of a run"):
        SavedState.read(path)
