"""lwtnn files, evaluated by an interpreter of the format that shares no code with the export."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_generator import (
    TRACK_CONDITIONS,
    TRACK_TARGETS,
    TinyGenerator,
    tiny_data,
    tracks_config,
    tracks_generator,
)

from hepgan.errors import ConfigError
from hepgan.exporting.lwtnn import write

Array = NDArray[np.float64]


def softmax(x: Array) -> Array:
    exponential = np.exp(x - x.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


ACTIVATIONS = {"linear": lambda x: x, "rectified": lambda x: np.maximum(x, 0), "softmax": softmax}


def evaluate(
    document: dict[str, Any], values: dict[str, dict[str, Array]], output: str, *, dtype: Any = np.float64
) -> dict[str, Array]:
    """Evaluate a file as lwtnn's LightweightGraph::compute (FastGraph<float> in single precision), for many rows."""
    inputs = [
        np.stack(
            [
                (values[i["name"]][v["name"]].astype(dtype) + dtype(v["offset"])) * dtype(v["scale"])
                for v in i["variables"]
            ],
            axis=1,
        )
        for i in document["inputs"]
    ]

    def node(index: int) -> Array:
        entry = document["nodes"][index]
        if entry["type"] == "input":
            numbers = inputs[entry["sources"][0]]
            assert numbers.shape[1] == entry["size"]
            return numbers
        sources = [node(k) for k in entry["sources"]]  # evaluated anew, as lwtnn does
        if entry["type"] == "concatenate":
            return np.concatenate(sources, axis=1)
        assert entry["type"] == "feed_forward"
        assert len(sources) == 1
        layer = document["layers"][entry["layer_index"]]
        assert layer["architecture"] == "dense"
        weights = np.array(layer["weights"], dtype).reshape(-1, sources[0].shape[1])
        return ACTIVATIONS[layer["activation"]](sources[0] @ weights.T + np.array(layer["bias"], dtype))

    wanted = document["outputs"][output]
    return dict(zip(wanted["labels"], node(wanted["node_index"]).T, strict=True))


def exported(generator: Any, config: Any, path: Path) -> dict[str, Any]:
    write(generator, path, data=config.data, provenance={"step": 3}, metrics={"auc": (0.6, 0.01)})
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def config() -> Any:
    return tracks_config()


@pytest.fixture(scope="module")
def generator(config: Any) -> Any:
    return tracks_generator(config).eval()


