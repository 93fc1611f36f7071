"""Published numbers appear where the cells are those of the publication, and nowhere else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import CALOGAN_LAYERS, TINY_LAYERS

from hepgan.evaluation.published import _POLAR, CAVEAT, PEERS, geometry, peers
from hepgan.geometry import CaloLayer, Calorimeter

CALOGAN = Calorimeter.from_dicts(CALOGAN_LAYERS)


def challenge(key):
    """The geometry as `Calorimeter.from_xml` makes it."""
    return Calorimeter(
        tuple(
            CaloLayer((bins, len(r) - 1), (-np.pi, np.pi), r, (k, k + 1), f"layer_{k}", "polar")
            for k, (bins, r) in enumerate(_POLAR[key])
        )
    )


@pytest.mark.parametrize(
    ("calorimeter", "key", "cells"),
    [
        (CALOGAN, "calogan", 504),
        (challenge("calochallenge-photons"), "calochallenge-photons", 368),
        (challenge("calochallenge-pions"), "calochallenge-pions", 533),
    ],
)
def test_published_geometries_are_recognised(calorimeter, key, cells):
    assert calorimeter.n_cells == cells
    assert geometry(calorimeter) == key
    assert {peer.geometry for peer in peers(calorimeter)} == {key}


def test_binning_file_of_the_challenge(tmp_path):
    layers = "".join(
        f'<Layer id="{k}" r_edges="{",".join(str(r) for r in radii)}" n_bin_alpha="{bins}"/>'
        for k, (bins, radii) in enumerate(_POLAR["calochallenge-photons"])
    )
    path = tmp_path / "binning.xml"
    path.write_text(f'<Bins><Bin pid="22" etaMin="0" etaMax="130" name="photon">{layers}</Bin></Bins>')
    assert geometry(Calorimeter.from_xml(path)) == "calochallenge-photons"


def changed(layer, **changes):
    layers = [dict(one) for one in CALOGAN_LAYERS]
    layers[layer] |= changes
    return Calorimeter.from_dicts(layers)


@pytest.mark.parametrize(
    "calorimeter",
    [
        Calorimeter.from_dicts(TINY_LAYERS),
        changed(0, shape=[96, 3]),
        changed(1, shape=[12, 13]),
        changed(1, x=[-240.0, 250.0]),
        changed(2, z=[197.0, 300.0]),
        changed(2, coordinates="polar", x=[-3.0, 3.0], y=[0.0, 240.0]),
        Calorimeter(CALOGAN.layers[:2]),
        Calorimeter(CALOGAN.layers[::-1]),
        Calorimeter(challenge("calochallenge-photons").layers[:-1]),
    ],
)
def test_other_geometries_have_no_peers(calorimeter):
    assert geometry(calorimeter) is None
    assert peers(calorimeter) == []


def test_names_and_position_do_not_count():
    moved = Calorimeter(
        tuple(
            replace(layer, name=f"barrel {k}", z=(layer.z[0] + 1500, layer.z[1] + 1500))
            for k, layer in enumerate(CALOGAN.layers)
        )
    )
    assert geometry(moved) == "calogan"


def test_tracks_have_no_peers():
    assert peers(None) == []


def test_best_generator_first_and_geant4_last():
    found = peers(challenge("calochallenge-photons"), metric="auc_high")
    assert [peer.model for peer in found[:2]] == ["CaloDiffusion", "CaloScore"]
    assert found[-1].model == "Geant4 against itself"
    values = [peer.value for peer in found[:-1]]
    assert values == sorted(values)
    assert found[-1].value < min(values)


def test_numbers_are_possible_and_have_a_source():
    assert len({(peer.geometry, peer.metric, peer.model) for peer in PEERS}) == len(PEERS)
    for peer in PEERS:
        assert "arXiv:" in peer.reference
        if peer.metric.startswith("auc"):
            assert 0.49 < peer.value <= 1
        else:
            assert 0 < peer.value < 1
    fpd = {peer.model: peer.value for peer in PEERS if peer.metric == "fpd"}
    assert fpd["CaloDiffusion"] == pytest.approx(0.65e-3)


def test_what_is_not_exact_says_so():
    rough = [peer for peer in peers(CALOGAN) if "approximate" in peer.remark]
    assert rough == peers(CALOGAN)
    assert "another test" in CAVEAT


def test_entries_survive_json():
    entry = peers(CALOGAN)[-1].record()
    assert json.loads(entry.model_dump_json()) == {
        "model": "CaloGAN",
        "value": 1.0,
        "uncertainty": None,
        "reference": "arXiv:1705.02355, arXiv:2106.05285",
        "remark": "approximate: told from Geant4 with nearly 100 % accuracy",
    }
