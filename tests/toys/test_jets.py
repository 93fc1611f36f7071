"""Jet images against their truth: masses of the prongs, momenta, decades, where the subjets are."""

from pathlib import Path

import numpy as np
import pytest
import torch
import uproot

import hepgan
from hepgan import toys
from hepgan.config import load
from hepgan.toys.jets import HALF_WIDTH, JET_PT_RANGE, PIXELS, W_MASS, four_momenta, jet_images
from hepgan.transforms.shower_shapes import ShowerShapes

CENTRES = (np.arange(PIXELS) + 0.5) * (2 * HALF_WIDTH / PIXELS) - HALF_WIDTH


@pytest.fixture(scope="module")
def sample():
    return jet_images(20_000, rng=np.random.default_rng(1))


def momenta(image):
    """Four-momenta (n, 4) of images, each pixel massless."""
    return four_momenta(image, CENTRES[:, None], CENTRES).sum((1, 2))


def masses(image):
    p = momenta(image)
    return np.sqrt(np.maximum(p[:, 0] ** 2 - (p[:, 1:] ** 2).sum(1), 0))


def test_four_momenta_are_massless():
    rng = np.random.default_rng(2)
    pt, eta, phi = rng.uniform(0.1, 300, 100), rng.normal(size=100), rng.uniform(-3, 3, 100)
    energy, *p = four_momenta(pt, eta, phi).T
    assert energy**2 == pytest.approx(sum(k**2 for k in p))
    assert np.hypot(p[0], p[1]) == pytest.approx(pt)
    assert np.arctanh(p[2] / energy) == pytest.approx(eta)


def test_branches(sample):
    assert {name: (values.dtype, values.shape[1:]) for name, values in sample.items()} == {
        "parton_pt": (np.float32, ()),
        "prongs": (np.int32, ()),
        "jet_mass": (np.float32, ()),
        "image": (np.float32, (PIXELS, PIXELS)),
    }
    assert np.unique(sample["prongs"], return_counts=True)[1].tolist() == [10_000, 10_000]
    assert abs(np.corrcoef(sample["prongs"][1:], sample["prongs"][:-1])[0, 1]) < 0.04  # in random order
    low, high = JET_PT_RANGE
    assert low <= sample["parton_pt"].min() < low + 1
    assert high - 1 < sample["parton_pt"].max() <= high


def test_two_prongs_have_the_mass_of_the_w(sample):
    mass = masses(sample["image"][sample["prongs"] == 2])
    counts, edges = np.histogram(mass, np.arange(0, 200, 2.0))
    assert edges[counts.argmax()] + 1 == pytest.approx(
        W_MASS, abs=2.5
    )  # kicks and soft particles add 1 to 2 GeV
    quartiles = np.quantile(mass, [0.25, 0.75])
    assert quartiles[1] - quartiles[0] < 7
    assert np.mean(np.abs(mass - W_MASS) < 15) > 0.97


def test_one_prong_has_a_falling_mass_without_a_peak(sample):
    mass = masses(sample["image"][sample["prongs"] == 1])
    counts, _ = np.histogram(mass, [20, 40, 60, 80, 100, 120, 140])
    assert (np.diff(counts) < 0).all()
    assert np.median(mass) < 0.5 * W_MASS


def test_pixels_keep_mass_and_momentum(sample):
    mass, made = sample["jet_mass"], masses(sample["image"])
    assert np.mean(made - mass) == pytest.approx(0, abs=0.3)
    assert np.std(made - mass) < 2.5  # GeV, of pixels of 0.1 x 0.1
    scalar = sample["image"].sum((1, 2)) / sample["parton_pt"]
    one, two = (scalar[sample["prongs"] == k] for k in (1, 2))
    assert np.mean(one) == pytest.approx(1, abs=0.01)
    assert np.mean(two) == pytest.approx(1.025, abs=0.01)  # two prongs at an angle: the scalar sum is larger
    _, x, y, _ = momenta(sample["image"]).T
    pt = np.hypot(x, y) / sample["parton_pt"]
    assert np.mean(pt[sample["prongs"] == 1]) == pytest.approx(1, abs=0.01)
    # prongs of equal pT, m / (pT / 2) apart in azimuth: cos(m / pT) = 0.96; of unequal pT: nearer to 1
    assert np.mean(pt[sample["prongs"] == 2]) == pytest.approx(0.98, abs=0.01)


def test_images_are_sparse_over_several_decades(sample):
    image = sample["image"]
    assert 0.01 < (image > 0).mean() < 0.1
    low, high = np.quantile(image[image > 0], [0.01, 0.999])
    assert high / low > 3e3
    assert image.min() == 0


def test_the_leading_subjet_is_in_the_middle_and_the_second_one_below(sample):
    two = sample["image"][sample["prongs"] == 2]
    middle = PIXELS // 2
    core = two[:, middle - 2 : middle + 3, middle - 2 : middle + 3].sum((1, 2))
    below = two[:, middle - 2 : middle + 3, : middle - 2].sum((1, 2))
    whole = two.sum((1, 2))
    assert np.mean(core / whole) > 0.5
    assert np.mean((core + below) / whole) > 0.95
    left, right = two[:, :middle].sum((1, 2)), two[:, middle + 1 :].sum((1, 2))
    assert (
        np.mean(right >= left - 1e-3) == 1
    )  # the column in the middle, which has most pT, is on neither side
    mean = two.mean(0)
    tail = mean[middle, : middle - 3]
    assert CENTRES[tail.argmax()] == pytest.approx(-2 * W_MASS / np.mean(JET_PT_RANGE), abs=0.2)


def test_shapes_of_images_are_those_of_the_toy(sample):
    data = load(Path(hepgan.__file__).parent / "configs" / "jets.toml").data
    shapes = ShowerShapes(data.calo.calorimeter())
    image, pt = (
        torch.from_numpy(sample["image"][:500]).flatten(1),
        torch.from_numpy(sample["parton_pt"][:500]),
    )
    columns = dict(zip(shapes.names, shapes(image, torch.zeros(500, 0), pt).numpy().T, strict=True))
    mass = masses(sample["image"][:500])
    assert columns["jet_mass"] == pytest.approx(mass, abs=0.5, rel=0.01)
    _, x, y, _ = momenta(sample["image"][:500]).T
    assert columns["jet_pt"] == pytest.approx(np.hypot(x, y), rel=1e-4)
    units = dict(zip(shapes.names, shapes.units, strict=True))
    assert (units["jet_mass"], units["width_x_image"]) == ("GeV", "")


def test_file_is_read_as_a_calorimeter(tmp_path):
    path = tmp_path / "jets.root"
    toys.write("jets", path, n=300, seed=4)
    with uproot.open(path) as file:
        image = file["jets"]["image"].array(library="np")
    expected = jet_images(300, rng=np.random.default_rng(np.random.SeedSequence(4).spawn(1)[0]))
    assert np.array_equal(image, expected["image"])
