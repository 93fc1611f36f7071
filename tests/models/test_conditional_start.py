"""The start that follows all conditions: a toy shower whose place, spread and occupancy follow them."""

import math

import pytest
import torch

from hepgan.config import CaloModelConfig, parse
from hepgan.data.tensors import TensorEvents
from hepgan.models import CaloGenerator
from hepgan.models.moving_frame import Frame
from hepgan.transforms.energy import EDGE

LAYER = {"shape": [5, 9], "x": [-50.0, 50.0], "y": [-45.0, 45.0]}
MODEL = CaloModelConfig(
    latent=4, width=8, depth=1, channels=2, critic_width=8, critic_depth=1, critic_channels=2
)
DEPTH = 60.0  # mm between the two layers


def toy_data():
    conditions = [
        {"name": "incident_energy", "unit": "GeV"},
        {"name": "theta", "unit": "rad", "transform": "linear"},
        {"name": "phi", "unit": "rad", "transform": "linear"},
        {"name": "x0", "unit": "mm", "transform": "linear"},
    ]
    layers = [{**LAYER, "z": [0.0, 10.0]}, {**LAYER, "z": [DEPTH, DEPTH + 10.0]}]
    calorimeter = {"branches": ["front", "back"], "layers": layers}
    return parse(
        {"data": {"files": ["none.root"], "conditions": conditions, "calorimeter": calorimeter}}
    ).data


def toy_showers(n, *, seed=0):
    """Deposits of 1 and more around the axis of the particle, less often farther away; the front is hit by half."""
    rng = torch.Generator().manual_seed(seed)
    energy, theta, turn, x0 = torch.rand(4, n, generator=rng)
    energy, theta, phi, x0 = torch.exp(3 * energy), 0.4 * theta, math.pi * (2 * turn - 1), 40 * x0 - 20
    calorimeter = toy_data().calorimeter.calorimeter()
    centres = torch.tensor(calorimeter.cell_centres, dtype=torch.float32)
    layer = (torch.arange(90) >= 45).float()
    along = torch.tan(theta)[:, None] * DEPTH * layer
    x = x0[:, None] + along * torch.cos(phi)[:, None]
    y = along * torch.sin(phi)[:, None]
    square = ((centres[:, 0] - x) ** 2 + (centres[:, 1] - y) ** 2) / 15**2
    expected = energy[:, None] * torch.exp(-square / 2) * (1 + layer)
    hit = torch.rand(n, 90, generator=rng) < 1 - torch.exp(-expected)
    spectrum = 1 + expected * torch.exp(0.5 * torch.randn(n, 90, generator=rng))
    condition = torch.stack([energy, theta, phi, x0], 1)
    return TensorEvents(condition, (torch.where(hit, spectrum, 0.0), torch.zeros(n, 0)), torch.ones(n))


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    made = CaloGenerator(toy_data(), MODEL)
    made.fit(toy_showers(1500), rng=torch.Generator().manual_seed(0))
    return made


