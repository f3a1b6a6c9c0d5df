"""Imperfect sensors and actuators: what happens to pictures, measurements and actions."""

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_deploy.contract import ActionSpec, Array, Camera, Contract, Signal
from robodreamer_sim.randomization import Choice, Entry, Randomization, Uniform
from robodreamer_sim.randomization.image_noise import (
    add_noise,
    blur,
    change_brightness,
    change_contrast,
)
from robodreamer_sim.randomization.sensors import SignalRandomizer, delays_s

CONTRACT = Contract(
    task="toy",
    observations=(
        Signal(name="image/eye", shape=(8, 8, 3), dtype="uint8"),
        Signal(name="image/eye_depth", shape=(8, 8, 1), dtype="uint8"),
        Signal(name="image/slow", shape=(8, 8, 3), dtype="uint8", rate_hz=5.0),
        Signal(name="proprio/angle", shape=(2,), dtype="float32", labels=("hip", "knee")),
        Signal(name="proprio/speed", shape=(), dtype="float32"),
        Signal(name="proprio/mode", shape=(), dtype="int32", num_classes=3),
        Signal(name="goal/place", shape=(3,), dtype="float32"),
        Signal(name="privileged/truth", shape=(3,), dtype="float32"),
    ),
    action=ActionSpec(size=2, low=(0.0, 0.0), high=(1.0, 1.0)),
    control_dt_s=0.1,
    cameras=(
        Camera(signal="image/eye"),
        Camera(signal="image/eye_depth", depth_range_m=2.0),
        Camera(signal="image/slow"),
    ),
)
SEEN = {
    "image_brightness": {"image/eye"},
    "image_contrast": {"image/eye"},
    "image_noise": {"image/eye"},
    "image_blur": {"image/eye"},
    "camera_delay": {"image/eye", "image/eye_depth"},
    "camera_drop": {"image/eye", "image/eye_depth"},
    "measurement_bias": {"proprio/angle"},
    "measurement_noise": {"proprio/angle"},
    "measurement_delay": {"proprio/angle"},
    "action_delay": set[str](),
}
"""Signals that may differ when a field of `eye` or `angle` is randomised."""


def entry(field: str, value: float, *select: str, **settings: Any) -> Entry:
    return Entry(
        field=field,
        operation="add" if field == "measurement_bias" else "set",
        distribution=Choice(values=(value,)),
        select=select or ("*",),
        **settings,
    )


def truth(step: int) -> dict[str, Array]:
    """Return an observation whose values all encode the step."""
    rng = np.random.default_rng(step)
    values: dict[str, Array] = {}
    for signal in CONTRACT.observations:
        if signal.is_image:
            values[signal.name] = rng.integers(20, 200, signal.shape, np.uint8)
        elif signal.dtype == "int32":
            values[signal.name] = np.array(step % 3, np.int32)
        else:
            values[signal.name] = np.full(signal.shape, step, np.float32)
    return values


def episode(signals: SignalRandomizer, steps: int = 6, seed: int = 0) -> list[dict[str, Array]]:
    signals.begin(0, seed)
    seen = [signals.observe(truth(0))]
    for step in range(1, steps):
        signals.advance(CONTRACT.control_dt_s)
        seen.append(signals.observe(truth(step)))
    return seen


def of(*entries: Entry, contract: Contract = CONTRACT) -> SignalRandomizer:
    return SignalRandomizer(contract, Randomization(entries=entries))


def test_without_entries_everything_passes_unchanged_except_that_cameras_keep_their_rate() -> None:
    for step, seen in enumerate(episode(of())):
        CONTRACT.check(seen)
        for name, value in truth(step).items():
            if name != "image/slow":
                np.testing.assert_array_equal(seen[name], value)


@pytest.mark.parametrize("field", [*SEEN])
def test_a_field_changes_the_signal_it_names_and_no_other(field: str) -> None:
    value = {"camera_drop": 1.0, "image_brightness": 0.5, "image_contrast": 0.5}.get(field, 2.0)
    name = "action" if field == "action_delay" else "angle*" if "measure" in field else "eye"
    differing: set[str] = set()
    records = list(zip(episode(of()), episode(of(entry(field, value, name))), strict=True))
    if field.startswith("image_"):
        before, after = (record["image/eye"] for record in records[0])
        assert not np.array_equal(before, after)
    for plain, seen in records:
        CONTRACT.check(seen)
        differing |= {key for key in plain if not np.array_equal(plain[key], seen[key])}
    assert differing == SEEN[field]


