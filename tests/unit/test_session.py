"""Session: how many processes simulate, and what a run says of them."""

import dataclasses
import os

import pytest

from robodreamer.config import named_config
from robodreamer.session import choose_num_workers, describe_simulation
from robodreamer_sim.cameras.graphics import Choice

CONFIG = named_config("fetch_reach", "debug", "dreamer_v3", "default")  # 16 environments
LLVMPIPE = "llvmpipe (LLVM 15.0.6, 256 bits)"
CHOICE = Choice("egl", "as MUJOCO_GL says")


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (4, 3), (64, 16)])
def test_by_default_every_core_but_one_simulates(
    cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert choose_num_workers(CONFIG) == expected
    for number in (0, 1, 7):
        assert choose_num_workers(dataclasses.replace(CONFIG, num_workers=number)) == number


def test_a_run_says_what_simulates_and_what_draws() -> None:
    assert describe_simulation(2, 0, "", None, has_gpu=True) == "2 environments in the learner"
    assert describe_simulation(8, 1, "", CHOICE, has_gpu=False) == "8 environments in 1 process"
    said = describe_simulation(8, 3, LLVMPIPE, CHOICE, has_gpu=False)
    drawn = f"cameras drawn by {LLVMPIPE} through egl (as MUJOCO_GL says)"
    assert said == f"8 environments in 3 processes; {drawn}"


def test_software_rendering_beside_a_gpu_is_complained_about() -> None:
    assert "warning: that is software" in describe_simulation(8, 1, LLVMPIPE, CHOICE, has_gpu=True)
    assert "warning" not in describe_simulation(8, 1, "NVIDIA A100/PCIe/SSE2", CHOICE, has_gpu=True)
