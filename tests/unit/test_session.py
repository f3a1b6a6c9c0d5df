"""Session: how many processes simulate, and what a run says of them."""

import dataclasses
import os

import pytest

from robodreamer.config import ADAPTATIONS, PRESETS, named_config
from robodreamer.session import choose_num_workers, describe_learning, describe_simulation
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


def test_a_run_says_what_its_protocol_changes_and_how_far_returns_reach() -> None:
    published = named_config("fetch_reach", "12m", "dreamer_v3", "default")
    said = describe_learning(published, 0.04)
    assert said.startswith("returns reach 333 steps, 13.3 s of the task;"), "nothing departs"
    cpu = named_config("fetch_reach", "cpu", "multimodal", "cpu")
    said = describe_learning(cpu, 0.04)
    for setting, value in ADAPTATIONS["cpu"].items():
        usual = getattr(PRESETS["multimodal"], setting)
        assert f"{setting} {value} (not {usual})" in said
    assert "learns as multimodal, but with" in said
    assert "an actor that waits 400 updates" in said
    reach = 0.04 * cpu.algorithm.discount_horizon
    assert f"returns reach {cpu.algorithm.discount_horizon} steps, {reach:.3g} s" in said
    scales = dataclasses.replace(cpu.algorithm.loss_scales, images=0.5)
    own = dataclasses.replace(cpu, algorithm=dataclasses.replace(cpu.algorithm, loss_scales=scales))
    assert "loss_scales.images 0.5 (not 0.03)" in describe_learning(own, 0.04)
