"""Settings check themselves, and three independent words choose them."""

import dataclasses
import itertools
import json
from typing import Any, get_args, get_type_hints

import pytest

from robodreamer.config import (
    PRESETS,
    PROTOCOLS,
    SIZES,
    PartsConfig,
    default_words,
    from_dict,
    named_config,
    to_dict,
)
from robodreamer.config.data import DataConfig
from robodreamer.config.presets import PRESET_PARTS
from robodreamer.config.settings import Settings
from robodreamer_sim.options import RenderQuality

CONFIG = named_config("fetch_reach", "debug", "dreamer_v3", "debug")
REFUSED = {
    "network.kernel": (4, "--network.kernel has to be odd, got 4"),
    "network.deter": (30, "--network.deter has to be a multiple of --network.blocks, 8, got 30"),
    "network.depth_multipliers": ((), "--network.depth-multipliers has to be one number or more"),
    "data.batch_length": (1, "--data.batch-length has to be more than 1"),
    "data.prefill": (-1, "--data.prefill has to be 0 or more, got -1"),
    "algorithm.imagination_last": (1, "--algorithm.imagination-last has to be more than 1, or 0"),
    "algorithm.camera_gap": (0.5, "--algorithm.camera-gap has to be 1 or more steps, got 0.5"),
    "algorithm.camera_dropout": (0.8, "--algorithm.camera-dropout can be 0.75 at most with gaps"),
    "algorithm.loss_scales.images": (
        float("inf"),
        "--algorithm.loss-scales.images has to be 0 or more, got inf",
    ),
    "algorithm.optimizer.learning_rate": (
        float("nan"),
        "--algorithm.optimizer.learning-rate has to be 0 or more, got nan",
    ),
    "algorithm.init_std": (
        float("nan"),
        "--algorithm.init-std has to be a finite number, such as 0, got nan",
    ),
    "minutes": (0.0, "--minutes has to be more than 0, got 0.0"),
    **{
        f"network.{field.name}": (0, f"--network.{field.name.replace('_', '-')} has to be more")
        for field in dataclasses.fields(SIZES["debug"])
        if field.name.endswith("_layers")
    },
}
ACCEPTED = {
    "network.kernel": 3,
    "network.depth_multipliers": (1,),
    "data.batch_length": 2,
    "data.prefill": 0,
    "algorithm.imagination_last": 2,
    "algorithm.camera_gap": 1.0,
    "algorithm.camera_dropout": 0.75,
    "algorithm.loss_scales.images": 0.0,
    "algorithm.init_std": -1.0,
    "minutes": None,
}


def replaced(settings: Any, path: str, value: Any) -> Any:
    """Return settings of which one, named as `network.depth`, has another value."""
    first, _, rest = path.partition(".")
    value = replaced(getattr(settings, first), rest, value) if rest else value
    return dataclasses.replace(settings, **{first: value})


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_no_run_could_be_made_with_raises_a_clear_error(name: str) -> None:
    value, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        replaced(CONFIG, name, value)


def test_the_neighbours_of_refused_settings_are_accepted() -> None:
    for name, value in ACCEPTED.items():
        replaced(CONFIG, name, value)


def test_a_repeatable_run_does_not_end_by_the_clock() -> None:
    timed = dataclasses.replace(CONFIG, minutes=5.0)
    with pytest.raises(ValueError, match=r"--deterministic cannot end by --minutes.* --steps"):
        dataclasses.replace(timed, deterministic=True)


def numbers_without_bound(settings: Settings) -> set[str]:
    """Return the numeric fields, nested ones included, that accept -1."""
    found = set()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, Settings):
            found |= numbers_without_bound(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            try:
                dataclasses.replace(settings, **{field.name: type(value)(-1)})
            except ValueError:
                continue
            found.add(settings.option(field.name))
    return found


def test_every_number_but_a_shift_has_a_lower_bound() -> None:
    unbounded = numbers_without_bound(dataclasses.replace(CONFIG, minutes=5.0))
    assert unbounded == {"--algorithm.init-std"}
    layers = [name for name in REFUSED if name.endswith("_layers")]
    assert len(layers) == 9, "each layer count is refused at 0"


def test_a_run_can_choose_every_render_quality_of_the_simulator() -> None:
    hints = get_type_hints(DataConfig)
    assert get_args(hints["render_quality"]) == get_args(RenderQuality)


def test_settings_survive_json_with_their_parts() -> None:
    parts = PartsConfig(cell="gru", norm="layer", actor="truncated_normal", critic="normal")
    config = replaced(CONFIG, "network.parts", parts)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    data = to_dict(config)
    del data["network"]["parts"]["cell"]
    with pytest.raises(ValueError, match=r"the settings under network under parts lack \['cell'\]"):
        from_dict(data)


def test_each_word_chooses_its_own_part_and_nothing_else() -> None:
    for size, preset, protocol in itertools.product(SIZES, PRESETS, PROTOCOLS):
        config = named_config("x", size, preset, protocol)
        assert (config.size, config.preset, config.protocol) == (size, preset, protocol)
        assert dataclasses.replace(config.network, parts=PartsConfig()) == SIZES[size]
        assert config.network.parts == PRESET_PARTS.get(preset, PartsConfig())
        assert config.algorithm == PRESETS[preset]
        assert config.data == PROTOCOLS[protocol]


def test_the_defaults_of_a_machine_are_words_that_exist() -> None:
    words = default_words()
    assert named_config("x") == named_config("x", **words)
