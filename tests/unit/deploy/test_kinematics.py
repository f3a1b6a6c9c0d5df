"""Kinematics of chains: what MuJoCo computes for the same model, and safe at every pose."""

from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robodreamer_deploy.contract import Array
from robodreamer_deploy.kinematics import (
    Chain,
    Link,
    rotation_from_vector,
    rotation_matrix,
    rotation_vector,
)
from robodreamer_sim.physics.serial_chain import serial_chain

SEEDS = st.integers(0, 2**32 - 1)


def random_model(random: np.random.Generator, num_bodies: int) -> mujoco.MjModel:
    """Return a chain of bodies at random, some without a joint, some with two, a branch beside."""
    spec = mujoco.MjSpec()
    body = spec.worldbody
    for i in range(num_bodies):
        body = body.add_body(pos=random.uniform(-0.3, 0.3, 3), quat=random.normal(size=4))
        body.add_geom(size=[0.01, 0, 0])
        for j in range(int(random.integers(0, 3)) if i else 1):
            is_slide = random.random() < 0.3
            kind = mujoco.mjtJoint.mjJNT_SLIDE if is_slide else mujoco.mjtJoint.mjJNT_HINGE
            body.add_joint(
                name=f"joint_{i}_{j}",
                type=kind,
                axis=random.normal(size=3),
                pos=random.uniform(-0.1, 0.1, 3),
                ref=random.uniform(-0.5, 0.5),
            )
        branch = body.add_body(pos=random.uniform(-0.3, 0.3, 3))
        branch.add_joint(name=f"beside_{i}")
        branch.add_geom(size=[0.01, 0, 0])
    body.add_site(name="hand", pos=random.uniform(-0.2, 0.2, 3), quat=random.normal(size=4))
    return spec.compile()


@given(seed=SEEDS, num_bodies=st.integers(1, 6))
def test_places_and_jacobian_are_those_of_mujoco(seed: int, num_bodies: int) -> None:
    random = np.random.default_rng(seed)
    model = random_model(random, num_bodies)
    data = mujoco.MjData(model)
    data.qpos[:] = random.uniform(-2.0, 2.0, model.nq)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    chain = serial_chain(model, "hand")
    joints = [model.joint(link.joint) for link in chain.links]
    positions = np.array([data.qpos[joint.qposadr[0]] for joint in joints])
    place = chain.pose(positions)
    np.testing.assert_allclose(place.position, data.site("hand").xpos, atol=1e-9)
    np.testing.assert_allclose(place.rotation.ravel(), data.site("hand").xmat, atol=1e-9)
    moved, turned = np.zeros((2, 3, model.nv))
    mujoco.mj_jacSite(model, data, moved, turned, model.site("hand").id)
    columns = [joint.dofadr[0] for joint in joints]
    expected = np.concatenate([moved, turned])[:, columns]
    np.testing.assert_allclose(chain.jacobian(positions), expected, atol=1e-9)


ARM = tuple(
    Link(
        joint=f"joint_{i}",
        kind="hinge",
        position=(0.05 * (i % 2), 0.0, 0.15),
        quaternion=(1.0, 0.0, 0.0, 0.0),
        axis=(0.0, 0.0, 1.0) if i in (0, 3, 5) else (0.0, 1.0, 0.0),
    )
    for i in range(6)
)
LIMITS = np.full(6, -3.0), np.full(6, 3.0)
BENT = np.array([0.3, -0.4, 1.4, 0.2, 1.2, -0.4])


def arm(**changes: Any) -> Chain:
    settings = {"frame": "hand", "links": ARM, "position": (0.0, 0.02, 0.1), "max_step": 1.0}
    return Chain(**{**settings, **changes})


def test_a_displacement_along_the_world_s_axes_is_reached_and_read_back() -> None:
    chain, wanted = arm(rotation="commanded"), np.array([0.02, -0.01, 0.015, 0.05, -0.03, 0.02])
    targets = chain.move(BENT, wanted, *LIMITS)
    start, end = chain.pose(BENT), chain.pose(targets)
    np.testing.assert_allclose(end.position - start.position, wanted[:3], atol=1e-8)
    turned = rotation_from_vector(wanted[3:]) @ start.rotation
    np.testing.assert_allclose(end.rotation, turned, atol=1e-8)
    np.testing.assert_allclose(chain.displacement(BENT, targets), wanted, atol=1e-8)