def test_delays_are_told_by_signal_in_seconds() -> None:
    entries = (
        entry("camera_delay", 2.0, "eye"),
        entry("measurement_delay", 1.0),
        entry("measurement_delay", 3.0, "angle"),
        entry("action_delay", 1.0),
        entry("camera_drop", 0.5, "slow"),
    )
    assert delays_s(CONTRACT, Randomization(entries=entries)) == {
        **dict.fromkeys(("image/eye", "image/eye_depth"), (0.2, 0.2)),
        "proprio/angle": (3 * 0.1, 3 * 0.1),
        "proprio/speed": (0.1, 0.1),
        "action": (0.1, 0.1),
    }


def test_pictures_and_depth_of_a_camera_are_late_together() -> None:
    signals = of(entry("camera_delay", 2.0, "eye"))
    for seed in range(2):  # nothing of an episode reaches into the next
        for step, late in enumerate(episode(signals, seed=seed)):
            for name in ("image/eye", "image/eye_depth"):
                assert np.array_equal(late[name], truth(max(0, step - 2))[name])


def test_a_lost_picture_repeats_the_last_one_with_its_noise() -> None:
    drop = entry("camera_drop", 0.5, "eye")
    seen = episode(of(drop, entry("image_noise", 9.0, "eye")), steps=60)
    pictures = [record["image/eye"] for record in seen]
    repeated = [np.array_equal(a, b) for a, b in pairwise(pictures)]
    assert 15 < sum(repeated) < 45
    depth = [record["image/eye_depth"] for record in seen]
    assert repeated == [np.array_equal(a, b) for a, b in pairwise(depth)]


def test_the_first_picture_is_never_lost() -> None:
    seen = episode(of(entry("camera_drop", 1.0, "eye")))
    assert all(np.array_equal(record["image/eye"], truth(0)["image/eye"]) for record in seen)


def test_a_slow_camera_keeps_the_noise_of_its_picture() -> None:
    pictures = [record["image/slow"] for record in episode(of(entry("image_noise", 9.0, "slow")))]
    changes = [not np.array_equal(a, b) for a, b in pairwise(pictures)]
    assert changes == [False, True, False, True, False]


def test_a_bias_stays_for_an_episode_and_noise_does_not() -> None:
    bias = Entry(
        field="measurement_bias", operation="add", distribution=Uniform(low=-1.0, high=1.0)
    )
    errors = [s["proprio/speed"] - step for step, s in enumerate(episode(of(bias)))]
    np.testing.assert_allclose(errors, errors[0], atol=1e-6)
    assert errors[0] != 0.0
    assert errors[0] != episode(of(bias), seed=1)[0]["proprio/speed"]
    noisy = episode(of(entry("measurement_noise", 0.5)), steps=400)
    errors = [s["proprio/speed"] - step for step, s in enumerate(noisy)]
    assert np.std(errors) == pytest.approx(0.5, rel=0.2)
    assert abs(np.mean(errors)) < 0.1


def test_every_number_of_a_measurement_has_a_bias_of_its_own() -> None:
    bias = Uniform(low=0.5, high=1.0)
    both = Entry(field="measurement_bias", operation="add", distribution=bias)
    hip, knee = episode(of(both))[0]["proprio/angle"]
    assert hip != knee
    shift = [entry("measurement_bias", 0.5, "*.knee"), entry("measurement_bias", 1.0, "angle.*")]
    assert episode(of(*shift))[2]["proprio/angle"].tolist() == [3.0, 3.5]
    with pytest.raises(ValueError, match=r"no component 'knee' .* there are angle.knee, "):
        of(entry("measurement_bias", 0.5, "knee"))


def test_measurements_are_late() -> None:
    signals = of(entry("measurement_delay", 3.0, "angle"))
    for seed in range(2):  # nothing of an episode reaches into the next
        for step, seen in enumerate(episode(signals, seed=seed)):
            assert seen["proprio/angle"].tolist() == [max(0, step - 3)] * 2


def test_actions_are_late_and_neutral_until_the_first_arrives() -> None:
    signals = of(entry("action_delay", 2.0))
    signals.begin(0, 0)
    sent = [np.full(2, value, np.float32) for value in (0.1, 0.2, 0.3, 0.4)]
    arrived = [signals.act(action).tolist() for action in sent]
    assert arrived == [[0.0, 0.0], [0.0, 0.0], sent[0].tolist(), sent[1].tolist()]
    signals.begin(0, 1)
    assert signals.act(sent[3]).tolist() == [0.0, 0.0]


