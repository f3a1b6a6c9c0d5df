"""Policies that were trained to do without camera frames: their graphs, manifest and steps."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from exported import ORIGIN, Exported, export_toy, make_recording
from robodreamer.export.export import export_policy
from robodreamer.export.graphs import GivenNoise
from robodreamer.learning.agent import Agent, Carry
from robodreamer_deploy.contract import Array
from robodreamer_deploy.control.clock import VirtualClock
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.control.safety import Safety
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import (
    load_bundle,
)
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.describe import describe
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.manifest import Manifest
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import replay_golden
from toy_agent import ALGORITHM, make_contract
from toy_robot import Point

pytestmark = pytest.mark.slow
CONTRACT = make_contract(discrete=True)
DROPPING = dataclasses.replace(ALGORITHM, camera_dropout=0.3)
VALIDITY = {"image/front": "is_valid/front", "image/wrist": "is_valid/wrist"}
MISSING = [frozenset[str](), frozenset({"image/front"}), frozenset(VALIDITY)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_toy(tmp_path_factory.mktemp("lossy"), CONTRACT, algorithm=DROPPING)


def test_the_manifest_names_the_bits_and_the_graphs_read_them(exported: Exported) -> None:
    manifest = exported.manifest
    assert manifest.validity == VALIDITY
    assert Manifest.from_json(manifest.to_json()) == manifest
    for name in ("encoder.onnx", "policy.onnx"):
        inputs = {t.name: (t.shape, t.dtype) for t in manifest.graphs[name].inputs}
        for bit in VALIDITY.values():
            assert inputs[bit] == ((1,), "bool")
    assert any("is_valid/front" in line for line in describe(manifest))


def test_half_of_the_bits_that_an_export_is_verified_with_are_off(exported: Exported) -> None:
    parity = exported.verify()
    assert parity.num_steps > 700
    for trace in exported.reference:
        for bit in VALIDITY.values():
            assert 0.3 < trace.golden.observations[bit].mean() < 0.7


def test_a_graph_that_ignores_a_bit_is_refused(exported: Exported) -> None:
    shown = dict(exported.reference.sample.golden.observations)
    shown["is_valid/front"] = np.ones_like(shown["is_valid/front"])
    golden = dataclasses.replace(exported.reference.sample.golden, observations=shown)
    changed = exported.reference._replace(sample=exported.reference.sample._replace(golden=golden))
    with pytest.raises(BundleError, match=r"encoder\.onnx: tokens is off"):
        exported.verify(changed)


def torch_action(agent: Agent, carry: Carry, shown: dict[str, Array], noise: list[Array]) -> Carry:
    """Do a step of the agent in torch."""
    tensors = {name: torch.from_numpy(value)[None] for name, value in shown.items()}
    sampler = GivenNoise(*(torch.from_numpy(values)[None] for values in noise))
    return agent.act(carry, tensors, torch.zeros(1, dtype=torch.bool), sampler)


def test_a_controller_goes_on_as_the_agent_does_whatever_is_missing(exported: Exported) -> None:
    policy, agent = exported.policy(), exported.agent
    controller, carry = Controller(policy, draw="sample", seed=2), agent.initial_carry(1)
    observations = exported.recording.observations
    for i in range(200):
        missing = MISSING[i % 3]
        shown = {name: np.asarray(values[i]) for name, values in observations.items()}
        bits = {bit: np.array(camera not in missing) for camera, bit in VALIDITY.items()}
        noise = [*policy.noise("sample", 2, i)]
        carry = torch_action(agent, carry, {**shown, **bits}, noise)
        step = controller.step(
            {name: value for name, value in shown.items() if name not in missing},
            is_first=False,
            missing=missing,
        )
        expected = carry.action[0].numpy()
        np.testing.assert_array_equal(step.action, expected)
        assert step.kind == ("partial" if missing else "posterior")
        assert np.isfinite(step.surprise)


def first_of(seed: int) -> dict[str, Array]:
    """Return an observation."""
    recorded = make_recording(CONTRACT, 1, seed=seed).observations
    return {name: np.asarray(values[0]) for name, values in recorded.items()}


def test_what_a_camera_last_showed_does_not_matter_once_it_is_missing(exported: Exported) -> None:
    steps: list[Array] = []
    for seed in (0, 1):
        controller = Controller(exported.policy(), draw="mode")
        before = controller.snapshot()
        controller.step(first_of(seed), is_first=True)
        controller.restore(before)
        steps.append(controller.step(first_of(2), is_first=True, missing=MISSING[1]).action)
    np.testing.assert_array_equal(steps[0], steps[1])


def test_a_robot_accepts_the_folder_and_repeats_steps_with_and_without_frames(
    exported: Exported, tmp_path: Path
) -> None:
    out = tmp_path / "policy"
    manifest = export_policy(exported.agent, exported.recording, out, origin=ORIGIN)
    assert manifest.validity == VALIDITY
    policy = Policy(load_bundle(out))
    golden = load_golden(policy.bundle)
    replay_golden(policy, golden)
    for bit in VALIDITY.values():
        assert 0 < golden.observations[bit].sum() < len(golden)


class Flickering(Point):
    """Shows the toy agent's observation, every other one without its front camera."""

    def get_observation(self) -> dict[str, Array]:
        observation = first_of(self.steps)
        if self.steps % 2:
            del observation["image/front"]
        return observation

    def send_action(self, action: Array) -> Array:
        self.steps += 1
        return action


def test_the_loop_counts_steps_without_a_frame(exported: Exported) -> None:
    robot = Flickering("", CONTRACT)
    safety = Safety(robot, CONTRACT.action, control_dt_s=CONTRACT.control_dt_s)
    clock, controller = VirtualClock(), Controller(exported.policy())
    loop = ControlLoop(controller, safety, clock=clock, is_stepped=True)
    loop.run(robot, lambda: "enough" if robot.steps == 10 else None)
    stats = loop.stats
    assert (stats.partial_steps, stats.prior_steps, stats.held_ticks) == (5, 0, 0)
    assert stats.missing_frames == {"image/front": 5}
    assert len(stats.surprise) == 10


@pytest.mark.parametrize("validity", [{"image/front": "is_valid/front"}, {"image/front": "x"}])
def test_a_manifest_with_some_of_the_bits_is_refused(
    exported: Exported, validity: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="expected a bit of every camera or none"):
        dataclasses.replace(exported.manifest, validity=validity)
