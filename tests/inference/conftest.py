"""Fixtures of the tests of exported files: the tiny model, and altered copies of its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from tiny_generator import TinyGenerator, tiny_data

from hepgan.exporting.onnx import write
from hepgan.inference.generator import Generator

METRICS = {"auc": (0.8, 0.01), "undefined": (float("nan"), 0.0)}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    data = tiny_data()
    write(TinyGenerator(data), path, data=data, provenance={"step": 7, "data_sha256": "abc"}, metrics=METRICS)
    return path


@pytest.fixture(scope="module")
def model(model_path: Path) -> Generator:
    return Generator(model_path)


@pytest.fixture
def altered(model_path: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the file with its description or its graph changed."""

    def build(change: Callable[[Any, dict[str, Any]], None]) -> Path:
        proto = onnx.load(model_path)
        metadata = json.loads(proto.metadata_props[0].value)
        change(proto, metadata)
        if proto.metadata_props:
            proto.metadata_props[0].value = json.dumps(metadata)
        path = tmp_path / "altered.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    return build
