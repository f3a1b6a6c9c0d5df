"""Builder of a run: the number of processes that simulate, and the messages at its start."""

import dataclasses
import os
from typing import Any

import pytest
import torch

from robodreamer.config import named_config
from robodreamer.data.replay import Field, Replay
from robodreamer.training.builder import choose_num_workers
from robodreamer.training.startup_messages import (
    describe_learning,
    describe_simulation,
    memory_warning,
)
from robodreamer.utils.memory import Memory
from robodreamer_sim.cameras.gl_backend import BackEndChoice

CONFIG = named_config("fetch_reach", "debug", "dreamer_v3", "default")  # 16 environments
LLVMPIPE = "llvmpipe (LLVM 15.0.6, 256 bits)"
CHOICE = BackEndChoice("egl", "as MUJOCO_GL says")


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (4, 3), (64, 16)])
def test_by_default_every_core_but_one_simulates(
    cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert choose_num_workers(CONFIG) == expected
    for number in (0, 1, 7):
        assert choose_num_workers(dataclasses.replace(CONFIG, num_workers=number)) == number


def toy_replay(capacity: int) -> Replay:
    """Return a replay whose records take 1,001 bytes; nothing of it is touched."""
    fields = {"image": Field((1000,), torch.uint8), "is_first": Field((), torch.bool)}
    return Replay(fields, {}, num_envs=1, capacity=capacity, sequence_length=4, seed=0)


@pytest.mark.parametrize(
    ("changes", "total", "available", "is_new", "expected"),
    [
        ({}, 8_000_000, 2_000_000, True, None),
        ({}, 8_000_000, 900_000, True, "warned"),
        ({}, 1_000_000, 900_000, True, "refused"),
        ({}, 1_000_000, 900_000, False, "warned"),  # a resumed run has the replay that it has
        ({"minutes": 5.0}, 1_000_000, 900_000, True, "warned"),  # it may never be full
        ({"steps": 500}, 1_000_000, 900_000, True, None),  # it never will be
    ],
)
def test_a_replay_that_exceeds_the_memory_is_reported_before_the_run_begins(
    changes: dict[str, Any], total: int, available: int, is_new: bool, expected: str | None
) -> None:
    data = dataclasses.replace(CONFIG.data, replay_capacity=1_000)
    config = dataclasses.replace(CONFIG, data=data, **changes)
    memory = Memory(total, available, "this machine")
    if expected == "refused":
        with pytest.raises(ValueError, match=r"--data.replay-capacity 719 takes 80 % of that"):
            memory_warning(config, toy_replay(1_000), memory, is_new=is_new)
        return
    warning = memory_warning(config, toy_replay(1_000), memory, is_new=is_new)
    assert (warning is not None) == (expected == "warned")
    assert memory_warning(config, toy_replay(1_000), None, is_new=is_new) is None


def test_the_first_lines_name_the_processes_and_the_renderer() -> None:
    assert describe_simulation(2, 0, "", None, has_gpu=True) == "2 environments in the learner"
    assert describe_simulation(8, 1, "", CHOICE, has_gpu=False) == "8 environments in 1 process"
    said = describe_simulation(8, 3, LLVMPIPE, CHOICE, has_gpu=False)
    drawn = f"cameras drawn by {LLVMPIPE} through egl (as MUJOCO_GL says)"
    assert said == f"8 environments in 3 processes; {drawn}"


def test_software_rendering_beside_a_gpu_is_warned_about() -> None:
    assert "warning: that is software" in describe_simulation(8, 1, LLVMPIPE, CHOICE, has_gpu=True)
    assert "warning" not in describe_simulation(8, 1, "NVIDIA A100/PCIe/SSE2", CHOICE, has_gpu=True)


def test_a_run_logs_departures_from_its_preset_and_the_reach_of_returns() -> None:
    published = named_config("fetch_reach", "12m", "dreamer_v3", "default")
    assert describe_learning(published, 0.04).startswith(
        "learns as dreamer_v3\nreturns reach 333 steps, 13.3 s of the task;"
    )
    cpu = named_config("fetch_reach", "cpu", "quick", "cpu")
    assert describe_learning(cpu, 0.04).startswith(
        "learns as quick\nreturns reach 20 steps, 0.8 s of the task;"
    )
    scales = dataclasses.replace(cpu.algorithm.loss_scales, images=0.5)
    own = dataclasses.replace(cpu, algorithm=dataclasses.replace(cpu.algorithm, loss_scales=scales))
    assert "but with loss_scales.images 0.5 (not 0.03)" in describe_learning(own, 0.04)
