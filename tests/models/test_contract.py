"""Contract that every model keeps: shapes, gradients, saving and loading, the critic's view, the exported file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tiny_generator import (
    tiny_calo_generator,
    tiny_data,
    tiny_showers,
    tracks_config,
    tracks_events,
    tracks_generator,
)

from hepgan.config import CaloModelConfig, DataConfig
from hepgan.data.tensors import TensorEvents
from hepgan.exporting.onnx import write
from hepgan.inference.generator import Generator
from hepgan.inference.targets import OPERATORS
from hepgan.models import MODELS, CaloCritic, CaloGenerator
from hepgan.objectives import REGULARISERS, gradient_penalty, linear_gradient_penalty

B, SCORES = 50, 3
SHOWERS = {
    "calo": {},
    "calo, convolution": {"paint": "convolution", "statistics": "layers"},
}
TRACKS = {
    "dll": {"latent": 4},
    "vae, normal": {"likelihood": "normal", "latent": 4},
    "vae, synthetic": {"likelihood": "synthetic", "latent": 4},
    "flow, affine": {"coupling": "affine", "transforms": 3},
    "flow, spline": {"coupling": "spline", "transforms": 3},
}
LATENT = {  # numbers of the network, of each target that is drawn, and one that chooses the pattern
    "calo": 6 + 2 + 2 + 10,  # shared, response and layer, overflow, cells
    "calo, convolution": 6 + 2 + 2 + 10,
    "dll": 4 + 1,
    "vae, normal": 4 + 3 + 1,
    "vae, synthetic": 4 + 1,
    "flow, affine": 3 + 1,
    "flow, spline": 3 + 1,
}


@dataclass
class Case:
    """A generator that is fitted and whose weights are moved, as after some training; and its critic."""

    name: str
    data: DataConfig
    model: Any
    events: TensorEvents
    generator: Any
    critic: Any

    def fresh(self) -> Any:
        """Another generator of the same configuration, neither fitted nor trained."""
        return MODELS[self.model.name].generator(self.data, self.model)

    def latent(self, *, seed: int = 1) -> torch.Tensor:
        return torch.randn(B, self.generator.n_latent, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[*SHOWERS, *TRACKS])
def case(request):
    name = request.param
    if name in SHOWERS:
        sizes = {"width": 16, "channels": 2, "critic_width": 16, "critic_channels": 2}
        model = CaloModelConfig(latent=6, depth=2, critic_depth=1, **sizes, **SHOWERS[name])
        data, events, generator = tiny_data(), tiny_showers(), tiny_calo_generator(model)
    else:
        sizes = {"critic_width": 16, "critic_depth": 1}
        config = tracks_config(model={"name": name.partition(",")[0], **sizes, **TRACKS[name]})
        data, model, events = config.data, config.model, tracks_events(config)
        generator = tracks_generator(config)
    critic = MODELS[model.name].critic(generator, model, scores=SCORES)
    critic.fit(generator, events)
    return Case(name, data, model, events, generator, critic)


def saved(module):
    """The state of a module as it is read back from a file."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_outputs_have_the_shapes_of_the_events_and_are_finite(case):
    assert case.generator.n_latent == LATENT[case.name]
    outputs = case.generator(case.events.condition[:B], case.latent())
    assert [x.shape for x in outputs] == [x[:B].shape for x in case.events.outputs]
    assert all(x.isfinite().all() for x in outputs)
    if case.name in SHOWERS:
        assert all((x >= 0).all() for x in outputs)
    assert not torch.equal(outputs[0], case.generator(case.events.condition[:B], case.latent(seed=2))[0])


def test_events_do_not_depend_on_the_order_of_latent_numbers_in_memory(case):
    condition, latent = case.events.condition[:B], case.latent()
    with torch.no_grad():
        rows, columns = (case.generator(condition, x) for x in (latent, latent.T.contiguous().T))
    for a, b in zip(rows, columns, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_an_event_does_not_depend_on_the_others_of_its_batch(case):
    condition, latent = case.events.condition[:B], case.latent()
    with torch.no_grad():
        together = case.generator(condition, latent)
        alone = [case.generator(condition[k : k + 1], latent[k : k + 1]) for k in range(B)]
    for x, rows in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(rows), x, rtol=1e-4, atol=1e-4)


def test_condition_range_is_that_of_the_training_events(case):
    low, high = case.generator.condition_range.T
    assert torch.equal(low, case.events.condition.amin(0))
    assert torch.equal(high, case.events.condition.amax(0))


def test_critic_sees_real_and_generated_events_alike(case):
    view = case.critic.view(case.generator, case.events[:B])
    fake = view.fake(case.latent())
    assert view.real.shape == fake.shape
    assert len(view.context) == len(fake) == B
    assert view.real.isfinite().all()
    assert fake.isfinite().all()
    assert not view.real.requires_grad
    assert not view.context.requires_grad
    assert view.codes(case.latent()).shape == case.latent().shape
    for x in (view.real, fake):
        assert case.critic(x, view.context).shape == (B, SCORES)


