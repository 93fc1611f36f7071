from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from hepgan.inference.generator import Generator
from hepgan.inference.metadata import content_digest


def test_check_passes_and_says_what_it_did(model: Generator) -> None:
    results = model.check()
    assert all(ok for _, ok, _ in results), results
    assert [name for name, _, _ in results] == [
        "weights",
        "reference vectors",
        "one row = many rows",
        "energies",
        "operators",
    ]


def test_check_finds_a_changed_graph(altered: Callable[..., Path]) -> None:
    def change(proto: Any, metadata: dict[str, Any]) -> None:
        next(n for n in proto.graph.node if n.op_type == "Sigmoid").op_type = "Tanh"
        metadata["content_sha256"] = content_digest(proto)

    failed = {name for name, ok, _ in Generator(altered(change)).check() if not ok}
    assert failed == {"reference vectors"}


def test_check_finds_foreign_operators_and_negative_energies(altered: Callable[..., Path]) -> None:
    def change(proto: Any, metadata: dict[str, Any]) -> None:
        next(n for n in proto.graph.node if n.op_type == "Relu").op_type = "Sinh"
        metadata["content_sha256"] = content_digest(proto)

    results = {name: (ok, detail) for name, ok, detail in Generator(altered(change)).check()}
    assert not results["operators"][0]
    assert "not in the common set: Sinh" in results["operators"][1]
    assert results["energies"] == (False, "NaN, infinite or negative energies")


def test_check_of_tracks(rich: Generator) -> None:
    results = {name: (ok, detail) for name, ok, detail in rich.check()}
    assert all(ok for ok, _ in results.values()), results
    assert "exactly at an atom" in results["targets"][1]


def test_check_finds_smeared_sentinels(rich: Generator, tmp_path: Path) -> None:
    proto = onnx.load(rich.path)
    metadata = json.loads(proto.metadata_props[0].value)
    for output in metadata["outputs"]:
        output["atoms"] = [-998.5 if atom == -999 else atom for atom in output["atoms"]]
    proto.metadata_props[0].value = json.dumps(metadata)
    (tmp_path / "smeared.onnx").write_bytes(proto.SerializeToString())
    results = {name: (ok, detail) for name, ok, detail in Generator(tmp_path / "smeared.onnx").check()}
    assert results["targets"] == (False, "RichDLLe: -999 instead of -998.5")
