"""Tables of tasks for the terminal: a line for each task, or everything about one.

Nothing here imports the simulator, so the list of names appears at once.
"""

from collections.abc import Iterator, Mapping, Sequence

from robodreamer_deploy.contract import ActionSpec, Camera, Contract, Signal
from robodreamer_deploy.policy.describe import element_words, mapping_words
from robodreamer_deploy.utils.suggest import similar
from robodreamer_deploy.utils.table import format_row

OTHERS = (
    ("gym:ID", "any Gymnasium environment with Box or Dict observations, such as gym:CarRacing-v3"),
    ("gym:MODULE:ID", "the same of a package that registers it, such as gym:ale_py:ALE/Pong-v5"),
    ("module:Class", "a class of yours: a TaskEnv of robodreamer_sim, or a Gymnasium environment"),
    ("module:function", "a function of yours that makes a Gymnasium environment"),
    ("...?key=value", "with arguments, joined by &: 'gym:CartPole-v1?max_episode_steps=200'"),
)
NAME_COLUMN, TITLE_COLUMN = 32, 15
"""Widest column of the tasks' names, and the column of titles beside a task's details."""
MAX_GROUPS, MAX_LABELS = 12, 6
"""Most groups of an action's elements that are listed, and most labels of each."""
FEW = 4
"""Most tasks that are described in full, which takes a second or two for each."""


def matching(tasks: Mapping[str, str], word: str) -> dict[str, str]:
    """Return the task named `word`, or all tasks with `word` in their name or text.

    Raises:
        ValueError: There is none; the message lists the closest names.
    """
    if word in tasks:
        return {word: tasks[word]}
    wanted = word.lower()
    shown = {k: v for k, v in tasks.items() if wanted in k.lower() or wanted in v.lower()}
    if not shown:
        close = similar(word, tasks)
        hint = f"; the closest are {', '.join(close)}" if close else ""
        raise ValueError(f"no task has {word!r} in it{hint}; `robodreamer tasks` lists all")
    return shown


def foreign_text(task: str) -> str:
    """Return a text for a task that is not listed."""
    return "a Gymnasium environment" if task.startswith("gym:") else "a class of yours"


def format_tasks(tasks: Mapping[str, str]) -> str:
    """Return a row per task, and one per form in which other tasks can be named."""
    column = min(NAME_COLUMN, max(map(len, tasks)) + 2)
    rows = [*tasks.items(), ("", ""), *OTHERS]
    return "\n".join(format_row(row, [column]) for row in rows)


def format_details(
    contract: Contract,
    text: str,
    cameras: Sequence[Camera],
    notes: Sequence[str] = (),
    costs: Sequence[tuple[str, str]] = (),
) -> Iterator[str]:
    """Yield a task's name, then rows with its signals, action, cameras and costs.

    Args:
        contract: Contract of the task with its default options.
        text: Summary of the task.
        cameras: All cameras that can be requested.
        notes: Guesses that were made about the task, and limits of it.
        costs: Titles and texts about the duration of a step.
    """
    yield contract.task
    steps = contract.max_episode_steps
    rows = [
        ("", text),
        *(("observes", _signal_text(signal)) for signal in contract.inputs),
        *(("in training", _signal_text(signal)) for signal in contract.privileged),
        *(("action", line) for line in _action_lines(contract.action)),
        ("control", f"every {contract.control_dt_s:g} s, {steps or 'cut after 1000'} steps"),
        ("cameras", ", ".join(_camera_name(camera) for camera in cameras) or "none"),
        *(("stand", line) for line in _pose_lines(cameras)),
        ("success", "known after each step" if contract.knows_success else "unknown"),
        *costs,
        *(("note", note) for note in notes),
    ]
    before = ""
    for title, value in rows:
        yield format_row([f"  {title if title != before else ''}", value], [TITLE_COLUMN])
        before = title


def _signal_text(signal: Signal) -> str:
    size = "x".join(map(str, signal.shape)) or "1"
    labels = f": {', '.join(signal.labels)}" if 0 < len(signal.labels) <= 8 else ""
    return f"{signal.name} {size}{f' {signal.unit}' if signal.unit else ''}{labels}"


def _camera_name(camera: Camera) -> str:
    return camera.signal.partition("/")[2]


def _pose_lines(cameras: Sequence[Camera]) -> Iterator[str]:
    """Yield the poses of cameras where they are known, after a line about their convention."""
    poses = [_pose_text(camera) for camera in cameras]
    if any(poses):
        yield "MuJoCo's convention: y up in the picture, looking along -z, quaternions wxyz"
    yield from filter(None, poses)


def _pose_text(camera: Camera) -> str:
    if camera.position is None or camera.quaternion is None:
        return ""
    position, turn = (
        " ".join(f"{value:.4g}" for value in values)
        for values in (camera.position, camera.quaternion)
    )
    return f"{_camera_name(camera)}: {position} m in {camera.frame}, turned {turn}"


def _action_lines(action: ActionSpec) -> Iterator[str]:
    """Yield the number of elements, then each group of elements with the same range and meaning."""
    yield f"{action.size} {action.kind}"
    if action.kind == "discrete":
        if action.labels:
            yield ", ".join(action.labels)
        return
    labels = action.labels or tuple(map(str, range(action.size)))
    groups: dict[str, list[str]] = {}
    elements = zip(labels, action.low, action.high, element_words(action), strict=True)
    for label, low, high, words in elements:
        groups.setdefault(f"{low:.4g} .. {high:.4g} {words}", []).append(label)
    for words, members in list(groups.items())[:MAX_GROUPS]:
        yield f"{', '.join(members[:MAX_LABELS])}{', ...' * (len(members) > MAX_LABELS)}: {words}"
    if len(groups) > MAX_GROUPS:
        yield f"and {len(groups) - MAX_GROUPS} more"
    if action.mapping is not None:
        yield mapping_words(action.mapping)[0].partition(",")[0]
