"""Exports are judged against double precision: rounding passes, wrong translations do not, in any output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from tiny_generator import TinyGenerator, tiny_data

from hepgan.config import Config, parse
from hepgan.data.tensors import TensorEvents
from hepgan.errors import ExportError
from hepgan.exporting import onnx as exporting
from hepgan.exporting.lowering import Compact
from hepgan.inference.generator import Generator
from hepgan.models import MODELS

BEAMS = [5.0, 10.0, 20.0, 50.0, 100.0, 150.0, 300.0]
SPECTRA: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "continuous": lambda rng, n: rng.uniform(1, 100, n),
    "beams": lambda rng, n: rng.choice(BEAMS, n),
    "two values": lambda rng, n: rng.choice([1.0, 2.0], n),
    "two close values": lambda rng, n: rng.choice([10.0, 10.001], n),
    "one value": lambda rng, n: np.full(n, 50.0),
    "nearly one value": lambda rng, n: 50 * (1 + 1e-6 * rng.normal(size=n)),
    "beams with a width": lambda rng, n: rng.choice(BEAMS, n) * (1 + 1e-5 * rng.normal(size=n)),
    "a peak": lambda rng, n: np.where(
        rng.random(n) < 0.9, 20 + 1e-3 * rng.normal(size=n), rng.uniform(1, 999, n)
    ),
    "far from zero": lambda rng, n: 3e5 + rng.integers(0, 10, n),
}


def fitted(spectrum: str, transform: str, *, seed: int = 1) -> tuple[Any, Config]:
    """A generator of two targets that depend on a condition with this spectrum; weights moved as by a training."""
    rng, n = np.random.default_rng(seed), 1500
    condition = SPECTRA[spectrum](rng, n)[:, None]
    targets = rng.normal(0.3 * np.log(condition), 1, (n, 2))
    conditions = [{"name": "beam", "transform": transform}]
    config = parse(
        {
            "data": {
                "files": ["none.root"],
                "conditions": conditions,
                "targets": [{"name": "x"}, {"name": "y"}],
            },
            "model": {"width": 16, "depth": 2},
        }
    )
    condition, targets = (torch.from_numpy(a.astype(np.float32)) for a in (condition, targets))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = MODELS["dll"].generator(config.data, config.model)
        generator.fit(
            TensorEvents(condition, (targets,), torch.ones(n)), rng=torch.Generator().manual_seed(seed)
        )
        for weight in generator.network.parameters():
            weight.data.add_(0.1 * torch.randn_like(weight))
    return generator, config


@pytest.mark.parametrize("transform", ["linear", "log"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_any_spectrum_of_a_condition_exports_and_passes_its_check(
    spectrum: str, transform: str, tmp_path: Path
) -> None:
    generator, config = fitted(spectrum, transform)
    exporting.write(generator, tmp_path / "m.onnx", data=config.data, provenance={}, metrics={})
    results = Generator(tmp_path / "m.onnx").check()
    assert all(result.passed for result in results), results


@pytest.mark.parametrize("seed", range(1, 7))
def test_beam_energies_are_no_source_of_rounding(seed: int) -> None:
    generator, config = fitted("beams", "linear", seed=seed)
    model = exporting.build(generator, data=config.data, provenance={}, metrics={})
    metadata = exporting.Metadata.model_validate_json(model.metadata_props[0].value)
    assert metadata.reference.tolerance == 1e-5, "as for any smooth network"
    slope = 1 / generator.tents.place.diff(dim=1).clamp(min=1e-9)
    assert float(slope[slope < 1e9].max()) < 100


class _Uneven(TinyGenerator):
    """The second layer has a millionth of the energy of the first one."""

    def forward(self, condition: torch.Tensor, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cells, overflow = super().forward(condition, latent)
        return torch.cat([cells[:, :6], cells[:, 6:] * 1e-6], 1), overflow


def scaled(output: str, factor: float) -> Callable[[Any], None]:
    """Multiply an output of a graph."""

    def change(model: Any) -> None:
        (last,) = (node for node in model.graph.node if output in node.output)
        last.output[0] = "before"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), "wrong"))
        model.graph.node.append(
            onnx.helper.make_node("Mul", ["before", "wrong"], [output], name="wrong_node")
        )

    return change


def without(operator: str) -> Callable[[Any], None]:
    """Let the first node of an operator do nothing."""

    def change(model: Any) -> None:
        node = next(node for node in model.graph.node if node.op_type == operator)
        del node.input[1:], node.attribute[:]
        node.op_type, node.name = "Identity", "wrong_node"

    return change


def nudged(model: Any) -> None:
    """Change one weight of the first matrix by a per mille of the largest."""
    node = next(node for node in model.graph.node if node.op_type == "Gemm")
    node.name = "wrong_node"
    tensor = next(t for t in model.graph.initializer if t.name == node.input[1])
    weight = onnx.numpy_helper.to_array(tensor).copy()
    weight.flat[0] += 1e-3 * np.abs(weight).max()
    tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))


@pytest.mark.parametrize(
    ("fault", "output", "node"),
    [
        (scaled("front", 1 + 1e-4), "front", "wrong_node"),
        (scaled("back", 1 + 1e-4), "back", "wrong_node"),
        (scaled("leak", 1 - 1e-4), "leak", "wrong_node"),
        (scaled("back", np.nan), "back", "wrong_node"),
        (without("Relu"), "front|back|leak", ".*Slice.*|.*Mul.*"),  # the first that takes a wrong number
        (without("Sigmoid"), "front|back|leak", ".*Mul"),
        (nudged, "front|back|leak", "wrong_node"),
    ],
    ids=["front", "back", "leak", "nan", "relu", "sigmoid", "weight"],
)
def test_a_wrong_translation_is_found_in_any_output_and_at_its_node(
    fault: Callable[[Any], None], output: str, node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, trace = tiny_data(), exporting._trace

    def wrong(*args: Any, **options: Any) -> Any:
        model = trace(*args, **options)
        fault(model)
        return model

    monkeypatch.setattr(exporting, "_trace", wrong)
    with pytest.raises(ExportError, match=rf"output '({output})': expected .*node '({node})'") as caught:
        exporting.write(_Uneven(data), tmp_path / "m.onnx", data=data, provenance={}, metrics={})
    assert list(tmp_path.iterdir()) == []
    marked = onnx.load_from_string(caught.value.content)
    assert '"unverified":"generator: output' in marked.metadata_props[0].value


def test_a_runtime_that_computes_otherwise_is_told_from_the_translation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Wrong(exporting.Session):
        def _run(self, *inputs: Any) -> Any:
            results = super()._run(*inputs)
            place = next((k for k, name in enumerate(self.outputs) if "Exp" in name), -1)
            results[place] = results[place] * np.float32(1.01)
            return results

    monkeypatch.setattr(exporting, "Session", Wrong)
    monkeypatch.setattr("hepgan.exporting.locating.Session", Wrong)
    data = tiny_data()
    with pytest.raises(
        ExportError, match=r"right in double precision; node '.*Exp' .* ONNX Runtime computes otherwise"
    ):
        exporting.build(TinyGenerator(data), data=data, provenance={}, metrics={})


def test_a_wrong_rewriting_is_told_from_the_translation(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Compact.forward
    monkeypatch.setattr(Compact, "forward", lambda self, c, z: (forward(self, c, z)[0] * 1.001,))
    generator, config = fitted("continuous", "log")
    with pytest.raises(ExportError, match="departs as it is rewritten for the file"):
        exporting.build(generator, data=config.data, provenance={}, metrics={})
