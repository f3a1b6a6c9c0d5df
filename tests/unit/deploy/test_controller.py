"""The controller: recurrent, repeatable, and the same however its work is spread over a tick."""

import numpy as np
import pytest

import toy_policy
from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.bundle import Carry
from robodreamer_deploy.policy.controller import Controller, NotFiniteError, Step, warm_up
from robodreamer_deploy.policy.latents import LatentFamily
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_deploy.policy.policy import Policy
from toy_policy import A, make_weights, random_observation

CAMERA = frozenset({"image/eye"})


def observations(num_steps: int, seed: int = 7) -> list[dict[str, Array]]:
    generator = np.random.default_rng(seed)
    return [random_observation(generator) for _ in range(num_steps)]


def actions(controller: Controller, values: list[dict[str, Array]]) -> list[Array]:
    return [controller.step(value, is_first=i == 0).action for i, value in enumerate(values)]


@pytest.mark.parametrize("draw", ["mode", "sample"])
def test_two_hundred_free_running_steps_equal_the_reference(
    each_policy: Policy, draw: ActionSelection
) -> None:
    policy, family = each_policy, each_policy.bundle.manifest.state.family
    weights = make_weights(family=family)
    controller = Controller(policy, draw=draw, seed=3)
    carry = policy.bundle.initial
    for i, observation in enumerate(observations(200)):
        is_first = i in (0, 60)
        noise = policy.noise(draw, 3, i)
        tokens = toy_policy.encode(weights["encoder"], observation)
        deter, stoch, prior, posterior = toy_policy.rssm_step(
            weights["rssm_step"], carry, tokens, is_first, noise.stoch, family
        )
        expected = toy_policy.act(weights["actor"], deter, stoch, noise.action)
        step = controller.step(observation, is_first=is_first)
        np.testing.assert_allclose(step.action, expected, atol=1e-5)
        assert step.surprise == pytest.approx(policy.latents.kl(posterior, prior), abs=1e-4)
        assert step.counter == i
        executed = (0.5 * expected).astype(np.float32)  # the robot does half of what it is told
        controller.executed(executed)
        carry = Carry(deter, stoch, executed)


def test_the_executed_action_is_what_the_model_remembers(policy: Policy) -> None:
    first, second = observations(2)
    results = []
    for executed in (np.zeros(A, np.float32), np.ones(A, np.float32)):
        controller = Controller(policy, draw="mode")
        controller.step(first, is_first=True)
        controller.executed(executed)
        results.append(controller.step(second, is_first=False).action)
    assert not np.array_equal(*results)


def test_an_episode_start_drops_all_memory(policy: Policy) -> None:
    controller = Controller(policy, draw="mode")
    fresh = controller.step(observations(1)[0], is_first=True).action
    actions(controller, observations(5, seed=1))
    again = controller.step(observations(1)[0], is_first=True).action
    np.testing.assert_array_equal(fresh, again)


def test_a_restored_snapshot_repeats_the_drive_to_the_bit(policy: Policy) -> None:
    controller = Controller(policy, draw="sample", seed=5)
    actions(controller, observations(10))
    snapshot = controller.snapshot()
    rest = observations(20, seed=8)
    first = [controller.step(value, is_first=False) for value in rest]
    controller.restore(snapshot)
    again = [controller.step(value, is_first=False) for value in rest]
    other = Controller(policy, draw="sample")
    other.restore(snapshot)
    elsewhere = [other.step(value, is_first=False) for value in rest]
    for steps in (again, elsewhere):
        np.testing.assert_array_equal([s.action for s in first], [s.action for s in steps])
        assert [s.surprise for s in first] == [s.surprise for s in steps]


def test_controllers_of_one_policy_do_not_touch_each_other(policy: Policy) -> None:
    alone = actions(Controller(policy, draw="sample", seed=1), observations(10))
    one, other = (Controller(policy, draw="sample", seed=s) for s in (1, 2))
    together = []
    for i, (mine, theirs) in enumerate(zip(observations(10), observations(10, 9), strict=True)):
        together.append(one.step(mine, is_first=i == 0).action)
        other.step(theirs, is_first=i == 0)
    np.testing.assert_array_equal(alone, together)


