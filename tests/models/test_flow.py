"""Flows: a normalised density, an inverse, stopping and resuming, convergence."""

import copy
import math
import sys
from functools import partial

import numpy as np
import pytest
import torch
from tiny_generator import tracks_config, tracks_events, tracks_generator
from toy_observables import check_stop_and_resume, distances, recipe, write_banana

from hepgan.config import FlowModelConfig
from hepgan.errors import ConfigError
from hepgan.inference.generator import Generator
from hepgan.models.flow import CouplingFlow
from hepgan.training.loop import train

COUPLINGS = ("affine", "spline")
N_CONTEXT = 3


def flow(coupling, *, targets=2, moved=0.1):
    """A flow in double precision whose weights were moved, as after some training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CouplingFlow(
            targets, N_CONTEXT, FlowModelConfig(width=16, transforms=4, coupling=coupling)
        ).double()
        with torch.no_grad():
            for weight in network.parameters():
                weight += moved * torch.randn_like(weight)
    return network


def numbers(n, columns, *, seed=0):
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_density_integrates_to_one(coupling):
    network, side = flow(coupling), torch.linspace(-12, 12, 301, dtype=torch.float64)
    z = torch.cartesian_prod(side, side)
    with torch.no_grad():
        for context in numbers(2, N_CONTEXT):
            density = network.log_density(z, context.expand(len(z), -1)).exp()
            assert density.sum().item() * (side[1] - side[0]).item() ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("targets", [1, 2, 5])
def test_there_and_back_is_where_one_was(coupling, targets):
    network = flow(coupling, targets=targets)
    z, context = (
        3 * numbers(2000, targets),
        numbers(2000, N_CONTEXT, seed=1),
    )  # beyond the splines' bound as well
    with torch.no_grad():
        latent = network.to_latent(z, context)
        torch.testing.assert_close(network(latent, context), z, rtol=1e-7, atol=1e-7)
    assert (latent - z).abs().mean() > 0.1


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_density_is_that_of_what_is_generated(coupling):
    """ln p(z) = ln N(u) - ln |dz/du|, with the slopes of the way that is exported."""
    network = flow(coupling, targets=3)
    u, context = numbers(200, 3).requires_grad_(), numbers(200, N_CONTEXT, seed=1)
    z = network(u, context)
    slopes = torch.stack([torch.autograd.grad(z[:, k].sum(), u, retain_graph=True)[0] for k in range(3)], 1)
    normal = -(0.5 * u**2 + 0.5 * math.log(2 * math.pi)).sum(1)
    expected = normal - torch.linalg.slogdet(slopes).logabsdet
    torch.testing.assert_close(network.log_density(z, context), expected)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_all_weights_learn_from_either_way_also_far_out(coupling):
    network = flow(coupling)
    far = torch.tensor([[8.0, -8.0], [5.0, -5.0], [0.3, 9.0], [-0.7, 0.2]], dtype=torch.float64)
    context = numbers(4, N_CONTEXT)
    for loss in (network.log_density(far, context).sum(), network(far, context).square().sum()):
        network.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        assert any(p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.fixture(scope="module")
def tracks():
    """Flows of DLLs with a category, sentinels and ties, by coupling; and the tracks that they were fitted to."""
    made = {}
    for coupling in COUPLINGS:
        config = tracks_config(model={"name": "flow", "coupling": coupling, "transforms": 3})
        made[coupling] = (config, tracks_generator(config), tracks_events(config))
    return made


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_targets_without_freedom_have_no_density(coupling, tracks):
    """A flow that leaves numbers alone gives the free targets the normal density, exactly, whatever is drawn."""
    _, trained, events = tracks[coupling]
    generator = copy.deepcopy(trained)
    with torch.no_grad():
        for weight in generator.network.parameters():
            weight.zero_()
        density, count = generator.log_density(events, rng=torch.Generator().manual_seed(0))
        _, z, free = generator.representation(events)
    expected = -(free * (0.5 * z**2 + 0.5 * math.log(2 * math.pi))).sum(1)
    torch.testing.assert_close(density, expected, rtol=1e-4, atol=1e-4)
    assert {0.0, 3.0} <= set(count.tolist())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_banana(tmp_path_factory.mktemp("flow") / "banana.root")


def build(file, coupling, objective="likelihood", **training):
    model = {"name": "flow", "coupling": coupling, "transforms": 4, "bins": 6}
    return recipe(file, model, objective, **training)


@pytest.mark.parametrize("objective", ["likelihood", "wgan-gp", "alpha-gan"])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_stop_and_resume(coupling, objective, file, tmp_path):
    check_stop_and_resume(partial(build, file, coupling, objective), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("coupling", "objective", "steps", "bound"),
    [
        ("affine", "likelihood", 1000, 0.06),
        ("spline", "likelihood", 600, 0.04),
        ("affine", "wgan-gp", 600, 0.06),
    ],
)
def test_converges(coupling, objective, steps, bound, file, tmp_path):
    run = train(build(file, coupling, objective, steps=steps), tmp_path / "run", progress=False)
    apart = distances(run)
    assert max(apart) < bound, apart


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(
        ConfigError, match=r"expected the package zuko for 'flow'.*pip install 'hepgan\[flows\]'"
    ):
        CouplingFlow(2, N_CONTEXT, FlowModelConfig())


def test_latent_numbers_are_as_many_as_targets(file, tmp_path):
    run = train(build(file, "affine", steps=2), tmp_path / "run", progress=False)
    exported = Generator(run / "model.onnx")
    assert (exported.metadata.latent.size, exported.metadata.latent.distribution) == (2, "normal")
    (made,) = exported.sample(np.full((10, 1), 0.5, np.float32), seed=1)
    assert made.shape == (10, 2)
