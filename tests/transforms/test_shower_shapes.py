import doctest

import numpy as np
import pytest
import torch

from hepgan.geometry import Calorimeter, energy_factor
from hepgan.transforms import shower_shapes
from hepgan.transforms.shower_shapes import (
    ShowerShapes,
    challenge_high_level,
    challenge_high_level_names,
    challenge_low_level,
)

CALORIMETER = Calorimeter.from_dicts(
    [
        {"shape": (3, 4), "x": (-30, 30), "y": (-40, 40), "z": (0, 10), "name": "front"},
        {"shape": (1, 1), "x": (-30, 30), "y": (-40, 40), "z": (10, 20), "name": "back"},
    ]
)
WIDTH_OF_NOTHING = 0.1  # mm, the floor that keeps the slope finite


def shapes_of(cells, overflow=(0.0, 0.0), incident=100.0, **settings):
    module = ShowerShapes(CALORIMETER, n_overflow=2, **settings)
    tensors = [torch.tensor([values], dtype=torch.float32) for values in (cells, overflow)]
    values = module(*tensors, torch.tensor([incident]))[0]
    assert len(values) == len(module.names) == len(module.units)
    return dict(zip(module.names, values.tolist(), strict=True))


def cells_with(front=(), back=0.0):
    image = np.zeros((3, 4))
    for i, j, energy in front:
        image[i, j] = energy
    return [*image.ravel(), back]


def test_shower_of_a_single_cell():
    shapes = shapes_of(cells_with([(2, 0, 50.0)]))
    assert shapes["response"] == pytest.approx(0.5)
    assert shapes["centre_x_front"] == pytest.approx(20)
    assert shapes["centre_y_front"] == pytest.approx(-30)
    assert shapes["width_x_front"] == pytest.approx(WIDTH_OF_NOTHING, abs=1e-3)
    assert shapes["occupancy_front"] == pytest.approx(1 / 12)
    assert shapes["brightest_share_front"] == pytest.approx(1)
    assert shapes["energy_ratio_front"] == pytest.approx(1)
    assert shapes["fraction_front"] == pytest.approx(1)
    assert shapes["depth"] == pytest.approx(0)


def test_symmetric_shower_is_centred():
    shapes = shapes_of(cells_with([(i, j, 1.0 + (i == 1)) for i in range(3) for j in range(4)], back=3.0))
    assert shapes["centre_x_front"] == pytest.approx(0, abs=1e-5)
    assert shapes["centre_y_front"] == pytest.approx(0, abs=1e-5)
    assert shapes["energy_ratio_front"] == pytest.approx(0)


def test_two_cells():
    # a quarter of the energy one cell (20 mm) away: variance 3/16 * 20^2
    shapes = shapes_of(cells_with([(0, 1, 30.0), (1, 1, 10.0)]))
    assert shapes["centre_x_front"] == pytest.approx(-20 + 20 / 4)
    assert shapes["width_x_front"] == pytest.approx(np.sqrt(3 / 16 * 400 + WIDTH_OF_NOTHING**2))
    assert shapes["width_y_front"] == pytest.approx(WIDTH_OF_NOTHING, abs=1e-3)
    assert shapes["brightest_share_front"] == pytest.approx(0.75)
    assert shapes["energy_ratio_front"] == pytest.approx(0.5)
    assert shapes["occupancy_front"] == pytest.approx(2 / 12)


def test_energies_sum_to_the_total_and_fractions_to_one():
    shapes = shapes_of(
        cells_with([(0, 0, 20.0), (2, 3, 10.0)], back=10.0), overflow=(4.0, 1.0), incident=50.0
    )
    energies = [
        shapes["energy_front"],
        shapes["energy_back"],
        shapes["overflow_front"],
        shapes["overflow_back"],
    ]
    assert energies == pytest.approx([30, 10, 4, 1])
    assert shapes["response"] == pytest.approx(sum(energies) / 50)
    assert shapes["fraction_front"] + shapes["fraction_back"] == pytest.approx(1)
    assert shapes["depth"] == pytest.approx(0.25)
    assert shapes["occupancy_back"] == 1
    assert shapes["energy_ratio_back"] == pytest.approx(1)  # there is no second cell


