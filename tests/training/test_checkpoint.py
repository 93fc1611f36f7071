import re
from pathlib import Path

import numpy as np
import pytest
import torch
from run_files import Malicious
from safetensors.torch import save_file
from torch import nn

from hepgan.errors import ModelFileError
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


def steps(folder):
    """Names and steps of the checkpoints in a folder."""
    return {path.name: checkpoint.load(path)[1]["step"] for path in folder.iterdir()}


def write(path, step, **texts):
    parts = {
        "model": {"w": torch.linspace(0, step, 50), "n": torch.tensor(step)},
        "other": {"none": torch.ones(0)},
    }
    checkpoint.save(path, parts, {"step": step, **texts})


def test_the_ones_before_are_kept(tmp_path):
    path = tmp_path / "state.safetensors"
    for step in (0, 5, 10, 10, 20):
        write(path, step)
    assert steps(tmp_path) == {path.name: 20, "state-10.safetensors": 10, "state-5.safetensors": 5}
    assert [file.name for file in checkpoint.history(path)] == [
        path.name,
        "state-10.safetensors",
        "state-5.safetensors",
    ]
    write(path, 7)  # a run that had to go on from step 5
    assert steps(tmp_path) == {path.name: 7, "state-5.safetensors": 5}


def test_a_damaged_one_is_not_kept(tmp_path):
    path = tmp_path / "state.safetensors"
    write(path, 1)
    path.write_bytes(b"")
    write(path, 2)
    assert steps(tmp_path) == {path.name: 2}


def test_without_hard_links_the_ones_before_are_copied(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    path = tmp_path / "state.safetensors"
    for step in (1, 2):
        write(path, step)
    assert steps(tmp_path) == {path.name: 2, "state-1.safetensors": 1}


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """Not in the weights, not in the header, not in the checksum itself."""
    path = tmp_path / "state.safetensors"
    write(path, 7, who="me", loss=0.1)
    whole, before = path.read_bytes(), checkpoint.load(path)
    rng, harmless = np.random.default_rng(1), 0
    for bit in rng.choice(8 * len(whole), 500, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        try:
            tensors, texts = checkpoint.load(path)
        except ModelFileError:
            continue
        harmless += 1  # in the padding, or in the name of the checksum: not in what is read
        assert all(torch.equal(tensors[key], value) for key, value in before[0].items())
        assert texts.items() >= before[1].items()
    assert harmless < 50


@pytest.mark.parametrize("end", [0, 1, 7, 100, -1])
def test_a_truncated_one_is_noticed(tmp_path, end):
    path = tmp_path / "state.safetensors"
    write(path, 7)
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(ModelFileError, match="not a hepgan checkpoint, or damaged"):
        checkpoint.load(path)


def test_one_without_a_checksum_is_read(tmp_path):
    """As version 0.1 wrote it."""
    path = tmp_path / "state.safetensors"
    save_file({"model.w": torch.ones(2)}, path, metadata={"step": "3"})
    tensors, texts = checkpoint.load(path)
    assert (tensors["model.w"].tolist(), texts) == ([1, 1], {"step": 3})


def test_a_pickle_is_refused_and_runs_nothing(tmp_path):
    path, proof = tmp_path / "state.safetensors", tmp_path / "proof"
    for content in (Malicious(proof), {"step": 1, "model": Malicious(proof)}):
        for old in (True, False):
            torch.save(content, path, _use_new_zipfile_serialization=not old)
            with pytest.raises(ModelFileError, match="not a hepgan checkpoint, or damaged"):
                checkpoint.load(path)
    assert not proof.exists()
    torch.load(path.rename(tmp_path / "state.pt"), weights_only=False)
    assert proof.exists(), "it is a pickle that does harm"


def test_nothing_in_the_package_reads_pickles():
    package = Path(checkpoint.__file__).parents[1]
    for path in package.rglob("*.py"):
        assert not re.search(r"torch\.load\(|pickle|\bdill\b|joblib|marshal", path.read_text()), path


def test_bad_checkpoints(tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(FileNotFoundError, match=r"checkpoint not found: .*the run has not written one yet"):
        checkpoint.load(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="not a hepgan checkpoint, or damaged"):
        checkpoint.load(path)
