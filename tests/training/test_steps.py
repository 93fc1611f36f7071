"""One step of the critic, one of the generator, and the two schedules."""

import pytest
import torch

from hepgan.objectives import OBJECTIVES, chosen
from hepgan.training.setup import set_up
from hepgan.training.steps import critic_step, generator_step, set_learning_rates, update_average

pytestmark = pytest.mark.usefixtures("quick_chances")


@pytest.fixture
def run(track_recipe, tmp_path):
    """A run of WGAN-GP before its first step."""
    return set_up(track_recipe(objective="wgan-gp"), tmp_path / "run", resume=False, progress=False)


@pytest.fixture
def batch(run):
    return run.events.batch(run.config.training.batch_size, rng=run.state.batch_rng)


def weights(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def changed(network, before):
    return any(not value.equal(before[key]) for key, value in network.state_dict().items())


def test_each_step_changes_its_own_network_only(run, batch):
    state, config, (objective, regulariser) = run.state, run.config, chosen(run.config.objective)
    critic, generator, average = map(weights, (state.critic, state.generator, state.average))
    losses = critic_step(state, batch, objective, regulariser, config)
    assert list(losses) == ["penalty", "critic_loss", "wasserstein"]
    penalty = config.objective.penalty * losses["penalty"]
    assert losses["critic_loss"].item() == pytest.approx((penalty - losses["wasserstein"]).item())
    assert changed(state.critic, critic)
    assert not changed(state.generator, generator)
    critic = weights(state.critic)
    losses = generator_step(state, batch, objective, config)
    assert list(losses) == ["generator_loss"]
    assert changed(state.generator, generator)
    assert not changed(state.critic, critic)
    assert not changed(state.average, average)
    assert all(parameter.requires_grad for parameter in state.critic.parameters())


def test_steps_of_the_critic_raise_the_value_of_the_game(run, batch):
    objective, regulariser = chosen(run.config.objective)
    values = [
        critic_step(run.state, batch, objective, regulariser, run.config)["critic_loss"].item()
        for _ in range(60)
    ]
    assert sum(values[-10:]) < sum(values[:10])


def test_a_generator_lowers_the_energy_score_beside_its_game(run, batch):
    state, config = run.state, run.config
    with torch.no_grad():
        state.critic.network.last.weight.zero_()
        state.critic.network.last.bias.fill_(3.0)
    beside = config.model_copy(update={"objective": config.objective.model_copy(update={"score": 0.5})})
    before, noise = weights(state.generator), state.noise_rng.get_state()
    both = generator_step(state, batch, OBJECTIVES["wgan-gp"], beside)["generator_loss"].item()
    assert changed(state.generator, before)
    state.generator.load_state_dict(before)
    state.noise_rng.set_state(noise)
    score = generator_step(state, batch, OBJECTIVES["energy-score"], config)["generator_loss"].item()
    assert both == pytest.approx(0.5 * score - 3.0, rel=1e-5)


def test_without_a_critic_there_is_no_step_of_it(run, batch):
    _, regulariser = chosen(run.config.objective)
    with pytest.raises(ValueError, match="critic_step: expected an objective with a critic, got one without"):
        critic_step(run.state, batch, OBJECTIVES["energy-score"], regulariser, run.config)


def test_learning_rates_fall_along_a_cosine(run):
    state = run.state
    settings = run.config.training.model_copy(update={"steps": 100, "decay": 0.1, "lr_critic": 1e-2})
    for step, factor in ((0, 1.0), (50, 0.55), (100, 0.1)):
        state.step = step
        set_learning_rates(state, settings)
        (generator,), (critic,) = state.generator_optimizer.param_groups, state.critic_optimizer.param_groups
        assert generator["lr"] == pytest.approx(factor * settings.lr_generator)
        assert critic["lr"] == pytest.approx(factor * 1e-2)


@pytest.mark.parametrize(("step", "decay"), [(1, 1 / 11), (10, 0.5), (100_000, 0.9)])
def test_the_average_starts_short(run, step, decay):
    state = run.state
    state.step = step
    slow, fast = (network.network.last.bias for network in (state.average, state.generator))
    with torch.no_grad():
        slow.fill_(1.0)
        fast.fill_(0.0)
    update_average(state, decay=0.9)
    assert slow.detach().numpy() == pytest.approx(decay, rel=1e-5)