def test_every_weight_learns_from_the_critic_or_the_own_loss(case):
    view = case.critic.view(case.generator, case.events[:B])
    total = case.critic(view.fake(case.latent()), view.context).sum()
    if hasattr(case.generator, "loss"):
        loss = case.generator.loss(case.events[:B], rng=torch.Generator().manual_seed(0))
        assert loss.shape == (B,)
        total = total + loss.sum()
    case.generator.zero_grad()
    case.critic.zero_grad()
    total.backward()
    learning = [
        (name, p)
        for module in (case.generator, case.critic)
        for name, p in module.named_parameters()
        if p.requires_grad
    ]
    assert [name for name, p in learning if p.grad is None or not p.grad.isfinite().all()] == []
    assert any(p.grad.abs().sum() > 0 for p in case.generator.parameters() if p.requires_grad)


def test_saved_weights_make_the_same_generator_and_critic(case):
    other = case.fresh()
    assert case.generator.n_latent - other.n_latent == (case.name in TRACKS)  # it knows no patterns yet
    other.load_state_dict(saved(case.generator))
    assert other.n_latent == case.generator.n_latent
    condition, latent = case.events.condition[:B], case.latent()
    critic = type(case.critic)(other, case.model, scores=SCORES)
    critic.load_state_dict(saved(case.critic))
    with torch.no_grad():
        expected, got = case.generator(condition, latent), other(condition, latent)
        assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))
        views = case.critic.view(case.generator, case.events[:B]), critic.view(other, case.events[:B])
        scores = [c(v.fake(latent), v.context) for c, v in zip((case.critic, critic), views, strict=True)]
    assert torch.equal(*scores)


def test_repr_names_class_and_parts(case):
    for module in (case.generator, case.critic):
        text = repr(module)
        assert text.startswith(type(module).__name__ + "(")
        assert all(f"({name}): " in text for name, _ in module.named_children())


def test_exported_file_agrees_with_torch_in_the_operators_of_the_contract(case, tmp_path):
    path = tmp_path / "model.onnx"
    write(case.generator.eval(), path, data=case.data, provenance={}, metrics={})
    exported = Generator(path)
    assert exported.metadata.latent.size == case.generator.n_latent
    assert exported.operators <= OPERATORS
    assert ("Conv" in exported.operators) == (case.name == "calo, convolution")
    assert [name for name, passed, _ in exported.check() if not passed] == []
    condition, latent = case.events.condition[:B], case.latent()
    with torch.no_grad():
        expected = case.generator(condition, latent)
    for a, b in zip(exported(condition.numpy(), latent.numpy()), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(a).reshape(b.shape), b, rtol=1e-3, atol=1e-3)


def test_contract_covers_every_model_of_the_table():
    assert {name.partition(",")[0] for name in LATENT} == set(MODELS)
    assert MODELS["calo"] == (CaloGenerator, CaloCritic)


@pytest.mark.parametrize("name", ["wgan-gp", "one-sided", "r1", "dragan"])
def test_the_quick_gradient_penalty_has_the_derivatives_of_the_one_with_second_derivatives(case, name):
    view, critic, row = case.critic.view(case.generator, case.events[:B]), case.critic, REGULARISERS[name]
    fake = view.fake(case.latent()).detach()
    weights = torch.rand(B, generator=torch.Generator().manual_seed(2)) - 0.2

    def traced(x):
        scores, along = critic.traced(x, view.context)
        return 100 * scores[:, 0], along

    results = []
    for penalty, function in (
        (gradient_penalty, lambda x: 100 * critic(x, view.context)[:, 0]),
        (linear_gradient_penalty, traced),
    ):
        critic.zero_grad()
        rng = torch.Generator().manual_seed(3)
        rest = {"rng": rng, "at": row.at, "cost": row.cost, "blocks": view.blocks}
        value = penalty(function, view.real, fake, weights, **rest)
        value.backward()
        results.append((value.detach(), {n: p.grad for n, p in critic.named_parameters() if "weight" in n}))
    (value, expected), (same, got) = results
    torch.testing.assert_close(same, value)
    assert value > 0
    assert all(gradient.abs().max() > 0 for gradient in expected.values())
    for key, gradient in expected.items():
        torch.testing.assert_close(got[key], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))


def test_the_quick_scores_are_the_scores(case):
    view, weights = case.critic.view(case.generator, case.events[:B]), torch.linspace(-1, 1, B * SCORES)
    x = view.real.clone().requires_grad_()
    results = []
    for score in (case.critic, case.critic.scores):
        value = score(x, view.context)
        total = (value.flatten() * weights).sum()
        results.append([value, *torch.autograd.grad(total, [x, *case.critic.parameters()])])
    for expected, got in zip(*results, strict=True):
        scale = float(expected.detach().abs().max())
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * scale)


def test_events_are_represented_once_for_all_steps(case):
    events = case.events[:B]
    represented = events.mapped(lambda part: case.critic.represented(case.generator, part))
    assert represented.outputs == ()
    once, anew = (case.critic.view(case.generator, part) for part in (represented, events))
    torch.testing.assert_close(once.real, anew.real)
    torch.testing.assert_close(once.context, anew.context)
    assert len(represented[: B // 2].represented[0]) == B // 2