def test_a_reset_restarts_the_noise_of_its_seed(policy: Policy) -> None:
    controller = Controller(policy, draw="sample", seed=1)
    first = actions(controller, observations(10))
    assert not np.array_equal(first, actions(controller, observations(10)))
    controller.reset(1)
    np.testing.assert_array_equal(first, actions(controller, observations(10)))
    controller.reset(2)
    assert not np.array_equal(first, actions(controller, observations(10)))


def test_the_draw_is_the_manifests_unless_given(policy: Policy) -> None:
    assert Controller(policy).draw == "mode"
    assert Controller(policy, draw="sample").draw == "sample"


def test_warm_up_leaves_every_controller_as_it_is(policy: Policy) -> None:
    controller = Controller(policy, draw="mode")
    actions(controller, observations(3))
    before = controller.snapshot()
    assert len(warm_up(policy, 4)) == 4
    assert controller.snapshot() is not before
    for mine, old in zip(controller.snapshot().carry, before.carry, strict=True):
        np.testing.assert_array_equal(mine, old)


def test_a_model_that_is_not_finite_is_a_fault_and_leaves_the_state(policy: Policy) -> None:
    controller = Controller(policy, draw="mode")
    first, second = observations(2)
    controller.step(first, is_first=True)
    before = controller.snapshot()
    blind = {**second, "proprio/position": np.full(2, np.nan, np.float32)}
    with pytest.raises(NotFiniteError, match="step 1"):
        controller.step(blind, is_first=False)
    after = controller.snapshot()
    assert after[1:] == before[1:]
    for mine, old in zip(after.carry, before.carry, strict=True):
        np.testing.assert_array_equal(mine, old)


class Reference:
    """The toy in numpy, stepped by hand."""

    def __init__(self, policy: Policy, draw: ActionSelection, seed: int) -> None:
        self.policy, self.seed, self.counter = policy, seed, 0
        self.draw: ActionSelection = draw
        self.family: LatentFamily = policy.bundle.manifest.state.family
        self.weights, self.carry = make_weights(family=self.family), policy.bundle.initial

    def step(self, observation: dict[str, Array] | None, *, is_first: bool) -> Array:
        """Return the action; the prior draws where there is no observation."""
        noise = self.policy.noise(self.draw, self.seed, self.counter)
        tokens = toy_policy.encode(self.weights["encoder"], observation or observations(1)[0])
        deter, stoch, prior, _ = toy_policy.rssm_step(
            self.weights["rssm_step"], self.carry, tokens, is_first, noise.stoch, self.family
        )
        if observation is None:
            stoch = toy_policy.draw(prior, noise.stoch, self.family)
        action = toy_policy.act(self.weights["actor"], deter, stoch, noise.action)
        self.carry = Carry(deter, stoch, action)
        self.counter += 1
        return action