def test_empty_shower_has_finite_shapes():
    shapes = shapes_of(cells_with())
    assert all(np.isfinite(list(shapes.values())))
    assert [shapes[k] for k in ("response", "occupancy_front", "brightest_share_back", "centre_x_front")] == [
        0
    ] * 4


def test_threshold_of_the_occupancy():
    cells = cells_with([(0, 0, 0.5), (1, 1, 2.0)])
    assert shapes_of(cells, threshold=1.0)["occupancy_front"] == pytest.approx(1 / 12)
    assert shapes_of(cells)["occupancy_front"] == pytest.approx(2 / 12)


def test_soft_occupancy_has_the_exact_value_and_a_smooth_slope():
    cells = cells_with([(0, 0, 0.5), (1, 1, 2.0)])
    assert shapes_of(cells, softness=1.0) == pytest.approx(shapes_of(cells))
    energy = torch.tensor([[0.5, 2.0, 0.0] + [0.0] * 10], requires_grad=True)
    for softness, slope in ((1.0, [np.exp(-0.5), np.exp(-2.0), 1.0]), (0.0, [0.0, 0.0, 0.0])):
        module = ShowerShapes(CALORIMETER, softness=softness)
        shapes = module(energy, torch.zeros(1, 0), torch.ones(1))[0]
        occupancy = shapes[module.names.index("occupancy_front")]
        (gradient,) = torch.autograd.grad(occupancy, energy)
        assert gradient[0, :3].tolist() == pytest.approx([s / 12 for s in slope])


def test_a_scaled_shower_keeps_its_shape():
    cells = cells_with([(0, 1, 3.0), (1, 1, 10.0), (2, 2, 1.0)], back=2.0)
    once, twice = shapes_of(cells), shapes_of([2 * c for c in cells], incident=200.0)
    for name in once:
        factor = 2 if name.startswith("energy_") and "ratio" not in name else 1
        assert twice[name] == pytest.approx(factor * once[name], abs=1e-5), name


def test_real_showers_add_up(events, sample_config):
    calorimeter = sample_config.calorimeter.calorimeter()
    module = ShowerShapes(calorimeter, n_overflow=3)
    incident = torch.from_numpy(events.conditions[:, 0]) * energy_factor("GeV", "MeV")
    values = module(torch.from_numpy(events.cells), torch.from_numpy(events.overflow), incident).numpy()
    columns = dict(zip(module.names, values.T, strict=True))
    energies = sum(columns[f"energy_layer_{k}"] + columns[f"overflow_layer_{k}"] for k in range(3))
    assert np.allclose(energies / incident.numpy(), columns["response"], rtol=1e-5)
    assert np.allclose(sum(columns[f"fraction_layer_{k}"] for k in range(3)), 1, atol=1e-5)
    assert 0.98 < columns["response"].mean() < 1  # nearly all energy is contained, none is made
    assert (
        np.corrcoef(np.log(incident.numpy()), columns["depth"])[0, 1] > 0.5
    )  # showers grow deeper with energy


def test_gradients_are_right():
    generator = torch.Generator().manual_seed(5)
    cells = torch.rand((2, 13), generator=generator, dtype=torch.float64).add_(0.1).requires_grad_()
    overflow = torch.rand((2, 2), generator=generator, dtype=torch.float64).requires_grad_()
    incident = torch.full((2,), 10.0, dtype=torch.float64)
    module = ShowerShapes(CALORIMETER, n_overflow=2).double()
    smooth = [k for k, name in enumerate(module.names) if not name.startswith("occupancy")]

    def shapes(cells, overflow):
        return module(cells, overflow, incident)[:, smooth]

    assert torch.autograd.gradcheck(shapes, (cells, overflow))
    assert torch.autograd.gradgradcheck(shapes, (cells, overflow))


