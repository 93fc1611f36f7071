"""Runs of a graph in memory that is there: one batch for each thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
from tiny_generator import TinyGenerator, tiny_data

from hepgan.exporting.onnx import write
from hepgan.inference.generator import Generator
from hepgan.inference.session import Batch, Session


def room(session: Session, rows: int, model: Generator) -> Batch | None:
    shapes = [output.shape for output in model.metadata.outputs]
    return session.room(rows, len(model.conditions), model.n_latent, shapes)


def test_threads_do_not_share_their_batch(model: Generator) -> None:
    together, session = Barrier(2, timeout=20), model._run

    def run(seed: int) -> tuple[int, bool]:
        rng, batch = np.random.default_rng(seed), room(session, 5, model)
        assert batch is not None
        batch.condition[...] = rng.uniform(2, 3, batch.condition.shape) * [1, 0.1]
        batch.latent[...] = rng.normal(size=batch.latent.shape)
        together.wait()  # both are filled
        results = batch.run()
        together.wait()  # both have run
        expected = session(batch.condition, batch.latent)
        return id(batch), all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))

    with ThreadPoolExecutor(2) as pool:
        (first, same), (second, also) = pool.map(run, (1, 2))
    assert first != second
    assert same
    assert also


def test_a_batch_is_used_again_for_as_many_rows(model: Generator) -> None:
    batch = room(model._run, 6, model)
    assert room(model._run, 6, model) is batch
    assert room(model._run, 7, model) is not batch


def test_a_fixed_batch_has_no_other_size(tmp_path: Path) -> None:
    data = tiny_data()
    write(TinyGenerator(data), tmp_path / "fixed.onnx", data=data, provenance={}, metrics={}, batch=4)
    fixed = Generator(tmp_path / "fixed.onnx")
    assert room(fixed._run, 5, fixed) is None
    assert room(fixed._run, 4, fixed) is not None
    condition = np.full((9, 2), [10, 0.1], np.float32)
    cells = [fixed.sample(condition, seed=1, batch_size=size)[0] for size in (4, 5)]
    np.testing.assert_allclose(*cells, rtol=1e-5, atol=1e-5)