@pytest.mark.parametrize("draw", ["mode", "sample"])
def test_missing_pictures_and_skipped_ticks_are_steps_of_the_prior(
    each_policy: Policy, draw: ActionSelection
) -> None:
    controller = Controller(each_policy, draw=draw, seed=3)
    reference = Reference(each_policy, draw, 3)
    generator = np.random.default_rng(0)
    kinds = set()
    for i, observation in enumerate(observations(200)):
        kind = "posterior" if i == 0 else generator.choice(["posterior", "prior", "skip"])
        kinds.add(kind)
        if kind == "skip":
            held = reference.carry.action
            reference.step(None, is_first=False)
            reference.carry = reference.carry._replace(action=held)
            controller.skip()
            continue
        seen = observation if kind == "posterior" else None
        step = controller.step(
            {} if seen is None else seen,
            is_first=i == 0,
            missing=CAMERA if seen is None else frozenset(),
        )
        expected = reference.step(seen, is_first=i == 0)
        np.testing.assert_allclose(step.action, expected, atol=1e-5)
        assert (step.kind, step.counter) == (kind, i)
        assert np.isnan(step.surprise) == (kind == "prior")
    assert kinds == {"posterior", "prior", "skip"}
    for mine, other in zip(controller.snapshot().carry, reference.carry, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


def test_an_episode_can_begin_without_a_picture(policy: Policy) -> None:
    controller = Controller(policy, draw="sample", seed=1)
    actions(controller, observations(5))
    step = controller.step({}, is_first=True, missing=CAMERA)
    reference = Reference(policy, "sample", 1)
    reference.counter = 5
    np.testing.assert_allclose(step.action, reference.step(None, is_first=True), atol=1e-6)


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_computed_ahead_changes_no_result(policy: Policy, times: int) -> None:
    ahead, late = (Controller(policy, draw="sample", seed=2) for _ in range(2))
    for i, observation in enumerate(observations(60)):
        results = []
        for controller in (ahead, late):
            if i % 9 == 4:
                controller.skip()
            missing = CAMERA if i % 7 == 3 else frozenset()
            step = controller.step(observation, is_first=i in (0, 30), missing=missing)
            if i % 5:
                controller.executed((0.5 * step.action).astype(np.float32))
            results.append(step)
        for _ in range(times):
            ahead.advance()
        assert_same_steps(*results)


def assert_same_steps(one: Step, other: Step) -> None:
    np.testing.assert_array_equal(one.action, other.action)
    np.testing.assert_equal(one.surprise, other.surprise)
    assert one[2:] == other[2:]


def test_what_was_computed_ahead_is_dropped_when_something_else_was_executed(
    policy: Policy,
) -> None:
    first, second = observations(2)
    executed = np.full(A, 0.25, np.float32)
    one, other = (Controller(policy, draw="mode") for _ in range(2))
    for controller in (one, other):
        controller.step(first, is_first=True)
    one.advance()
    one.executed(executed)
    other.executed(executed)
    assert_same_steps(one.step(second, is_first=False), other.step(second, is_first=False))


@pytest.mark.parametrize("change", ["reset", "restore"])
def test_what_was_computed_ahead_does_not_outlive_its_state(policy: Policy, change: str) -> None:
    one, fresh = Controller(policy, draw="sample", seed=1), Controller(policy, draw="sample")
    snapshot = fresh.snapshot()
    actions(one, observations(4))
    one.advance()
    if change == "reset":
        one.reset(0)
    else:
        one.restore(snapshot)
    observation = observations(1)[0]
    assert_same_steps(
        one.step(observation, is_first=False), fresh.step(observation, is_first=False)
    )


def test_an_action_that_was_returned_is_never_written_to(policy: Policy) -> None:
    controller = Controller(policy, draw="sample")
    steps = [controller.step(value, is_first=False) for value in observations(3)]
    assert not np.array_equal(steps[0].action, steps[1].action)
    snapshot = controller.snapshot()
    before = [value.copy() for value in snapshot.carry]
    controller.step(observations(1)[0], is_first=False)
    for value, old in zip(snapshot.carry, before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_an_observation_of_another_type_is_not_converted_in_silence(policy: Policy) -> None:
    controller = Controller(policy)
    wide = {**observations(1)[0], "proprio/position": np.zeros(2)}
    with pytest.raises(TypeError, match="float64"):
        controller.step(wide, is_first=True)


def test_a_dream_that_is_not_finite_is_a_fault_too(policy: Policy) -> None:
    controller = Controller(policy, draw="mode")
    controller.step(observations(1)[0], is_first=True)
    controller.executed(np.full(A, np.nan, np.float32))
    controller.advance()
    before = controller.snapshot()
    for dream in (controller.skip, lambda: controller.step({}, is_first=False, missing=CAMERA)):
        with pytest.raises(NotFiniteError, match="step 1"):
            dream()
    for mine, old in zip(controller.snapshot().carry, before.carry, strict=True):
        np.testing.assert_array_equal(mine, old)


def test_an_episode_that_could_not_begin_leaves_nothing_behind(policy: Policy) -> None:
    one, other = (Controller(policy, draw="sample", seed=1) for _ in range(2))
    actions(one, observations(4))
    other.restore(one.snapshot())
    blind = {**observations(1)[0], "proprio/position": np.full(2, np.nan, np.float32)}
    with pytest.raises(NotFiniteError):
        one.step(blind, is_first=True)
    shown = observations(1)[0]
    assert_same_steps(one.step(shown, is_first=False), other.step(shown, is_first=False))
