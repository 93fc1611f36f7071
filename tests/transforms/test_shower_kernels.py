"""The compiled kernels of showers against the formulas in torch, in double precision."""

import pytest
import torch

from hepgan.geometry import Calorimeter
from hepgan.models.shower_critic import ShowerRepresentation
from hepgan.transforms import energy, kernels
from hepgan.transforms.energy import ConditionalQuantile
from hepgan.transforms.showers import ShowerScaling

PLANE = {"shape": (3, 4), "x": (-30, 30), "y": (-40, 40), "z": (0, 10)}
RINGS = {"shape": (4, 3), "x": (0, 6.28), "y": (0, 30), "z": (10, 20), "coordinates": "polar"}
SINGLE = {"shape": (1, 1), "x": (-30, 30), "y": (-40, 40), "z": (20, 30)}
CALORIMETER = Calorimeter.from_dicts([PLANE, RINGS, SINGLE])


@pytest.fixture(params=[1, 16, 77])
def batch(request):
    return request.param


@pytest.fixture(params=[0, 3])
def n_overflow(request):
    return request.param


def modules(n_overflow):
    """Scaling and representation with an order and an offset, in double precision."""
    representation = ShowerRepresentation(CALORIMETER, n_overflow=n_overflow)
    for scaling in (representation.scaling, ShowerScaling(CALORIMETER, n_overflow=n_overflow)):
        scaling.order = [2, 0, 1]
        scaling.offset.fill_(0.3)
    representation.shapes.softness.fill_(0.7)
    return scaling, representation


def in_precision(function, dtype, *tensors):
    """Values of a function and the gradients of a fixed combination of them."""
    inputs = [x.to(dtype).requires_grad_() for x in tensors]
    values = function(*inputs)
    rng = torch.Generator().manual_seed(1)
    total = sum((v * torch.randn(v.shape, generator=rng, dtype=torch.float64).to(v)).sum() for v in values)
    return [x.double() for x in (*values, *torch.autograd.grad(total, inputs))]


def compare(function, *tensors, rtol=2e-5):
    assert kernels.usable(*tensors)
    expected, got = (in_precision(function, dtype, *tensors) for dtype in (torch.float64, torch.float32))
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(b, a, rtol=rtol, atol=rtol)


def test_energies_and_their_derivatives(batch, n_overflow):
    scaling, _ = modules(n_overflow)
    torch.manual_seed(2)
    variables = torch.randn(batch, scaling.n_variables)
    variables[:, 0] = 0.8
    variables[:, 1 : scaling.n_global] += 2
    variables[: batch // 3, scaling.n_global :] -= (
        5  # layers without a cell above the floor, which are raised
    )
    incident = 50 * torch.rand(batch) + 10

    def function(x):
        module = scaling.to(x.dtype)
        return module.inverse(x, incident.to(x.dtype))

    compare(function, variables)


def test_features_and_their_derivatives(batch, n_overflow):
    _, representation = modules(n_overflow)
    torch.manual_seed(3)
    cells = torch.relu(torch.randn(batch, CALORIMETER.n_cells)) + 0.1  # far from 0, where float32 cancels
    overflow = torch.rand(batch, n_overflow)
    incident = 50 * torch.rand(batch) + 10

    def function(*x):
        module = representation.to(x[0].dtype)
        return (module._raw(*x, incident.to(x[0].dtype)),)

    if n_overflow:
        compare(function, cells, overflow)
    else:
        compare(lambda x: function(x, overflow.to(x)), cells)


def test_empty_showers_have_finite_features():
    _, representation = modules(3)
    cells, overflow = torch.zeros(20, CALORIMETER.n_cells), torch.zeros(20, 3)
    got = representation._raw(cells, overflow, torch.ones(20))
    expected = representation.double()._raw(cells.double(), overflow.double(), torch.ones(20).double())
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-6)


def test_interpolated_quantiles_and_their_slopes(batch, monkeypatch):
    quantile = ConditionalQuantile(5)
    torch.manual_seed(4)
    quantile.table.copy_(torch.rand(quantile.table.shape).cumsum(2))
    quantile.threshold[:3] = torch.rand(3, 16) * torch.tensor(
        [[-3.0], [1.0], [3.0]]
    )  # two cells are never empty
    incident = 100 * torch.rand(batch) + 1
    quantile.nodes.fit(torch.linspace(2, 80, 50))
    z = 3 * torch.randn(batch, 5)
    got = in_precision(lambda x: (quantile.from_normal(x, incident),), torch.float32, z)
    monkeypatch.setattr(energy, "usable", lambda *_: False)
    expected = in_precision(lambda x: (quantile.from_normal(x, incident),), torch.float32, z)
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)
