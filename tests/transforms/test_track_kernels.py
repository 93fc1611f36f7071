"""The compiled kernels of tracks against what torch computes in double precision, with all derivatives."""

import pytest
import torch

from hepgan.models.dense import ResidualNetwork
from hepgan.models.spectral_norm import normalise_spectrum
from hepgan.models.whitening import Whitening
from hepgan.objectives import energy_score
from hepgan.transforms.conditions import Tents
from hepgan.transforms.kernels import usable

pytestmark = pytest.mark.skipif(not usable(torch.zeros(1)), reason="no C++ compiler")

# inputs, context, width, depth, outputs, events: whole and broken vectors, tiles and blocks
NETWORKS = [(16, 50, 64, 2, 5, 150), (10, 20, 24, 1, 1, 70), (3, 5, 7, 0, 2, 1), (4, 17, 20, 3, 18, 300)]


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sparse(*shape):
    return random(*shape) * (random(*shape, seed=2) > 1)


def assert_same(made, expected):
    for a, b in zip(made, expected, strict=True):
        torch.testing.assert_close(
            a.double(), b, rtol=1e-4, atol=1e-5 * float(b.detach().abs().max()) + 1e-12
        )


def network(inputs, context, width, depth, outputs, *, first):
    torch.manual_seed(3)
    places = range(context) if first else range(inputs, inputs + context)
    return ResidualNetwork(inputs + context, width, depth, outputs, context=places)


def derivatives(layers, context, x, cotangent):
    """Outputs, and the derivatives of a sum of them by inputs and parameters."""
    x = x.T.contiguous().T.requires_grad_()  # the batch innermost
    y = layers.at(context, x)
    return y, *torch.autograd.grad((y * cotangent).sum(), [x, *layers.parameters()])


def traced(layers, context, x, cotangent):
    """Outputs, their slopes, and the derivatives of slopes along a direction by the weights."""
    x = x.clone().requires_grad_()
    y, along = layers.traced(context, x)
    (slope,) = torch.autograd.grad((y * cotangent).sum(), x)
    weights = [layer.weight for layer in (layers.first, *layers.blocks, layers.last)]
    return y, slope, *torch.autograd.grad(along(torch.cos(slope)), weights)


@pytest.mark.parametrize("sizes", NETWORKS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("function", [derivatives, traced])
def test_residual_networks_are_those_of_torch_with_their_derivatives(sizes, first, function):
    *sizes, batch = sizes
    layers = network(*sizes, first=first)
    inputs = sparse(batch, sizes[1]), random(batch, sizes[0]), random(batch, sizes[4], seed=4)
    made = function(layers, *(x.float() for x in inputs))
    assert_same(made, function(layers.double(), *inputs))


def test_residual_networks_do_not_depend_on_the_number_of_threads():
    layers = network(6, 9, 20, 2, 3, first=True)
    inputs = [x.float() for x in (sparse(700, 9), random(700, 6), random(700, 3))]
    one, threads = derivatives(layers, *inputs), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = derivatives(layers, *inputs)
    finally:
        torch.set_num_threads(threads)
    assert all(a.equal(b) for a, b in zip(one, two, strict=True))


def test_normalised_weights_are_those_of_the_moment():
    layers = network(6, 9, 8, 1, 1, first=False)
    normalise_spectrum(layers)
    layers.eval()
    inputs = sparse(5, 9).float(), random(5, 6).float()
    torch.testing.assert_close(layers.at(*inputs), layers(torch.cat(inputs[::-1], 1)))


def test_a_direction_needs_the_gradient_first():
    layers = network(6, 9, 8, 1, 1, first=False)
    _, along = layers.traced(sparse(5, 9).float(), random(5, 6).float())
    with pytest.raises(RuntimeError, match="expected the gradient of the traced sum by the input, got none"):
        along(random(5, 6).float())


@pytest.mark.parametrize("batch", [1, 150])
def test_tents_are_those_of_torch(batch):
    tents = Tents(2, nodes=19)
    x = random(batch, 2)
    tents.fit(random(500, 2, seed=5).round(decimals=1).float(), torch.ones(500))  # with nodes that are merged
    made = tents(x.float())
    assert_same([made], [tents.double()(x)])
    assert float((made == 0).float().mean()) > 0.8


@pytest.mark.parametrize("batch", [1, 150])
def test_whitening_and_its_slopes_are_those_of_torch(batch):
    whitening = Whitening(4, 12)
    whitening.table.copy_(0.3 * random(24, 12))
    context, z, free = sparse(batch, 12), random(batch, 4), (random(batch, 4, seed=6) > -1).double()
    cotangent = random(batch, 8, seed=7)

    def run(whitening, context, z, free, cotangent):
        z = z.clone().requires_grad_()
        y = whitening.beside(context, free, most=1.5)
        y = y(z)
        return y, *torch.autograd.grad((y * cotangent).sum(), z)

    inputs = context, z, free, cotangent
    made = run(whitening, *(x.float() for x in inputs))
    assert batch == 1 or (made[0][:, 4:].abs() == 1.5).any()
    assert_same(made, run(whitening.double(), *inputs))


@pytest.mark.parametrize("batch", [1, 150])
def test_energy_scores_and_their_slopes_are_those_of_torch(batch):
    real, fake, other, weights = (
        random(batch, 3),
        random(batch, 3, seed=2),
        random(batch, 3, seed=3),
        random(batch),
    )
    fake[:, 1] = other[:, 1] = real[:, 1]  # as where targets are fixed: no slope

    def run(real, fake, other, weights):
        made = [x.clone().requires_grad_() for x in (fake, other)]
        score = energy_score(real, *made, weights)
        return score, *torch.autograd.grad(score, made)

    inputs = real, fake, other, weights
    assert_same(run(*(x.float() for x in inputs)), run(*inputs))
