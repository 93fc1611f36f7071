from pathlib import Path

import pytest
import torch
from torch import nn

from hepgan.training import checkpoint


def test_tensors_and_texts_come_back(tmp_path):
    path = tmp_path / "new" / "state.safetensors"
    layer = nn.Linear(2, 3)
    checkpoint.save(
        path, {"model": layer.state_dict(), "other": {"a.b": torch.arange(3)}}, {"step": 7, "who": None}
    )
    tensors, texts = checkpoint.load(path)
    assert texts == {"step": 7, "who": None}
    assert torch.equal(checkpoint.part(tensors, "model")["weight"], layer.weight)
    assert torch.equal(checkpoint.part(tensors, "other")["a.b"], torch.arange(3))


def test_restored_optimizer_takes_the_same_steps(tmp_path):
    def step(parameter, optimizer):
        optimizer.zero_grad()
        (parameter**2).sum().backward()
        optimizer.step()

    first, second = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    running, fresh = (torch.optim.Adam([p], lr=0.1, betas=(0.5, 0.9)) for p in (first, second))
    step(first, running)
    second.data.copy_(first.data)
    path = tmp_path / "state.safetensors"
    checkpoint.save(path, {"optimizer": checkpoint.optimizer_state(running)}, {"step": 1})
    checkpoint.restore_optimizer(fresh, checkpoint.part(checkpoint.load(path)[0], "optimizer"))
    for parameter, optimizer in ((first, running), (second, fresh)):
        step(parameter, optimizer)
    assert torch.equal(first, second)


def test_full_disk_leaves_the_one_before(tmp_path, monkeypatch):
    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    path = tmp_path / "state.safetensors"
    checkpoint.save(path, {"model": {"w": torch.ones(1)}}, {"step": 1})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="it was the first: --resume starts anew"):
        checkpoint.save(tmp_path / "first.safetensors", {"model": {"w": torch.zeros(1)}}, {"step": 2})
    with pytest.raises(OSError, match=r"could not be written .*No space left.*; the one before is intact"):
        checkpoint.save(path, {"model": {"w": torch.zeros(1)}}, {"step": 2})
    assert checkpoint.load(path)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_bad_checkpoints(tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(FileNotFoundError, match=r"checkpoint not found: .*the run has not written one yet"):
        checkpoint.load(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="not a hepgan checkpoint, or damaged"):
        checkpoint.load(path)
