"""State of a run: saved and restored to the last bit."""

import pytest
import torch

from hepgan.errors import ModelFileError, TrainingDiverged
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


@pytest.mark.parametrize("name", ["recipe", "plain_tracks"])
def test_a_restored_state_goes_on_as_the_one_that_was_saved(name, tmp_path, request):
    build = request.getfixturevalue(name)
    settings = build()
    run = set_up(settings, tmp_path / "run", resume=False, progress=False)
    state = run.state
    state.validate(run.validation)
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


def test_the_best_weights_are_those_of_the_smallest_distance(plain_tracks, tmp_path):
    state = set_up(plain_tracks(), tmp_path / "run", resume=False, progress=False).state
    first = state.average.state_dict()["network.last.bias"].clone()
    for distance, step_number in ((0.3, 0), (0.4, 1), (0.2, 2), (0.2, 3)):
        state.step = step_number
        state.average.network.last.bias.data.fill_(step_number)
        numbers = {"distance": distance}
        assert state.validate(lambda _, stopped, numbers=numbers: numbers) == numbers
        assert (state.best_step, state.best_distance) == ((0, 0.3) if step_number < 2 else (2, 0.2))
    assert torch.equal(state.best["network.last.bias"], torch.full_like(first, 2))


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    checkpoint.save(path, {"model": {"w": torch.ones(1)}}, {"step": 2, "device": "cpu"})
    with pytest.raises(ModelFileError, match="not the checkpoint of a run"):
        SavedState.read(path)


@pytest.fixture
def saved_thrice(plain_tracks, tmp_path):
    """Path of the newest of three checkpoints, of steps 1, 2 and 3."""
    run = set_up(plain_tracks(), tmp_path / "run", resume=False, progress=False)
    for _ in range(3):
        step(run, run.state)
        run.state.save(run.folder.checkpoint)
    return run.folder.checkpoint


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "a flipped bit":
        content[-100] ^= 4
    path.write_bytes({"empty": b"", "truncated": content[:-50], "garbage": b"garbage" * 99}.get(how, content))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(saved_thrice, caplog):
    before = saved_thrice.with_name("state-2.safetensors")
    whole = saved_thrice.read_bytes()
    for how in ("empty", "truncated", "garbage", "a flipped bit"):
        caplog.clear()
        saved_thrice.write_bytes(whole)
        assert SavedState.read(saved_thrice).progress.step == 3
        assert caplog.text == ""
        damage(saved_thrice, how)
        assert SavedState.read(saved_thrice).progress.step == 2
        assert f"{saved_thrice}: " in caplog.text
        assert f"taking the one before, {before}, of step 2" in caplog.text
    damage(before, "a flipped bit")
    saved_thrice.unlink()
    assert SavedState.read(saved_thrice).progress.step == 1
    damage(before.with_name("state-1.safetensors"), "truncated")
    with pytest.raises(
        ModelFileError, match=r"state-2.*damaged.*state-1.*damaged.*no other checkpoint is left: "
    ):
        SavedState.read(saved_thrice)


def test_a_state_that_is_not_finite_is_not_saved(plain_tracks, tmp_path):
    run = set_up(plain_tracks(), tmp_path / "run", resume=False, progress=False)
    step(run, run.state)
    run.state.save(run.folder.checkpoint)
    whole = run.folder.checkpoint.read_bytes()
    step(run, run.state)
    weight = next(run.state.critic.parameters())
    moment = run.state.critic_optimizer.state[weight]["exp_avg_sq"]
    for tensor, name in ((weight.data, r"critic\."), (moment, r"optimizer_critic\.0\.exp_avg_sq")):
        kept = tensor.view(-1)[0].item()
        tensor.view(-1)[0] = torch.inf
        with pytest.raises(TrainingDiverged, match=rf"1 of \d+ tensors are not finite at step 2 \({name}"):
            run.state.save(run.folder.checkpoint)
        tensor.view(-1)[0] = kept
    assert run.folder.checkpoint.read_bytes() == whole


def test_a_checkpoint_of_another_architecture_is_named(plain_tracks, tmp_path):
    run = set_up(plain_tracks(), tmp_path / "run", resume=False, progress=False)
    run.state.save(run.folder.checkpoint)
    other = plain_tracks()
    other = other.model_copy(update={"model": other.model.model_copy(update={"width": 16})})
    with pytest.raises(ModelFileError, match=r"the checkpoint of step 0 does not fit the model"):
        RunState.restore(other, SavedState.read(run.folder.checkpoint))
