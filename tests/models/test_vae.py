"""Autoencoders: the bound by hand, the game of codes, stopping and resuming, convergence."""

import copy
import math
from functools import partial

import pytest
import torch
from tiny_generator import tracks_config, tracks_events, tracks_generator
from torch.nn.functional import softplus
from toy_observables import check_stop_and_resume, distances, recipe, write_banana

from hepgan.exporting.onnx import write
from hepgan.models import DllCritic
from hepgan.objectives import OBJECTIVES
from hepgan.training.loop import train

LIKELIHOODS = {"normal": "likelihood", "synthetic": "alpha-gan"}


@pytest.fixture(scope="module")
def tracks():
    """Autoencoders of DLLs with a category, sentinels and ties, and the tracks that they were fitted to."""
    made = {}
    for likelihood in LIKELIHOODS:
        config = tracks_config(model={"name": "vae", "likelihood": likelihood})
        made[likelihood] = (config, tracks_generator(config), tracks_events(config))
    return made


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_bound_by_hand(tracks):
    """A decoder that says "standard normal" and codes one spread off centre: surprise, and a divergence of 1/2 each."""
    config, trained, events = tracks["normal"]
    generator = copy.deepcopy(trained)
    n = config.model.latent
    with torch.no_grad():
        for network in (generator.encoder, generator.network):
            for weight in network.parameters():
                weight.zero_()
        generator.straight.zero_()
        loss = generator.loss(events, rng=rng())
        generator.encoder.last.bias[:n] = 1.0
        shifted = generator.loss(events, rng=rng())
        generator.encoder.last.bias[:n] = 0.0
        generator.encoder.last.bias[n:] = math.log(2)
        wide = generator.loss(events, rng=rng())
        _, z, free = generator.representation(events)
    surprise = (free * (0.5 * z**2 + 0.5 * math.log(2 * math.pi))).sum(1)
    torch.testing.assert_close(loss, surprise, rtol=5e-3, atol=5e-3)  # the spread is 1.001
    torch.testing.assert_close(shifted - loss, torch.full_like(loss, 0.5 * n), rtol=1e-4, atol=1e-4)
    divergence = n * (0.5 * (4 - 1) - math.log(2))
    torch.testing.assert_close(wide - loss, torch.full_like(loss, divergence), rtol=1e-4, atol=1e-4)
    assert (loss[free.sum(1) == 0].abs() < 1e-5).all()  # a track of nothing but sentinels surprises nobody


def test_generated_targets_have_the_spread_of_the_decoder(tracks):
    _, trained, events = tracks["normal"]
    generator = copy.deepcopy(trained)
    with torch.no_grad():
        for weight in generator.network.parameters():
            weight.zero_()
        generator.straight.zero_()
        generator.network.last.bias[:] = torch.tensor([1.0, 2.0, 3.0, math.log(0.5), 0.0, math.log(2)])
        context = generator.representation(events)[0]
        z = generator.normal(context, torch.randn(len(events), generator.n_latent, generator=rng()))
    torch.testing.assert_close(z.mean(0), torch.tensor([1.0, 2.0, 3.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([0.5, 1.0, 2.0]), atol=0, rtol=0.05)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_before_training_events_are_reconstructed(likelihood, tracks):
    config, _, events = tracks[likelihood]
    generator = tracks_generator(config, moved=0.0)
    context, z, free = generator.representation(events)
    with torch.no_grad():
        made = generator.decode(context, generator.encode(context, free * z)[0])[0]
        codes = generator.encode(context, free * z)[0]
    n = min(codes.shape[1], 3)
    for column in range(n):
        kept = free[:, column] > 0
        assert torch.corrcoef(torch.stack([made[kept, column], z[kept, column]]))[0, 1] > 0.9


def test_critic_of_codes_and_encoder_each_learn_their_own(tracks):
    _, generator, events = tracks["synthetic"]
    context, n = generator.representation(events)[0], generator.model.latent
    code = torch.randn(len(context), n, generator=rng()).requires_grad_()
    prior = torch.randn(len(context), n, generator=rng(1))
    generator.zero_grad()
    generator._codes_game(context, code, prior).sum().backward()
    gradients = [p.grad.clone() for p in generator.critic.parameters()]

    score = partial(torch.cat, dim=1)
    v_code, v_prior = (generator.critic(score([context, c.detach()]))[:, 0] for c in (code, prior))
    expected = torch.autograd.grad(
        (softplus(-v_prior) + softplus(v_code)).sum(), [*generator.critic.parameters()]
    )
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    other = code.detach().clone().requires_grad_()
    (up,) = torch.autograd.grad(generator.critic(score([context, other])).sum(), other)
    torch.testing.assert_close(code.grad, -up)


def test_game_shows_reconstructions_that_do_not_teach_the_encoder(tracks):
    config, generator, events = tracks["synthetic"]
    critic = DllCritic(generator, config.model)
    critic.fit(generator, events)
    view = critic.view(generator, events)
    latent = torch.randn(len(events), generator.n_latent, generator=rng())
    codes = view.codes(latent)
    half, n = len(events) // 2, config.model.latent
    assert torch.equal(codes[half:], latent[half:])
    assert torch.equal(codes[:, n:], latent[:, n:])
    assert (codes[:half, :n] != latent[:half, :n]).all()
    generator.zero_grad()
    critic(view.fake(codes), view.context).sum().backward()
    assert all(p.grad is not None for p in generator.network.parameters())
    assert all(p.grad is None for p in generator.encoder.parameters())


def test_alpha_gan_by_hand():
    """As `minimax` for the critic; the generator raises the log ratio; and no ratio is told."""
    row, game = OBJECTIVES["alpha-gan"], OBJECTIVES["minimax"].game
    real, fake = torch.tensor([[0.5]]), torch.tensor([[-1.0]], requires_grad=True)
    loss = row.generator(real, [fake], torch.ones(1))
    loss.backward()
    assert (loss.item(), fake.grad.item()) == (1.0, -1.0)
    value = row.game(real[:, 0], fake.detach()[:, 0], torch.ones(1))
    assert value.item() == pytest.approx(game(real[:, 0], fake.detach()[:, 0], torch.ones(1)).item())
    assert row.own
    assert row.game.ratio is None


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_encoder_is_in_the_run_folder_and_not_in_the_exported_file(likelihood, tracks, tmp_path):
    config, generator, _ = tracks[likelihood]
    write(generator, tmp_path / "model.onnx", data=config.data, provenance={}, metrics={})
    assert any(name.startswith("encoder.") for name, _ in generator.named_parameters())
    weights = sum(p.numel() for p in generator.network.parameters()) * 4
    assert (tmp_path / "model.onnx").stat().st_size < 40_000 + 3 * weights


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_banana(tmp_path_factory.mktemp("vae") / "banana.root")


def build(file, likelihood, **training):
    model = {"name": "vae", "likelihood": likelihood, "latent": 2}
    return recipe(file, model, LIKELIHOODS[likelihood], **training)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_stop_and_resume(likelihood, file, tmp_path):
    check_stop_and_resume(partial(build, file, likelihood), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("likelihood", "steps"), [("normal", 1500), ("synthetic", 800)])
def test_converges(likelihood, steps, file, tmp_path):
    """Worse than flows: some events are generated between the modes of x. A decoder without codes has 0.18."""
    run = train(build(file, likelihood, steps=steps), tmp_path / "run", progress=False)
    apart = distances(run)
    assert max(apart) < 0.1, apart
