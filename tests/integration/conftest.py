"""Runs that several tests look at, made once, and what a run in this process leaves behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from train_runs import train


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    """Take back the settings that a run makes for its whole process."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished quick run; only to be read."""
    run = tmp_path_factory.mktemp("quick") / "run"
    assert train(run) == 0
    return run
