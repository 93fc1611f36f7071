"""The compiled kernels: they are there on this machine, and everything goes on without them."""

import logging
import subprocess
import sys

import pytest
import torch

from hepgan.transforms import kernels


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library loaded yet, and an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels.library.cache_clear()
    yield tmp_path / "hepgan"
    kernels.library.cache_clear()


def test_kernels_are_compiled_where_there_is_a_compiler():
    assert kernels.library() is not None
    assert kernels.usable(torch.zeros(3))


def test_double_precision_is_left_to_torch():
    assert not kernels.usable(torch.zeros(3, dtype=torch.float64))


def test_tensors_that_are_not_contiguous_are_refused():
    with pytest.raises(
        RuntimeError, match=r"nth_largest: expected contiguous tensors, got the strides \(1, 5\)"
    ):
        kernels.run("nth_largest", 5, 3, torch.zeros(3, 5).T, torch.ones(3), torch.zeros(3), torch.zeros(3))


def test_the_library_is_compiled_once(fresh, monkeypatch):
    assert kernels.library() is not None
    (made,) = fresh.iterdir()
    assert made.suffix == ".so"
    kernels.library.cache_clear()
    time = made.stat().st_mtime_ns
    assert kernels.library() is not None
    assert made.stat().st_mtime_ns == time


def test_they_can_be_switched_off(fresh, monkeypatch):
    monkeypatch.setenv("HEPGAN_KERNELS", "off")
    assert kernels.library() is None
    assert not kernels.usable(torch.zeros(3))


def test_without_a_compiler_torch_does_the_work(fresh, monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.INFO):
        assert kernels.library() is None
    assert "the training takes two to three times as long; install g++" in caplog.text
    assert not kernels.usable(torch.zeros(3))


def test_the_threads_of_torch_do_the_same_work():
    script = """
import torch
from hepgan.models.locally_connected import LocallyConnected2d
torch.manual_seed(0)
layer, x = LocallyConnected2d(2, 5, size=(5, 7), padding=1), torch.randn(333, 2, 5, 7, requires_grad=True)
results = []
for threads in (1, 2):
    torch.set_num_threads(threads)
    y = layer(x, slope=0.1)
    results.append([y, *torch.autograd.grad(y.square().sum(), [x, layer.weight, layer.bias])])
print(all(torch.equal(a, b) for a, b in zip(*results)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr
