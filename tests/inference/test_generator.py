from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tiny_generator import TinyGenerator, tiny_data, tracks_config, tracks_generator

from hepgan.config import SHOWERS, TRACKS
from hepgan.errors import ConditionRangeError
from hepgan.exporting.onnx import write
from hepgan.inference.generator import Generator


def inputs(rows: int, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    condition = np.stack([np.geomspace(1, 65, rows), np.linspace(-0.5, 0.5, rows)], axis=1).astype(np.float32)
    return condition, rng.standard_normal((rows, size), dtype=np.float32)


def test_numbers_are_those_of_torch_in_any_batch(model: Generator) -> None:
    condition, latent = inputs(200)
    with torch.no_grad():
        generator = TinyGenerator(tiny_data())
        expected = [o.numpy() for o in generator(torch.from_numpy(condition), torch.from_numpy(latent))]
    got = model(condition, latent)
    singles = [model(condition[k : k + 1], latent[k : k + 1]) for k in range(200)]
    for k in range(2):
        scale = expected[k].max(axis=1, keepdims=True)
        np.testing.assert_allclose(got[k], expected[k], rtol=0, atol=float(1e-5 * scale.max()))
        assert np.all(np.abs(got[k] - expected[k]) <= 1e-5 * np.maximum(scale, 1e-3))
        one_by_one = np.concatenate([s[k] for s in singles])
        assert np.all(np.abs(got[k] - one_by_one) <= 1e-5 * np.maximum(scale, 1e-3))
        assert (got[k] >= 0).all()
    assert (got[0] == 0).any(), "cells without energy are exactly zero"


@pytest.mark.parametrize("overflow", [None, "tail"])
def test_outputs_without_overflow_branch(overflow: str | None, tmp_path: Path) -> None:
    data = tiny_data(layout="cells", overflow=overflow)
    path = tmp_path / "m.onnx"
    write(TinyGenerator(data, overflow=overflow is not None), path, data=data, provenance={}, metrics={})
    model = Generator(path)
    assert model.outputs == ["layer_0", "layer_1"] + (["overflow"] if overflow else [])
    assert model(*inputs(3))[1].shape == (3, 2 if overflow else 0)


def test_fixed_batch_takes_any_number_of_rows(model: Generator, tmp_path: Path) -> None:
    data = tiny_data()
    path = tmp_path / "fixed.onnx"
    write(TinyGenerator(data), path, data=data, provenance={}, metrics={}, batch=4)
    fixed = Generator(path)
    assert fixed.batch == 4
    dims = onnx.load(path).graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == [4, 2, 3]
    for rows in (1, 4, 7):
        condition, latent = inputs(rows)
        np.testing.assert_allclose(
            fixed(condition, latent)[0], model(condition, latent)[0], rtol=1e-5, atol=1e-3
        )
    assert all(ok for _, ok, _ in fixed.check())


def test_runs_on_one_thread_unless_asked(model: Generator, model_path: Path) -> None:
    options = model._run.runtime.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert Generator(model_path, threads=2)._run.runtime.get_session_options().intra_op_num_threads == 2


@pytest.mark.parametrize(
    ("condition", "extrapolate", "message"),
    [
        (
            [[10, 0], [66, 0]],
            False,
            r"'incident_energy': expected 1 to 65 GeV .the trained range., got 66 GeV in row 1",
        ),
        (
            [[10, 0.6]],
            False,
            r"'eta': expected -0.5 to 0.5 .the trained range., got 0.6 in row 0; .*--out-of-range clamp, skip or ext",
        ),
        ([[np.nan, 0]], False, "got nan GeV in row 0; extrapolation needs a finite number"),
        ([[10, np.inf]], True, "got inf in row 0; extrapolation needs a finite number"),
        ([[-1, 0]], True, "got -1 GeV in row 0; extrapolation needs .* positive one where the logarithm"),
    ],
)
def test_conditions_outside_the_range(
    condition: Any, extrapolate: bool, message: str, model: Generator
) -> None:
    with pytest.raises(ConditionRangeError, match=message):
        model.sample(np.array(condition), seed=1, extrapolate=extrapolate)


def test_extrapolation_is_possible(model: Generator) -> None:
    cells, overflow = model.sample(np.array([[100.0, -0.7]]), seed=1, extrapolate=True)
    assert np.isfinite(cells).all()
    assert overflow.shape == (1, 2)


def test_rows_that_are_skipped_are_zero_or_left_out(model: Generator, rich: Generator, caplog: Any) -> None:
    condition = np.array([[10.0, 0.0], [70.0, 0.0], [20.0, 0.1]])
    sound = np.array([[10.0, 0.0], [60.0, 0.0], [20.0, 0.1]])
    cells, overflow = model.sample(condition, seed=1, first_event=5, out_of_range="skip")
    expected, _ = model.sample(sound, seed=1, first_event=5)
    assert not cells[1].any()
    assert not overflow[1].any()
    np.testing.assert_allclose(cells[[0, 2]], expected[[0, 2]], rtol=1e-5, atol=1e-3)
    assert "1 of 3 showers skipped: expected 1 to 65 GeV (the trained range), got 70" in caplog.text
    showers = model.generate(
        {"incident_energy": condition[:, 0], "eta": condition[:, 1]},
        seed=1,
        first_event=5,
        out_of_range="skip",
    )
    assert showers.rows is not None
    assert showers.rows.tolist() == [0, 2]
    np.testing.assert_allclose(showers.arrays[0], expected[[0, 2]], rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(showers.branches()["condition_row"], [0, 2])
    assert len(model.generate_rows(condition[1:2], seed=1, out_of_range="skip")) == 0
    unknown = np.array([[30e3, 13, 3.5, 150], [30e3, 211, 3.5, 150]])  # no muons in the training
    assert rich.generate_rows(unknown, seed=1, out_of_range="skip")["RichDLLk"].shape == (1,)
    for action in ("clamp", "extrapolate"):
        with pytest.raises(ConditionRangeError, match="trained with no other; --out-of-range skip"):
            rich.sample(unknown, seed=1, out_of_range=action)


def test_conditions_are_clamped_to_the_ends_of_the_range(model: Generator) -> None:
    condition = np.array([[10.0, 0.0], [70.0, -0.9]])
    cells, _ = model.sample(condition, seed=1, out_of_range="clamp")
    c, eta = model.conditions
    ends, _ = model.sample(np.array([[10.0, 0.0], [c.high, eta.low]], np.float32), seed=1)
    np.testing.assert_array_equal(cells, ends)
    assert condition[1, 0] == 70, "the caller's array is not changed"


def test_contradicting_actions_are_refused(model: Generator) -> None:
    row = np.array([[10.0, 0.0]])
    with pytest.raises(
        ValueError, match=r"out_of_range: expected one of \['error', .*\], got 'ignore'; choose one"
    ):
        model.sample(row, seed=1, out_of_range="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected one action, got 'skip' and extrapolate; leave one out"):
        model.sample(row, seed=1, extrapolate=True, out_of_range="skip")


@pytest.mark.parametrize("call", ["sample", "generate_rows", "check_range", "__call__"])
@pytest.mark.parametrize(
    "condition", [np.full(3, 10.0), np.float32(10), np.zeros((2, 3)), np.zeros((1, 2, 2)), []]
)
def test_conditions_of_another_shape_are_named(call: str, condition: Any, model: Generator) -> None:
    arguments: dict[str, Any] = {"sample": {"seed": 1}, "generate_rows": {"seed": 1}}.get(call, {})
    arguments |= {"latent": np.zeros((1, 5))} if call == "__call__" else {}
    with pytest.raises(
        ValueError, match=r"condition: expected shape \(\d, 2\), got \([\d, ]*\); give one row"
    ):
        getattr(model, call)(condition, **arguments)


def test_samples_are_reproducible_in_any_batch(model: Generator) -> None:
    condition, _ = inputs(100)
    cells, overflow = model.sample(condition, seed=5)
    again = model.sample(condition, seed=5, batch_size=7)
    np.testing.assert_allclose(again[0], cells, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(again[1], overflow, rtol=1e-5, atol=1e-3)
    other, _ = model.sample(condition, seed=6)
    assert not np.allclose(other, cells)
    tail, _ = model.sample(condition[3:], seed=5, first_event=3)
    np.testing.assert_allclose(tail, cells[3:], rtol=1e-5, atol=1e-3)
    assert model.sample(condition[:0], seed=1)[0].shape == (0, 10)


def test_wrong_arguments(model: Generator) -> None:
    condition, latent = inputs(3)
    with pytest.raises(ValueError, match=r"latent: expected shape \(3, 5\), got \(3, 4\)"):
        model(condition, latent[:, :4])
    with pytest.raises(ValueError, match=r"condition: expected shape \(3, 2\), got \(3, 1\)"):
        model(condition[:, :1], latent)
    with pytest.raises(ValueError, match="run: expected a whole number from 0"):
        model.sample(condition, seed=1, run=-1)
    with pytest.raises(ValueError, match="first_event: expected a whole number from 0"):
        model.sample(condition, seed=1, first_event=2**64)


# Tracks


@pytest.fixture(scope="module")
def rich_generator() -> Any:
    return tracks_generator(tracks_config()).eval()


def track_rows(model: Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    condition = np.stack([rng.permutation(c.spanning(n)) for c in model.conditions], axis=1)
    return condition.astype(np.float32), rng.standard_normal((n, model.n_latent), dtype=np.float32)


def test_tracks_are_those_of_torch_in_any_batch(rich: Generator, rich_generator: Any) -> None:
    condition, latent = track_rows(rich, 2000)
    with torch.no_grad():
        expected = rich_generator(torch.from_numpy(condition), torch.from_numpy(latent))[0].numpy()
    (got,) = rich(condition, latent)
    size = np.maximum(np.abs(expected), [output.scale for output in rich.metadata.outputs])
    assert got.shape == (2000, 3)
    assert np.all(np.abs(got - expected) <= 1e-5 * size)
    assert np.array_equal(got == -999, expected == -999), "sentinels are exact"
    assert 0 < (got == -999).mean() < 0.5
    assert np.array_equal(got[:, 1] == got[:, 2], expected[:, 1] == expected[:, 2]), "ties are exact"
    singles = np.concatenate([rich(condition[k : k + 1], latent[k : k + 1])[0] for k in range(200)])
    assert np.all(np.abs(singles - got[:200]) <= 1e-5 * size[:200])


@pytest.mark.parametrize(
    ("row", "extrapolate", "message"),
    [
        ([3e4, 13, 3, 100], False, "'probe_PDG': expected one of .*pi = 211.*, got 13 in row 1; .* no other"),
        ([3e4, 13, 3, 100], True, "got 13 in row 1; the generator was trained with no other"),
        ([3e4, np.nan, 3, 100], True, "'probe_PDG': .* got nan in row 1"),
        ([3e4, 321, 3, 5000], False, "'nTracks_Brunel': expected .* got 5000 in row 1; stay inside"),
        ([-1, 321, 3, 100], True, "'Brunel_P': .* got -1 MeV/c in row 1; extrapolation needs"),
    ],
)
def test_conditions_of_tracks_are_checked(row: Any, extrapolate: bool, message: str, rich: Generator) -> None:
    good = [30000.0, 321.0, 3.0, 100.0]
    with pytest.raises(ConditionRangeError, match=message):
        rich.sample(np.array([good, row]), seed=1, extrapolate=extrapolate)
    (targets,) = rich.sample(np.array([good] * 3), seed=1)
    assert targets.shape == (3, 3)
    with pytest.raises(ValueError, match="give one row a track"):
        rich(np.array([good]), np.zeros((1, 2)))
    assert rich.sample(np.empty((0, 4)), seed=1)[0].shape == (0, 3)


def test_tracks_in_a_fixed_batch(rich: Generator, rich_generator: Any, tmp_path: Path) -> None:
    write(rich_generator, tmp_path / "m.onnx", data=tracks_config().data, provenance={}, metrics={}, batch=4)
    condition, latent = track_rows(rich, 6)
    np.testing.assert_allclose(
        Generator(tmp_path / "m.onnx")(condition, latent)[0],
        rich(condition, latent)[0],
        rtol=1e-5,
        atol=1e-4,
    )


def test_generators_say_what_they_are(model: Generator, rich: Generator) -> None:
    assert (model.kind, rich.kind) == (SHOWERS, TRACKS)
    assert "generator of showers" in repr(model)
    assert "model.onnx: front, back, leak; incident_energy: 1 to 65 GeV (the trained range), eta:" in repr(
        model
    )
    assert "generator of tracks" in repr(rich)
