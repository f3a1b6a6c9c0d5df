"""Figures of random actions in a task: a table, and advice where a figure is unusual."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from robodreamer.config import TrainConfig
from robodreamer_deploy.utils.table import format_row
from robodreamer_sim.testing.random_policy import Encounter, SignalRange, Vector

FAR_OUTSIDE = 2.0
"""Distance of a value from its range, in widths of the range, that is unusual. Less is common:
velocities overshoot and dropped objects fall (up to 1.4 in the listed tasks)."""
HARDLY_USED = 0.002
"""Used share of a range that suggests another unit, such as metres for millimetres. A gripper that
stays closed uses 0.008."""
DEEP_M = 0.002
"""Depth of a contact that is unusual. Geoms at rest are up to a millimetre inside each other, as
MuJoCo's contacts are soft."""
MOST = 0.5
"""Share of commands at a force limit that is unusual."""
COLUMNS, WIDTH = (32, 18), 70  # the table is indented by ten


class Oddity(NamedTuple):
    """Unusual figure, and the remedy."""

    name: str
    text: str


def format_figures(met: Encounter, config: TrainConfig) -> Iterator[str]:
    """Yield the rows of a table of declared and measured values, at most 70 columns wide."""
    yield _row("", "declared", "met")
    for values in met.signals:
        yield _row(_title(values), _declared(values), _span(values.smallest, values.largest))
    rewards = np.concatenate(met.rewards)
    bins = f"bins to {_bin_limit(config):.4g}"
    yield _row("reward per step", bins, _distribution(rewards))
    yield _row("reward per episode", "", _distribution(_returns(met)))
    yield _row("return, discounted", bins, _distribution(_discounted(met, config)))
    if met.successes:
        yield _row("episodes with success", "", f"{np.mean(met.successes):.0%}")
    if met.at_force_limit:
        share = float(np.mean(list(met.at_force_limit.values())))
        yield _row("commands at a force limit", "", f"{share:.0%}")
    if met.contacts:
        yield _row("contacts at the start", "", f"{np.mean(met.contacts):.3g} on average")


def find_oddities(met: Encounter, config: TrainConfig) -> Iterator[Oddity]:
    """Yield the figures that break no promise, but may keep an agent from learning."""
    yield from _check_constants(met)
    for values in met.signals:
        if values.signal.low is not None and values.signal.high is not None:
            yield from _check_range(values, _floats(values.signal.low), _floats(values.signal.high))
    for sentence in met.blind:
        yield Oddity("picture", sentence)
    yield from _check_rewards(met, config)
    yield from _check_success(met)
    yield from _check_body(met)


def _check_constants(met: Encounter) -> Iterator[Oddity]:
    constant = [v.signal.name for v in met.signals if (v.smallest == v.largest).all()]
    if constant and met.num_starts > 1:
        one = len(constant) == 1
        yield Oddity(
            "constant",
            f"{', '.join(constant)} {'is' if one else 'are'} the same at all steps of all "
            f"episodes, so an agent learns nothing from {'it' if one else 'them'}",
        )


def _check_range(values: SignalRange, low: Vector, high: Vector) -> Iterator[Oddity]:
    name = values.signal.name
    width = np.maximum(high - low, 1e-12)
    outside = np.maximum(values.largest - high, low - values.smallest) / width
    worst = int(outside.argmax())
    if outside[worst] > FAR_OUTSIDE:
        yield Oddity(
            "range",
            f"{name}{_element(values, worst)} is {outside[worst]:.0f} times its range away from "
            f"it: {_span(values.smallest[[worst]], values.largest[[worst]])} instead of "
            f"{low[worst]:.4g} to {high[worst]:.4g}; declare what is met, in the same unit",
        )
        return
    used = (values.largest - values.smallest) / width
    if 0.0 < used.max() < HARDLY_USED and values.signal.family != "privileged":
        yield Oddity(
            "range",
            f"{name} uses {used.max():.2%} of its range at most; is that in another unit?",
        )