PIXELS = Calorimeter.from_dicts(
    [{"shape": (3, 5), "x": (-0.3, 0.3), "y": (-0.5, 0.5), "z": (0, 1), "coordinates": "eta-phi"}], unit="GeV"
)


def test_jet_of_two_pixels_by_hand():
    """m^2 = 2 pT1 pT2 (cosh(eta1 - eta2) - cos(phi1 - phi2)), of massless pixels."""
    shapes = ShowerShapes(PIXELS)
    pixels = torch.zeros(2, 15)
    pixels[0, 1], pixels[0, 14] = 30.0, 50.0  # (eta, phi) = (-0.2, -0.2) and (0.2, 0.4)
    pixels[1, 7] = 20.0
    values = shapes(pixels, torch.zeros(2, 0), torch.tensor([100.0, 100.0]))
    columns = dict(zip(shapes.names, values.T.tolist(), strict=True))
    assert columns["jet_mass"][0] == pytest.approx(
        np.sqrt(2 * 30 * 50 * (np.cosh(0.4) - np.cos(0.6))), rel=1e-3
    )
    assert columns["jet_pt"] == pytest.approx(
        [np.sqrt(30**2 + 50**2 + 2 * 30 * 50 * np.cos(0.6)), 20], rel=1e-5
    )
    assert columns["jet_mass"][1] == pytest.approx(0, abs=0.03)
    assert columns["width_x_layer_0"][1] == pytest.approx(0, abs=2e-3)
    assert columns["centre_y_layer_0"] == pytest.approx([-0.2 * 3 / 8 + 0.4 * 5 / 8, 0], abs=1e-6)


def test_only_layers_in_eta_and_phi_are_jets():
    assert "jet_mass" not in ShowerShapes(CALORIMETER).names


@pytest.mark.parametrize("calorimeter", [CALORIMETER, PIXELS])
def test_gradient_of_an_empty_shower_is_finite(calorimeter):
    cells = torch.zeros((1, calorimeter.n_cells), requires_grad=True)
    n = calorimeter.n_layers
    module = ShowerShapes(calorimeter, n_overflow=n, softness=0.5)
    (gradient,) = torch.autograd.grad(module(cells, torch.zeros(1, n), torch.ones(1)).sum(), cells)
    assert torch.isfinite(gradient).all()


def test_wrong_overflow_and_units():
    with pytest.raises(ValueError, match=r"expected one number a layer \(2\) or none, got 3"):
        ShowerShapes(CALORIMETER, n_overflow=3)
    assert energy_factor("GeV", "MeV") == 1000
    assert energy_factor("keV", "keV") == 1
    for source, target in (("GeV", "erg"), ("erg", "GeV")):
        with pytest.raises(
            ValueError, match=r"expected one of \['eV', .*'TeV'\], got 'erg'; change the unit"
        ):
            energy_factor(source, target)


POLAR = Calorimeter.from_dicts(
    [
        {"shape": (1, 3), "x": (-np.pi, np.pi), "y": (0, 10, 20, 40), "z": (0, 1), "coordinates": "polar"},
        {"shape": (4, 2), "x": (-np.pi, np.pi), "y": (0, 10, 30), "z": (1, 2), "coordinates": "polar"},
    ]
)


def high_level(calorimeter, cells, incident=1000.0, **settings):
    values = challenge_high_level(torch.tensor([cells]), torch.tensor([incident]), calorimeter, **settings)[0]
    return dict(zip(challenge_high_level_names(calorimeter), values.tolist(), strict=True))


def test_low_level_inputs_of_the_challenge():
    cells = torch.tensor([[0.5, 2.0, 0.0, 100.0], [10.0, 0.0, 1.0, 0.9]])
    inputs = challenge_low_level(cells, torch.tensor([1000.0, 100.0]), threshold=1.0)
    expected = [[3, 0, 0.002, 0, 0.1], [2, 0.1, 0, 0.01, 0]]
    assert np.allclose(inputs.numpy(), expected, atol=1e-7)
    assert cells[0, 0] == 0.5  # the caller's showers are left alone