@pytest.fixture(scope="module")
def document(generator: Any, config: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return exported(generator, config, tmp_path_factory.mktemp("lwtnn") / "model.json")


def tracks(config: Any, generator: Any, n: int) -> tuple[dict[str, Array], Array]:
    """Variables across the trained range and a little beyond, and the targets of torch in double precision."""
    rng = np.random.default_rng(5)
    columns = []
    for condition, (low, high) in zip(
        config.data.conditions, generator.condition_range.tolist(), strict=True
    ):
        if condition.categories:
            columns.append(rng.choice(list(condition.categories.values()), n))
        else:
            columns.append(rng.uniform(low, high, n) * rng.choice([1, 1, 1, 0.9, 1.1], n))
    condition, latent = np.stack(columns, axis=1), rng.standard_normal((n, generator.n_latent))
    with torch.no_grad():
        double = deepcopy(generator).double()
        (targets,) = double(torch.from_numpy(condition), torch.from_numpy(latent))
    values = {
        f"log_{c.name}" if c.transform == "log" else c.name: np.log(x) if c.transform == "log" else x
        for c, x in zip(config.data.conditions, columns, strict=True)
    }
    values |= {f"latent_{k}": column for k, column in enumerate(latent.T)}
    if generator.patterns.n_patterns > 1:
        last = values.pop(f"latent_{generator.n_latent - 1}")
        values["uniform"] = torch.special.ndtr(torch.from_numpy(last)).numpy()
    return values, targets.numpy()


def test_numbers_are_those_of_torch(document: dict[str, Any], generator: Any, config: Any) -> None:
    values, expected = tracks(config, generator, 3000)
    got = evaluate(document, {"track": values}, "targets")
    assert list(got) == [t.name for t in config.data.targets]
    for (name, column), want, scale in zip(
        got.items(), expected.T, generator.target_scale.tolist(), strict=True
    ):
        np.testing.assert_allclose(column, want, rtol=0, atol=1e-6 * scale, err_msg=name)
        assert np.array_equal(column == -999, want == -999), "sentinels are exact"
        assert (want == -999).any()
    dll_k, dll_p = got["RichDLLk"], got["RichDLLp"]
    assert np.array_equal(dll_k == 0, expected[:, 1] == 0)
    assert np.array_equal(dll_k == dll_p, expected[:, 1] == expected[:, 2])
    assert (dll_k == dll_p).any(), "ties are exact"


def test_single_precision_is_enough_for_physics(
    document: dict[str, Any], generator: Any, config: Any
) -> None:
    values, expected = tracks(config, generator, 2000)
    got = evaluate(document, {"track": values}, "targets", dtype=np.float32)
    for column, want, scale in zip(got.values(), expected.T, generator.target_scale.tolist(), strict=True):
        size = np.maximum(scale, np.abs(want))
        assert np.mean(np.abs(column - want) < 1e-4 * size) > 0.999, (
            "but for patterns at the edge of their share"
        )
        assert np.mean((column == -999) == (want == -999)) > 0.999


def test_reference_vectors_reproduce(document: dict[str, Any], config: Any) -> None:
    reference = document["hepgan"]["reference"]
    track = {name: np.array(column) for name, column in reference["track"].items()}
    assert set(np.unique(track["probe_PDG"])) == {211, 321, 2212}, "every category"
    got = evaluate(document, {"track": track}, "targets")
    for name, column in reference["targets"].items():
        np.testing.assert_allclose(got[name], column, rtol=0, atol=1e-8)


def test_file_follows_the_format(document: dict[str, Any]) -> None:
    assert document.keys() == {"inputs", "input_sequences", "nodes", "layers", "outputs", "hepgan"}
    (track,) = document["inputs"]
    assert [v["name"] for v in track["variables"]] == [
        "log_Brunel_P",
        "probe_PDG",
        "Brunel_ETA",
        "nTracks_Brunel",
        "latent_0",
        "latent_1",
        "latent_2",
        "latent_3",
        "uniform",
    ]
    assert {node["type"] for node in document["nodes"]} == {"input", "feed_forward", "concatenate"}
    for index, node in enumerate(document["nodes"]):
        if node["type"] != "input":
            assert all(source < index for source in node["sources"]), "sources come first"
    description = document["hepgan"]
    assert description["kind"] == "observables"
    assert description["conditions"][1]["categories"] == {"p": 2212, "pi": 211, "K": 321}
    assert description["outputs"][1]["atoms"] == [0.0, -999.0]
    assert description["provenance"]["step"] == 3
    assert description["metrics"] == {"auc": [0.6, 0.01]}


def test_evaluation_takes_no_layer_more_than_twice(document: dict[str, Any]) -> None:
    visits = 0

    def visit(index: int) -> None:
        nonlocal visits
        visits += 1
        for source in document["nodes"][index].get("sources", []) if index else []:
            visit(source)

    visit(document["outputs"]["targets"]["node_index"])
    assert visits <= len(document["nodes"]) + 1, "lwtnn computes what nodes share again for each of them"


@pytest.mark.parametrize("ties", [False, True])
def test_continuous_targets_need_no_uniform_number(ties: bool, tmp_path: Path) -> None:
    config = tracks_config(
        conditions=TRACK_CONDITIONS[2:],
        targets=[{"name": "RichDLLe"}, {"name": "RichDLLk", "transform": "linear"}],
        ties=ties,
    )
    generator = tracks_generator(config, n=1500)
    document = exported(generator, config, tmp_path / "m.json")
    names = [v["name"] for v in document["inputs"][0]["variables"]]
    assert ("uniform" in names) == (generator.patterns.n_patterns > 1)
    values, expected = tracks(config, generator, 500)
    got = evaluate(document, {"track": values}, "targets")
    for column, want, scale in zip(got.values(), expected.T, generator.target_scale.tolist(), strict=True):
        np.testing.assert_allclose(column, want, rtol=0, atol=1e-6 * scale)


def test_refuses_what_lwtnn_cannot_express(tmp_path: Path) -> None:
    data = tiny_data()
    with pytest.raises(ConfigError, match=r"got TinyGenerator: .*no locally connected layers.*--format onnx"):
        write(TinyGenerator(data), tmp_path / "m.json", data=data, provenance={}, metrics={})
    generator = tracks_generator(tracks_config(), n=1500)
    for transform in ("log", "angle"):
        targets = [TRACK_TARGETS[0], {"name": "nPhotons", "transform": transform}]
        config = tracks_config(targets=targets)
        message = rf"target 'nPhotons': expected transform .* got '{transform}'.*--format onnx"
        with pytest.raises(ConfigError, match=message):
            write(generator, tmp_path / "m.json", data=config.data, provenance={}, metrics={})
    assert list(tmp_path.iterdir()) == []


def test_folder_in_place_of_the_file(generator: Any, config: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="expected the name of a file"):
        write(generator, tmp_path, data=config.data, provenance={}, metrics={})