@pytest.fixture(scope="module")
def pair(generator):
    """Other showers, and generated ones of the same conditions."""
    events = toy_showers(3000, seed=1)
    latent = torch.randn(3000, generator.n_latent, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return events, generator(events.condition, latent)[0]


def test_the_frame_moves_with_the_shower(generator):
    """The expected centre is x0 + depth * tan(theta) * cos(phi), although nobody has said so."""
    events, start = toy_showers(1500), generator.start.functions
    condition = torch.tensor([[5.0, 0.3, 0.0, 10.0], [5.0, 0.3, math.pi / 2, -10.0], [5.0, 0.0, 1.0, 0.0]])
    given, terms = (start.terms(generator.condition_scaling(c)) for c in (events.condition, condition))
    centres = []
    for layer, s in zip(generator.calorimeter.layers, generator.calorimeter.slices(), strict=True):
        frame = Frame(layer, len(terms), 0.1)
        frame.fit(events.outputs[0][:, s], given, events.weights)
        centres.append(frame.unit * (frame.centre @ terms))
    torch.testing.assert_close(centres[0], torch.tensor([[10.0, -10, 0], [0, 0, 0]]), atol=2.5, rtol=0.1)
    shift = DEPTH * math.tan(0.3)
    expected = torch.tensor([[10 + shift, -10, 0], [0, shift, 0]])
    torch.testing.assert_close(centres[1], expected, atol=2.5, rtol=0.1)
    tilt = start.tilt @ terms  # of the generator, from the same events
    torch.testing.assert_close(tilt, expected - torch.tensor([[10.0, -10, 0], [0, 0, 0]]), atol=2.5, rtol=0.1)


def test_occupancy_and_centre_follow_every_condition(generator, pair):
    events, made = pair
    real = events.outputs[0]
    places = torch.tensor(generator.calorimeter.cell_centres[:, :2], dtype=torch.float32)
    for column in range(4):
        values = events.condition[:, column]
        for low, high in ((0.0, 0.25), (0.4, 0.6), (0.75, 1.0)):
            near = (values >= values.quantile(low)) & (values <= values.quantile(high))
            for s in generator.calorimeter.slices():
                there, here = (x[near][:, s] for x in (real, made))
                shares = [(x > 0).float().mean().item() for x in (there, here)]
                assert shares[1] == pytest.approx(shares[0], rel=0.08)
                centres = [(x @ places[s]).sum(0) / x.sum() for x in (there, here)]
                torch.testing.assert_close(centres[1], centres[0], atol=2.0, rtol=0)


@pytest.fixture(scope="module")
def known(generator, pair):
    """Variables of showers, what the start sees of them, and their incident energies."""
    events, _ = pair
    energy = generator.incident_energy(events.condition)
    variables = generator.start.scaling(*events.outputs, energy)
    logs = generator.start.scaling.layer_logs(variables, energy)
    return (
        variables,
        generator.start.functions.inputs(generator.condition_scaling(events.condition), logs),
        energy,
    )


def test_nothing_lies_far_below_the_edge_of_the_spectrum(generator, known):
    """The variables of the cells, before they are scaled to the energy of their layer."""
    _, inputs, energy = known
    z = torch.randn(3000, generator.n_variables, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        variables = generator.start.functions.from_normal(z, inputs, energy)[:, generator.n_global :]
    edge = math.log1p(1 / generator.start.scaling.offset.item())
    hit = variables[variables > 0]
    assert (hit < 0.8 * edge).float().mean().item() < 0.03


def test_normal_numbers_of_a_shower_give_it_back(generator, known):
    variables, inputs, energy = known
    with torch.no_grad():
        z = generator.start.functions.to_normal(variables, inputs, energy)
        z = torch.where(variables > 0, z, z - 1e-4)  # of empty cells: the threshold, known up to rounding
        back = generator.start.functions.from_normal(z, inputs, energy)
    n = generator.n_global
    inside = (variables > 0) & (z < 3)
    inside[:, :n] = False
    lower = generator.start.functions._all_numbers(inputs)[1].T  # deposits below the edge become the edge
    inside[:, n:] &= variables[:, n:] > lower
    assert inside.sum() > 10_000
    torch.testing.assert_close(back[inside], variables[inside], atol=5e-3, rtol=5e-3)
    assert (back[:, n:][variables[:, n:] == 0] <= 0).all()


def test_the_compiled_quantiles_are_those_of_torch(generator, pair):
    """And their derivatives those of the values, where no edge or knot is near."""
    events, _ = pair
    condition, start = events.condition[:75], generator.start.functions
    energy = generator.incident_energy(condition)
    rng = torch.Generator().manual_seed(7)
    own = torch.randn(generator.n_variables, 75, generator=rng)
    with torch.no_grad():
        z, inputs = start(
            torch.randn(75, 4, generator=rng),
            own,
            generator.condition_scaling(condition),
            energy,
            generator.start.scaling,
        )
        cells = z[generator.n_global :]
        value, slope = start._values(cells, inputs, True)
        for made, expected in zip(start._kernel(cells, inputs, True), (value, slope), strict=True):
            torch.testing.assert_close(made, expected, atol=1e-3, rtol=1e-3)
        (up, _), (down, _) = (start._values(cells + h, inputs, False) for h in (1e-3, -1e-3))
        threshold = start._all_numbers(inputs)[0]
    numeric, over = (up - down) / 2e-3, cells - threshold
    assert slope[over < 0].eq(1).all()
    above = over > EDGE + 0.01
    assert above.sum() > 1000
    assert (slope - numeric)[above].abs().median() < 0.01 * numeric[above].abs().median()


def test_correlated_numbers_are_normal(generator):
    """Those of the cells given energies that are the same in all events."""
    rng = torch.Generator().manual_seed(4)
    condition = torch.tensor([[5.0, 0.3, 1.0, 10.0]]).expand(20_000, -1)
    features, energy = generator.condition_scaling(condition), generator.incident_energy(condition)
    n, start = generator.n_global, generator.start.functions
    own = torch.randn(generator.n_variables, 20_000, generator=rng)
    own[:n] = own[:n, :1]
    shared = torch.randn(20_000, 4, generator=rng)
    shared[:, : start.factors[0]] = shared[:1, : start.factors[0]]
    with torch.no_grad():
        z, inputs = start(shared, own, features, energy, generator.start.scaling)
    loadings = torch.cat(
        [net.products(*edges, inputs.common)[:, :, 0] @ net.read.T
         for net, edges in zip(start.loadings, inputs.edges, strict=True)]
    )  # fmt: skip
    torch.testing.assert_close(z[n:].std(1), torch.ones(len(z) - n), atol=0.03, rtol=0)
    size = torch.sqrt(1 + loadings.square().sum(1))
    expected = loadings @ loadings.T / size / size[:, None]
    expected.fill_diagonal_(1)
    torch.testing.assert_close(torch.corrcoef(z[n:]), expected, atol=0.04, rtol=0)


def test_energies_are_normal_before_their_tables(generator):
    rng = torch.Generator().manual_seed(6)
    condition = torch.tensor([[5.0, 0.3, 1.0, 10.0]]).expand(20_000, -1)
    own = torch.randn(generator.n_variables, 20_000, generator=rng)
    with torch.no_grad():
        z, _ = generator.start.functions(
            torch.randn(20_000, 4, generator=rng),
            own,
            generator.condition_scaling(condition),
            generator.incident_energy(condition),
            generator.start.scaling,
        )
    first = z[: generator.n_global]
    torch.testing.assert_close(first.std(1), torch.ones(len(first)), atol=0.03, rtol=0)


def test_azimuths_of_half_a_turn_are_the_same(generator):
    condition = torch.tensor([[5.0, 0.3, math.pi, 10.0], [5.0, 0.3, -math.pi, 10.0]])
    latent = torch.randn(1, generator.n_latent, generator=torch.Generator().manual_seed(5)).expand(2, -1)
    with torch.no_grad():
        first, second = generator(condition, latent)[0]
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)