def test_a_late_choice_is_the_first_one_until_it_arrives() -> None:
    discrete = dataclasses.replace(CONTRACT, action=ActionSpec(size=3, kind="discrete"))
    signals = of(entry("action_delay", 1.0), contract=discrete)
    signals.begin(0, 0)
    assert signals.act(np.array([0, 0, 1], np.float32)).tolist() == [1.0, 0.0, 0.0]
    assert signals.act(np.array([0, 1, 0], np.float32)).tolist() == [0.0, 0.0, 1.0]


def test_the_last_of_several_entries_counts() -> None:
    signals = of(entry("measurement_delay", 3.0), entry("measurement_delay", 1.0, "angle"))
    last = episode(signals)[-1]
    assert (last["proprio/angle"][0], last["proprio/speed"]) == (4.0, 2.0)


def test_what_is_not_observed_is_answered_with_what_is() -> None:
    with pytest.raises(ValueError, match=r"image_noise: no image 'eyes' .* there are eye, slow"):
        of(entry("image_noise", 1.0, "eyes"))
    with pytest.raises(ValueError, match=r"no measurement 'place' .* there are .*angle"):
        of(entry("measurement_noise", 1.0, "place"))


def test_an_episode_repeats_with_its_seed() -> None:
    signals = of(entry("image_noise", 9.0), entry("measurement_noise", 0.5))
    first, other, again = (episode(signals, seed=seed) for seed in (1, 2, 1))
    for name in ("image/eye", "proprio/angle"):
        assert np.array_equal(first[3][name], again[3][name])
        assert not np.array_equal(first[3][name], other[3][name])


PICTURE = truth(0)["image/eye"]


@pytest.mark.parametrize("channels", [1, 3])
@given(factor=st.floats(0.0, 4.0), std=st.floats(0.0, 10.0))
def test_pictures_stay_pictures(channels: int, factor: float, std: float) -> None:
    picture = PICTURE[:, :5, :channels]
    rng = np.random.default_rng(0)
    for changed in (
        change_brightness(picture, factor),
        change_contrast(picture, factor),
        add_noise(picture, 10 * std, rng),
        blur(picture, std),
    ):
        assert (changed.shape, changed.dtype) == (picture.shape, np.uint8)
    assert np.array_equal(picture, PICTURE[:, :5, :channels])


def test_brightness_scales_and_contrast_spreads_about_the_mean() -> None:
    np.testing.assert_allclose(change_brightness(PICTURE, 0.5), PICTURE / 2, atol=0.5)
    flat = change_contrast(PICTURE, 0.5)
    assert flat.mean() == pytest.approx(PICTURE.mean(), abs=0.5)
    assert flat.std() == pytest.approx(PICTURE.std() / 2, rel=0.02)
    assert (change_brightness(PICTURE, 20.0) == 255).all()
    assert change_contrast(PICTURE, 20.0)[PICTURE < 60].max() == 0


def test_noise_is_as_strong_as_stated() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = add_noise(grey, 5.0, np.random.default_rng(0)).astype(float)
    assert (noisy.mean(), noisy.std()) == (pytest.approx(128, abs=0.2), pytest.approx(5, rel=0.05))


def test_blur_spreads_a_point_as_far_as_stated_and_keeps_a_flat_picture() -> None:
    point = np.zeros((31, 41, 3), np.uint8)
    point[15, 20] = 255
    weights = blur(point, 0.6)[..., 0].astype(float)
    distances = np.arange(31) - 15
    spread = np.sqrt((weights.sum(1) * distances**2).sum() / weights.sum())
    assert spread == pytest.approx(0.6, rel=0.1)
    assert np.array_equal(weights, weights[::-1])
    flat = np.full((9, 7, 3), 77, np.uint8)
    assert np.array_equal(blur(flat, 2.0), flat)
    assert np.array_equal(blur(PICTURE, 0.0), PICTURE)


def test_neutral_effects_change_no_bit() -> None:
    rng = np.random.default_rng(0)
    for same in (
        change_brightness(PICTURE, 1.0),
        change_contrast(PICTURE, 1.0),
        add_noise(PICTURE, 0.0, rng),
    ):
        assert np.array_equal(same, PICTURE)
