"""Settings: what no run could be made with is refused in words before anything is built."""

import dataclasses
from typing import Any

import pytest

from robodreamer.config import SIZES, TrainConfig, named_config
from robodreamer.config_check import check_settings

CONFIG = named_config("fetch_reach", "debug", "dreamer_v3", "debug")


def with_setting(settings: Any, name: str, value: Any) -> Any:
    """Return settings of which one, named as `network.depth`, has another value."""
    first, _, rest = name.partition(".")
    value = with_setting(getattr(settings, first), rest, value) if rest else value
    return dataclasses.replace(settings, **{first: value})


REFUSED = {
    "network.kernel": (4, "--network.kernel has to be odd, got 4"),
    "network.depth_multipliers": ((), "--network.depth-multipliers has to be one number or more"),
    "data.batch_length": (1, "--data.batch-length has to be more than 1"),
    "algorithm.imagination_last": (1, "--algorithm.imagination-last has to be more than 1, or 0"),
    "algorithm.camera_gap": (0.5, "--algorithm.camera-gap has to be 1 or more steps, got 0.5"),
    "algorithm.camera_dropout": (0.8, "--algorithm.camera-dropout can be 0.75 at most with gaps"),
    **{
        f"network.{field.name}": (0, f"--network.{field.name.replace('_', '-')} has to be more")
        for field in dataclasses.fields(SIZES["debug"])
        if field.name.endswith("_layers")
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_no_run_could_be_made_with_is_refused(name: str) -> None:
    value, sentence = REFUSED[name]
    check_settings(CONFIG)
    with pytest.raises(ValueError, match=sentence):
        check_settings(with_setting(CONFIG, name, value))


def test_the_neighbours_of_refused_settings_are_accepted() -> None:
    accepted = {
        "network.kernel": 3,
        "network.depth_multipliers": (1,),
        "data.batch_length": 2,
        "algorithm.imagination_last": 2,
        "algorithm.camera_gap": 1.0,
        "algorithm.camera_dropout": 0.75,
    }
    for name, value in accepted.items():
        check_settings(with_setting(CONFIG, name, value))


def test_a_repeatable_run_does_not_end_by_the_clock() -> None:
    timed = dataclasses.replace(CONFIG, minutes=5.0)
    check_settings(timed)
    with pytest.raises(ValueError, match=r"--deterministic cannot end by --minutes.* --steps"):
        check_settings(dataclasses.replace(timed, deterministic=True))


def test_there_are_as_many_layer_settings_as_the_networks_have() -> None:
    assert sum(name.endswith("_layers") for name in REFUSED) == 9
    assert TrainConfig(task="x").num_workers is None