def _check_rewards(met: Encounter, config: TrainConfig) -> Iterator[Oddity]:
    rewards = np.concatenate(met.rewards)
    if (rewards == rewards[0]).all() and not met.num_terminated:  # else it earns by lasting
        yield Oddity(
            "reward",
            f"it was {rewards[0]:.4g} at all {len(rewards)} steps: random actions never meet "
            "another one, so there is nothing to learn from; reward what leads to the goal",
        )
    limit = _bin_limit(config)
    largest = float(np.abs(rewards).max())
    furthest = max(largest, float(np.abs(_discounted(met, config)).max()))
    if furthest > limit:
        kind = "rewards" if largest > limit else "discounted returns"
        needed = math.ceil(math.log1p(min(furthest, 1e30)))
        yield Oddity(
            "reward",
            f"{kind} of up to {furthest:.4g} lie beyond the bins of --size {config.size}, which "
            f"end at {limit:.4g}: to an agent they are all alike; divide the reward, or take "
            f"--network.bin-limit {needed}",
        )


def _check_success(met: Encounter) -> Iterator[Oddity]:
    number = len(met.successes)
    if number and all(met.successes):
        yield Oddity("success", f"all {number} episodes succeed at random: there is nothing to do")
    elif number and not any(met.successes):
        yield Oddity(
            "success", f"none of {number} episodes succeeds at random: the reward has to lead there"
        )


def _check_body(met: Encounter) -> Iterator[Oddity]:
    shares = met.at_force_limit
    if shares and np.mean(list(shares.values())) > MOST:
        worst = max(shares, key=lambda name: shares[name])
        yield Oddity(
            "force",
            f"most commands end at a force limit ({worst}: {shares[worst]:.0%}); actions are then "
            "hardly told apart: smaller actions, softer gains or slower control",
        )
    if met.deepest is not None and met.deepest.depth_m > DEEP_M:
        one, other = met.deepest.geoms
        yield Oddity(
            "contact",
            f"at the start {one} is {1e3 * met.deepest.depth_m:.3g} mm inside {other}, which "
            "throws them apart: let them begin apart, or exclude the pair",
        )


def _returns(met: Encounter) -> Vector:
    return np.array([rewards.sum() for rewards in met.rewards])


def _discounted(met: Encounter, config: TrainConfig) -> Vector:
    """Return the discounted return from each step to the end of its episode, (steps,)."""
    discount = 1.0 - 1.0 / config.algorithm.discount_horizon
    found: list[float] = []
    for rewards in met.rewards:
        value = 0.0
        for reward in rewards[::-1]:
            value = float(reward) + discount * value
            found.append(value)
    return np.array(found)


def _bin_limit(config: TrainConfig) -> float:
    """Return the largest reward that the bins of the reward head represent."""
    return math.expm1(config.network.bin_limit)


def _floats(values: Any) -> Vector:
    return np.array(values, np.float64)


def _title(values: SignalRange) -> str:
    unit = values.signal.unit
    return f"{values.signal.name} {unit}" if unit else values.signal.name


def _declared(values: SignalRange) -> str:
    signal = values.signal
    if signal.low is None or signal.high is None:
        return "-"
    return _span(_floats(signal.low), _floats(signal.high))


def _element(values: SignalRange, index: int) -> str:
    labels = values.signal.labels
    if labels:
        return f" {labels[index]}"
    return f" [{index}]" if len(values.smallest) > 1 else ""


def _span(smallest: Vector, largest: Vector) -> str:
    low, high = float(np.min(smallest)), float(np.max(largest))
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _distribution(values: Vector) -> str:
    return f"{values.mean():.3g} ({_span(values, values)})"


def _row(name: str, declared: str, met: str) -> str:
    return format_row((name, declared, met), COLUMNS, WIDTH)