def test_high_level_inputs_of_polar_layers_by_hand():
    # order of the cells: radius fastest, then angle (centres -135, -45, 45, 135 degrees), then layer
    cells = [0.0, 30.0, 10.0, 0.0, 0.0, 0.0, 20.0, 60.0, 0.0, 0.0, 0.5]
    shapes = high_level(POLAR, cells, threshold=1.0)
    centre_x = (20 * 20 + 60 * 5) / 80 * np.sqrt(0.5)
    centre_y = (-20 * 20 + 60 * 5) / 80 * np.sqrt(0.5)
    expected = {
        "log_incident_energy": 3,
        "log_energy_layer_0": np.log10(40),
        "log_energy_layer_1": np.log10(80),
        "centre_x_layer_1": centre_x / 100,
        "centre_y_layer_1": centre_y / 100,
        "width_x_layer_1": np.sqrt((20 * 200 + 60 * 12.5) / 80 - centre_x**2) / 100,
        "width_y_layer_1": np.sqrt((20 * 200 + 60 * 12.5) / 80 - centre_y**2) / 100,
        "log_energy": np.log10(120),
        "sparsity_layer_0": 1 / 3,
        "sparsity_layer_1": 6 / 8,
        "centre_r_layer_0": (30 * 15 + 10 * 30) / 40 / 100,
        "centre_r_layer_1": (20 * 20 + 60 * 5) / 80 / 100,
        "width_r_layer_0": np.sqrt(3 / 16) * 15 / 100,
        "width_r_layer_1": np.sqrt(3 / 16) * 15 / 100,
    }
    assert list(shapes) == list(expected)  # a layer that is not segmented in angle has no x and y
    assert shapes == pytest.approx(expected, abs=1e-6)


def test_high_level_inputs_of_cartesian_layers():
    cells = cells_with([(0, 1, 30.0), (1, 1, 10.0)], back=0.2)
    shapes, ours = high_level(CALORIMETER, cells, threshold=1.0), shapes_of(cells, incident=1000.0)
    assert shapes["centre_x_front"] == pytest.approx(ours["centre_x_front"] / 100)
    assert shapes["width_x_front"] == pytest.approx(np.sqrt(3 / 16) * 20 / 100)
    assert shapes["width_y_front"] == pytest.approx(0, abs=1e-4)  # without the floor of our own shapes
    assert shapes["centre_r_front"] == pytest.approx((30 * np.hypot(20, 10) + 10 * 10) / 40 / 100)
    assert shapes["log_energy_back"] == pytest.approx(-8)  # below threshold: empty
    assert shapes["sparsity_back"] == 1


def test_high_level_inputs_of_an_empty_shower_are_finite():
    shapes = high_level(CALORIMETER, cells_with())
    assert all(np.isfinite(list(shapes.values())))
    assert shapes["log_energy"] == pytest.approx(-8)
    assert shapes["width_r_front"] == shapes["centre_x_front"] == 0


def test_challenge_inputs_of_real_showers(events, sample_config):
    calorimeter = sample_config.calorimeter.calorimeter()
    cells = torch.from_numpy(events.cells)
    incident = torch.from_numpy(events.conditions[:, 0]) * energy_factor("GeV", "MeV")
    low, high = challenge_low_level(cells, incident), challenge_high_level(cells, incident, calorimeter)
    assert low.shape == (len(events), 505)
    assert high.shape == (len(events), len(challenge_high_level_names(calorimeter)))
    total = high[:, challenge_high_level_names(calorimeter).index("log_energy")]
    assert torch.allclose(torch.log10(low[:, 1:].sum(1)) + low[:, 0], total, atol=1e-5)
    assert high.abs().max() < 10  # of order one, as a network wants its inputs


def test_example_of_the_docstring_runs():
    assert doctest.testmod(shower_shapes) == (0, 5)
