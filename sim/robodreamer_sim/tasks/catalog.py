"""Catalog of the named tasks, as data. Importing this loads no simulator.

A plain name has the dense reward, `_sparse` the one that depends only on whether the goal is met.
"""

from typing import NamedTuple


class Named(NamedTuple):
    """Named task: its maker and a summary."""

    module: str
    """Module that makes it."""
    maker: str
    """Function or class of that module, called with (task, options, renderers)."""
    text: str
    gymnasium_id: str = ""
    """Id in gymnasium-robotics, unless its module derives it from the name."""


FETCH_TASKS = {
    "fetch_reach": "move the gripper of a Fetch arm to the red sphere",
    "fetch_push": "push a block to the red sphere on the table",
    "fetch_slide": "hit a puck so that it slides to a red sphere out of reach",
    "fetch_pick_and_place": "grasp a block and bring it to the red sphere, often in the air",
    "fetch_reach_visual": "fetch_reach, with the goal only in the pictures of two cameras",
}
ARM_TASKS = {
    "arm_reach": ("ArmReach", "move the tool of a 6-joint arm to the red ball"),
    "arm_push": ("ArmPush", "push a block to the red spot with a 6-joint arm"),
}
DMC_TASKS = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": (
        "balance", "balance_sparse", "swingup", "swingup_sparse", "three_poles", "two_poles",
    ),
    "cheetah": ("run",),
    "dog": ("stand", "walk", "trot", "run", "fetch"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("upright", "swim"),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run", "run_pure_state"),
    "humanoid_CMU": ("stand", "walk", "run"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": (
        "bring_ball", "bring_peg", "insert_ball", "insert_peg",
    ),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("walk", "run", "escape", "fetch"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer6", "swimmer15"),
    "walker": ("stand", "walk", "run"),
}  # fmt: skip
OBJECTS = {
    "block_rotate_z": ("BlockRotateZ", "turn a block in a Shadow hand about the vertical"),
    "block_rotate_parallel": ("BlockRotateParallel", "turn a block onto any face and direction"),
    "block_rotate_xyz": ("BlockRotateXYZ", "turn a block in a Shadow hand to any orientation"),
    "block": ("Block", "bring a block in a Shadow hand to any pose"),
    "egg_rotate": ("EggRotate", "turn an egg in a Shadow hand to any orientation"),
    "egg": ("Egg", "bring an egg in a Shadow hand to any pose"),
    "pen_rotate": ("PenRotate", "turn a pen in a Shadow hand to any direction"),
    "pen": ("Pen", "bring a pen in a Shadow hand to any pose"),
}
TOUCH = {
    "": ("", ""),
    "_touch": ("_ContinuousTouchSensors", ", feeling forces"),
    "_touch_boolean": ("_BooleanTouchSensors", ", feeling contacts"),
}
ADROIT = {
    "door": ("Door", "an Adroit hand turns a latch and opens a door"),
    "hammer": ("Hammer", "an Adroit hand takes a hammer and drives in a nail"),
    "pen": ("Pen", "an Adroit hand turns a pen to the direction of the green one"),
    "relocate": ("Relocate", "an Adroit hand brings a ball to the green sphere"),
}
KITCHEN_GOALS = (
    "bottom burner",
    "top burner",
    "light switch",
    "slide cabinet",
    "hinge cabinet",
    "microwave",
    "kettle",
)
MAZES = {
    "umaze": ("UMaze", "a U"),
    "open": ("Open", "an open field"),
    "open_diverse_g": ("Open_Diverse_G", "an open field, from a corner"),
    "open_diverse_gr": ("Open_Diverse_GR", "an open field, from and to anywhere"),
    "medium": ("Medium", "a maze of 8 by 8"),
    "medium_diverse_g": ("Medium_Diverse_G", "a maze of 8 by 8, to some cells"),
    "medium_diverse_gr": ("Medium_Diverse_GR", "a maze of 8 by 8, between some cells"),
    "large": ("Large", "a maze of 9 by 12"),
    "large_diverse_g": ("Large_Diverse_G", "a maze of 9 by 12, to some cells"),
    "large_diverse_gr": ("Large_Diverse_GR", "a maze of 9 by 12, between some cells"),
}
RUNNERS = {
    "point": ("PointMaze", "v3", "push a ball through"),
    "ant": ("AntMaze", "v5", "walk an ant through"),
}
MANIPULATION = {
    "reach_site": "a Jaco arm moves its hand to a sphere",
    "reach_duplo": "a Jaco arm moves its hand to a brick",
    "lift_brick": "a Jaco arm lifts a brick",
    "lift_large_box": "a Jaco arm lifts a large box",
    "place_brick": "a Jaco arm puts a brick onto a pedestal",
    "place_cradle": "a Jaco arm puts a brick into a cradle",
    "stack_2_bricks": "a Jaco arm stacks a brick on one that is fixed",
    "stack_2_bricks_moveable_base": "a Jaco arm stacks two bricks",
    "stack_3_bricks": "a Jaco arm stacks three bricks",
    "stack_3_bricks_random_order": "a Jaco arm stacks three bricks in a given order",
    "stack_2_of_3_bricks_random_order": "a Jaco arm stacks two given bricks of three",
    "reassemble_3_bricks_fixed_order": "a Jaco arm takes a stack of 3 apart and builds it again",
    "reassemble_5_bricks_random_order": "a Jaco arm rebuilds a stack of 5 in a given order",
}
LOCOMOTION = {
    "cmu_humanoid_go_to_target": "basic_cmu_2019",
    "cmu_humanoid_run_walls": "basic_cmu_2019",
    "cmu_humanoid_run_gaps": "basic_cmu_2019",
    "rodent_escape_bowl": "basic_rodent_2020",
    "rodent_run_gaps": "basic_rodent_2020",
    "rodent_two_touch": "basic_rodent_2020",
}
"""Module among dm_control's examples that makes each."""


def list_tasks() -> dict[str, str]:
    """Return every named task with a one-line summary."""
    return {name: named.text for name, named in named_tasks().items()}


def named_tasks() -> dict[str, Named]:
    """Return every task by name."""
    arm = {name: Named("arm", maker, text) for name, (maker, text) in ARM_TASKS.items()}
    return fetch_tasks() | arm | robotics_tasks() | composer_tasks() | suite_tasks()


def fetch_tasks() -> dict[str, Named]:
    """Return the tasks of the Fetch arm."""
    tasks = {}
    for name, text in FETCH_TASKS.items():
        tasks[name] = Named(
            "gymnasium_robotics.fetch", "FetchTask", f"{text} (reward: minus the distance)"
        )
        sparse = f"{text} (reward -1 until there, then 0)"
        tasks[f"{name}_sparse"] = Named("gymnasium_robotics.fetch", "FetchTask", sparse)
    return tasks


def robotics_tasks() -> dict[str, Named]:
    """Return the tasks of gymnasium-robotics beside Fetch."""
    tasks = {"franka_kitchen": _kitchen("do all seven things in a kitchen")}
    for goal in KITCHEN_GOALS:
        tasks[f"franka_kitchen_{goal.replace(' ', '_')}"] = _kitchen(f"see to the {goal}")
    tasks |= _both("hand_reach", "hand", "HandReach{}-v3", "Dense", "fingers meet the thumb")
    for name, (part, text) in OBJECTS.items():
        for ending, (sensors, feeling) in TOUCH.items():
            tasks |= _both(
                f"hand_manipulate_{name}{ending}",
                "hand",
                f"HandManipulate{part}{sensors}{{}}-v1",
                "Dense",
                f"{text}{feeling}",
            )
    for name, (part, text) in ADROIT.items():
        tasks |= _both(f"adroit_{name}", "adroit", f"AdroitHand{part}{{}}-v1", "", text)
    for runner, (prefix, version, verb) in RUNNERS.items():
        for name, (maze, text) in MAZES.items():
            gymnasium_id = f"{prefix}_{maze}{{}}-{version}"
            tasks |= _both(f"{runner}_maze_{name}", "maze", gymnasium_id, "Dense", f"{verb} {text}")
    return tasks


def _both(name: str, family: str, gymnasium_id: str, dense: str, text: str) -> dict[str, Named]:
    """Return the dense and the sparse task; `dense` is what the package calls its dense one."""
    sparse = "" if dense else "Sparse"
    module, maker = f"gymnasium_robotics.{family}", f"{family.capitalize()}Task"
    return {
        name: Named(module, maker, f"{text} (dense reward)", gymnasium_id.format(dense)),
        f"{name}_sparse": Named(
            module, maker, f"{text} (sparse reward)", gymnasium_id.format(sparse)
        ),
    }


def _kitchen(text: str) -> Named:
    text = f"a Franka arm in a kitchen: {text}"
    return Named("gymnasium_robotics.kitchen", "KitchenTask", text, "FrankaKitchen-v1")


def composer_tasks() -> dict[str, Named]:
    """Return dm_control's composed tasks."""
    texts = {f"manipulation_{name}": text for name, text in MANIPULATION.items()}
    for name in LOCOMOTION:
        texts[f"locomotion_{name}"] = f"dm_control locomotion: {name.replace('_', ' ')}"
    return {
        name: Named("dm_control.composer", "ComposerTask", text) for name, text in texts.items()
    }


def suite_tasks() -> dict[str, Named]:
    """Return the tasks of dm_control's suite."""
    tasks = {}
    for task, (domain, name) in suite_names().items():
        text = f"dm_control suite: {domain} {name}".replace("_", " ")
        tasks[task] = Named("dm_control.suite", "DmControlTask", text)
    return tasks


def suite_names() -> dict[str, tuple[str, str]]:
    """Return domain and name in dm_control's suite, by task."""
    pairs = ((domain, name) for domain, names in DMC_TASKS.items() for name in names)
    return {f"dmc_{domain}_{name}": (domain, name) for domain, name in pairs}
