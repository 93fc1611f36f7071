"""Layers with a few hits: as many as their energy allows, in the module and in the generator."""

import pytest
import torch

from hepgan.geometry import CaloLayer, Calorimeter
from hepgan.models.hits import FewHits, _around

CELLS, EVENTS = 20, 4000


def calorimeter(n=CELLS):
    layer = CaloLayer(name="a", shape=(n // 4, 4), x=(-1.0, 1.0), y=(-1.0, 1.0), z=(0.0, 1.0))
    return Calorimeter(layers=(layer,), unit="MeV")


@pytest.fixture(scope="module")
def fitted():
    """Events whose number of hits follows the energy exactly, and a start in which it does not."""
    rng = torch.Generator().manual_seed(0)
    energy = 10 * torch.exp(torch.rand(EVENTS, generator=rng))
    logs = 3 * torch.rand(1, EVENTS, generator=rng)
    number = 1 + (2 * logs[0]).round().long()
    hits = torch.arange(CELLS)[:, None] < number
    distances = torch.randn(CELLS, EVENTS, generator=rng) - 0.8
    few = FewHits(calorimeter(), nodes=13, energies=2)
    weights = torch.ones(EVENTS)
    few.choose(hits, weights)
    few.fit(hits, logs, energy, weights, (logs, distances, energy))
    return few, distances, logs, energy, number


def test_number_of_hits_follows_the_energy(fitted):
    few, distances, logs, energy, number = fitted
    before = (distances > 0).sum(0)
    shifted = (distances - few(0, distances, logs, energy) > 0).sum(0)
    assert (before - number).abs().float().mean() > 1.5
    assert (shifted - number).abs().float().mean() < 0.5
    assert (shifted >= 1).all()


def test_hits_are_those_that_were_nearest_to_one(fitted):
    few, distances, logs, energy, _ = fitted
    hit = distances - few(0, distances, logs, energy) > 0
    least = torch.where(hit, distances, torch.inf).amin(0)
    assert (torch.where(hit, -torch.inf, distances).amax(0) < least).all()


def test_events_with_the_right_number_stay_as_they_are(fitted):
    few, distances, logs, energy, _ = fitted
    shift = few(0, distances, logs, energy)
    same = (distances - shift > 0).sum(0) == (distances > 0).sum(0)
    assert 0.05 < same.float().mean() < 0.9
    empty = torch.where(distances > 0, -torch.inf, distances).amax(0)
    # moved at most until the first empty cell has its margin below the threshold
    assert (shift[same] <= 0).all()
    assert (shift[same] >= empty[same]).all()


def test_no_cell_is_moved_to_its_threshold(fitted):
    few, distances, logs, energy, _ = fitted
    shift = few(0, distances, logs, energy)
    moved = (distances - shift)[:, shift != 0]
    hits = torch.where(moved > 0, moved, torch.inf)
    others = torch.where(moved > 0, -torch.inf, moved)
    assert moved.shape[1] > 100
    assert (moved.abs().amin(0) > 0.005 * (hits.amin(0) - others.amax(0))).all()


@pytest.mark.parametrize("many", [False, True])
def test_order_is_the_same_with_and_without_kernels_and_in_a_graph(many, monkeypatch):
    rng = torch.Generator().manual_seed(1)
    distances = torch.randn(30, 70 if many else 1, generator=rng)
    number = torch.randint(1, 31, (1, distances.shape[1]), generator=rng).float()
    number[0, 0] = 30
    order = distances.sort(0, descending=True).values
    expected = [order[int(n) - 1, b] for b, n in enumerate(number[0])]
    after = [order[min(int(n), 29), b] for b, n in enumerate(number[0])]
    compiled, plain = _around(distances, number), _around(distances.double(), number.double())
    monkeypatch.setattr("torch.onnx.is_in_onnx_export", lambda: True)
    graph = _around(distances, number)
    for found in (compiled, plain, graph):
        torch.testing.assert_close(found[0].float(), torch.stack(expected), rtol=0, atol=0)
        torch.testing.assert_close(found[1].float(), torch.stack(after), rtol=0, atol=0)


def test_only_layers_with_a_few_hits_are_chosen_and_they_are_saved(fitted):
    few, *_ = fitted
    assert few.few == [0]
    other = FewHits(calorimeter(), nodes=13, energies=2)
    other.load_state_dict(few.state_dict())
    assert other.few == [0]
    dense = FewHits(calorimeter(40))
    dense.choose(torch.ones(40, 10, dtype=torch.bool), torch.ones(10))
    assert dense.few == []


def test_too_few_events_give_any_order_but_no_failure():
    few = FewHits(calorimeter())
    hits = torch.rand(CELLS, 12, generator=torch.Generator().manual_seed(2)) < 0.1
    logs, energy, weights = torch.ones(1, 12), torch.arange(1.0, 13), torch.ones(12)
    few.choose(hits, weights)
    few.fit(hits, logs, energy, weights, (logs, torch.randn(CELLS, 12), energy))
    shift = few(0, torch.randn(CELLS, 12), logs, energy)
    assert shift.isfinite().all()
