"""Names of tasks, and the options a task is made with."""

from typing import Any

import pytest
from dm_control import suite

import robodreamer_sim
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.catalog import list_tasks


def test_the_whole_suite_is_listed() -> None:
    named = {task.removeprefix("dmc_") for task in list_tasks() if task.startswith("dmc_")}
    assert named == {f"{domain}_{name}" for domain, name in suite.ALL_TASKS}


def test_every_task_has_a_line_that_says_what_it_is_about() -> None:
    for name, text in list_tasks().items():
        assert 10 < len(text) < 100, name
        assert "\n" not in text
    assert {f"fetch_{kind}" for kind in ("reach", "push", "slide", "pick_and_place")} < {
        *list_tasks()
    }
    assert {"fetch_reach_visual", "fetch_reach_visual_sparse", "fetch_push_sparse"} < {
        *list_tasks()
    }


@pytest.mark.parametrize(
    ("task", "closest"),
    [
        ("fetch_reech", "fetch_reach"),
        ("dmc_walker_wlak", "dmc_walker_walk"),
        ("dmc:walker-walk", "dmc_walker_walk"),
        ("walker_walk", "dmc_walker_walk"),
        ("zzzzzz", "fetch_reach"),
    ],
)
def test_an_unknown_task_is_answered_with_the_closest_and_how_to_list_all(
    task: str, closest: str
) -> None:
    with pytest.raises(ValueError, match=f"no task '{task}'; the closest are {closest}") as caught:
        make(task)
    assert "robodreamer_sim.list_tasks() lists all" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"observe": "everything"}, "observe is one of camera, proprio, both, state, got 'every"),
        ({"render_quality": "pretty"}, "render_quality is one of fast, shadows, reference"),
        ({"image_size": (64,)}, r"image_size is \(height, width\)"),
        ({"image_size": (0, 64)}, r"image_size is \(height, width\)"),
        ({"action_repeat": 0}, "action_repeat is at least 1"),
        ({"cameras": ("a", "a")}, "named twice"),
        ({"cameras": ()}, "needs a camera"),
    ],
)
def test_options_that_make_no_environment_are_refused(settings: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EnvOptions(**settings)


def test_options_are_recorded_as_json_values() -> None:
    options = EnvOptions(observe="camera", cameras=("a", "b"), image_size=(3, 4), action_repeat=2)
    data = options.to_dict()
    assert data["image_size"] == [3, 4]
    assert EnvOptions.from_dict(data) == options
    assert EnvOptions.from_dict(EnvOptions().to_dict()) == EnvOptions()
    with pytest.raises(ValueError, match="unknown option 'size'; there are observe, cameras"):
        EnvOptions.from_dict({"size": 3})


def test_what_needs_gymnasium_is_loaded_on_first_use() -> None:
    assert issubclass(robodreamer_sim.TaskEnv, object)
    assert robodreamer_sim.VectorEnv.__name__ == "VectorEnv"
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = robodreamer_sim.Nothing
