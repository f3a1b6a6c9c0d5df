"""Files: complete or as they were before, and damage is noticed."""

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest
import torch

from robodreamer.runs.files import (
    copy_tensors,
    locked,
    read_tensors,
    tensor_bytes,
    write_json_atomic,
)
from robodreamer_deploy.utils.atomic_write import write_atomic

WEIGHTS = {
    "bfloat16": torch.tensor([1.5, -2.0, 3.0e38]).bfloat16(),
    "bool": torch.tensor([True, False]),
    "double": torch.tensor(torch.pi, dtype=torch.float64),
    "count": torch.tensor(2**62),
    "empty": torch.zeros(0, 3),
    "nan": torch.tensor([float("nan"), -0.0]),
    "transposed": torch.arange(6.0).view(2, 3).T,
}


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())


def test_weights_come_back_to_the_bit(tmp_path: Path) -> None:
    shared = WEIGHTS | {"tied": WEIGHTS["transposed"], "part": WEIGHTS["transposed"][0]}
    write_atomic(tmp_path / "agent.safetensors", tensor_bytes(copy_tensors(shared)))
    loaded = read_tensors(tmp_path / "agent.safetensors")
    assert loaded.keys() == shared.keys()
    for name, tensor in shared.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(loaded[name]) == bits(tensor), name


def test_json_comes_back_with_every_digit(tmp_path: Path) -> None:
    data = {"a": [0.1 + 0.2, 2**80, None], "b": "ä"}
    write_json_atomic(tmp_path / "config.json", data)
    assert json.loads((tmp_path / "config.json").read_text()) == data
    with pytest.raises(ValueError, match="nan"):
        write_json_atomic(tmp_path / "config.json", {"a": float("nan")})
    assert json.loads((tmp_path / "config.json").read_text()) == data


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_json_atomic(tmp_path / "config.json", 1)
    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_json_atomic(tmp_path / "config.json", 2)
    assert json.loads((tmp_path / "config.json").read_text()) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "config.json"]


def test_damaged_and_missing_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "agent.safetensors"
    with pytest.raises(ValueError, match=r"agent.safetensors cannot be read: No such file"):
        read_tensors(path)
    write_atomic(path, tensor_bytes(copy_tensors(WEIGHTS)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"agent.safetensors is damaged"):
        read_tensors(path)


def test_the_lock_of_a_folder_that_was_deleted_and_made_again_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    flock = fcntl.flock

    def swap_and_lock(descriptor: int, operation: int) -> None:
        folder.rmdir()  # between opening and locking
        folder.mkdir()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", swap_and_lock)
    with pytest.raises(ValueError, match="another process has just deleted"), locked(folder):
        pass


def test_a_folder_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ValueError, match="another process is at work in"):
        locked(tmp_path).__enter__()
    with locked(tmp_path):
        pass