def test_a_displacement_along_the_hand_s_own_axes_is_reached_and_read_back() -> None:
    chain = arm(rotation="commanded", axes="own")
    wanted = np.array([0.02, -0.01, 0.015, 0.05, -0.03, 0.02])
    targets = chain.move(BENT, wanted, *LIMITS)
    start, end = chain.pose(BENT), chain.pose(targets)
    np.testing.assert_allclose(
        end.position, start.position + start.rotation @ wanted[:3], atol=1e-8
    )
    np.testing.assert_allclose(
        end.rotation, start.rotation @ rotation_from_vector(wanted[3:]), atol=1e-8
    )
    np.testing.assert_allclose(chain.displacement(BENT, targets), wanted, atol=1e-8)


def test_a_hand_keeps_how_it_is_turned_or_turns_as_it_has_to() -> None:
    wanted = np.array([0.02, -0.02, 0.03])
    for rotation in ("kept", "free"):
        chain = arm(rotation=rotation)
        start, end = (chain.pose(q) for q in (BENT, chain.move(BENT, wanted, *LIMITS)))
        np.testing.assert_allclose(end.position - start.position, wanted, atol=1e-8)
        has_turned = np.abs(end.rotation - start.rotation).max() > 1e-3
        assert has_turned == (rotation == "free")


def test_no_displacement_moves_no_joint_to_the_bit() -> None:
    for rotation, size in (("free", 3), ("kept", 3), ("commanded", 6)):
        chain = arm(rotation=rotation)
        np.testing.assert_array_equal(chain.move(BENT, np.zeros(size), *LIMITS), BENT)


@given(
    positions=arrays(np.float64, 6, elements=st.floats(-3, 3)),
    displacement=arrays(np.float64, 6, elements=st.floats(-1, 1)),
)
@example(positions=np.zeros(6), displacement=np.ones(6))  # stretched out: singular
def test_no_pose_and_no_displacement_move_a_joint_far_or_beyond_its_range(
    positions: Array, displacement: Array
) -> None:
    chain = arm(rotation="commanded", max_step=0.15)
    targets = chain.move(positions, displacement, *LIMITS)
    assert np.isfinite(targets).all()
    assert (np.abs(targets - positions) <= 0.15 + 1e-12).all()
    assert (targets >= LIMITS[0]).all()
    assert (targets <= LIMITS[1]).all()


def test_beyond_its_reach_an_arm_stays_stretched() -> None:
    links = tuple(link for link in ARM if link.axis == (0.0, 1.0, 0.0))
    chain = arm(links=links, position=(0.0, 0.0, 0.1), max_step=0.2)
    limits = np.full(len(links), -3.0), np.full(len(links), 3.0)
    positions = np.full(len(links), 0.05)  # nearly straight, so nearly singular
    heights = []
    for _ in range(30):
        positions = chain.move(positions, np.array([0.0, 0.0, 0.03]), *limits)
        heights.append(chain.pose(positions).position[2])
    assert np.diff(heights[5:]).min() > -1e-4
    assert np.ptp(heights[-10:]) < 1e-3


@given(vector=arrays(np.float64, 3, elements=st.floats(-1.8, 1.8)))
def test_a_rotation_vector_survives_the_matrix(vector: Array) -> None:
    np.testing.assert_allclose(rotation_vector(rotation_from_vector(vector)), vector, atol=1e-7)


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.6, -0.8, 0.0), (0.0, 0.6, 0.8)])
def test_half_a_turn_has_an_axis(axis: tuple[float, float, float]) -> None:
    rotation = rotation_matrix((0.0, *axis))
    found = rotation_vector(rotation)
    np.testing.assert_allclose(rotation_from_vector(found), rotation, atol=1e-9)
    assert np.linalg.norm(found) == pytest.approx(np.pi)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"links": ()}, "no joint moves hand"),
        ({"quaternion": (2.0, 0.0, 0.0, 0.0)}, "the quaternion of hand is of length 2"),
        ({"max_step": 0.0}, "must be above 0"),
        ({"damping": -1.0}, "must be above 0"),
    ],
)
def test_a_chain_that_is_none_is_refused(changes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        arm(**changes)
    with pytest.raises(ValueError, match="the axis of a is of length 0"):
        Link(joint="a", kind="hinge", position=(0, 0, 0), quaternion=(1, 0, 0, 0), axis=(0, 0, 0))
