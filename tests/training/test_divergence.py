"""Watch for what is not finite."""

import pytest
import torch

from hepgan.errors import TrainingDiverged
from hepgan.training.divergence import Watch
from hepgan.training.setup import set_up
from hepgan.training.steps import weights
from hepgan.training.workers import Workers


@pytest.fixture
def run(plain_tracks, tmp_path):
    return set_up(plain_tracks(), tmp_path / "run", resume=False, progress=False)


@pytest.mark.parametrize("cause", ["loss", "weight"])
def test_the_first_bad_batch_is_named(run, cause):
    state, watch, drawn = run.state, Watch(run.state, run.events, batch_size=16), []
    for k in range(10):
        if k == 4:
            watch.look()
        before = state.batch_rng.get_state()
        run.events.batch(16, rng=state.batch_rng)
        drawn.append(run.events.drawn(16, rng=torch.Generator().set_state(before)).tolist())
        loss = torch.tensor(1.5)
        if k >= 7 and cause == "loss":
            loss = torch.tensor(torch.inf if k == 7 else torch.nan)
        if k == 7 and cause == "weight":
            next(state.critic.parameters()).data.view(-1)[3] = torch.nan
        watch.see(weights(state.critic_optimizer), {"critic_loss": loss}, turn=f"turn {k}")
    expected = "critic_loss inf, norm" if cause == "loss" else r"critic_loss 1\.5, norm of the weights nan"
    with pytest.raises(TrainingDiverged, match=f"got {expected}.* in turn 7, whose batch") as caught:
        watch.look()
    assert f"is training events {', '.join(map(str, drawn[7][:8]))}, ... of {len(run.events)}" in str(
        caught.value
    )


def test_nothing_is_said_of_what_is_finite(run):
    watch = Watch(run.state, run.events, batch_size=16)
    watch.look()
    watch.see(weights(run.state.generator_optimizer), {"generator_loss": torch.tensor(1e30)}, turn="turn 0")
    watch.look()
    assert watch.numbers == []


def test_what_one_worker_sees_stops_all(run, monkeypatch):
    watch = Watch(run.state, run.events, batch_size=16)
    watch.see(weights(run.state.critic_optimizer), {"critic_loss": torch.tensor(1.0)}, turn="turn 0")
    other = torch.tensor([torch.nan, 0.0])
    monkeypatch.setattr(Workers, "sum", lambda self, tensor: tensor + other)
    with pytest.raises(TrainingDiverged, match=r"critic_loss nan, norm of the weights \d.* in turn 0"):
        watch.look()
