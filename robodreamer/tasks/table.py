"""The list of tasks, as `robodreamer tasks` prints it. Costs no simulator."""

import difflib
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from robodreamer_deploy.contract import ActionSpec, Camera, Contract, Signal
from robodreamer_deploy.policy.describe import element_words, mapping_words

OTHERS = (
    ("gym:ID", "any Gymnasium environment with Box or Dict observations, such as gym:CarRacing-v3"),
    ("gym:MODULE:ID", "the same of a package that registers it, such as gym:ale_py:ALE/Pong-v5"),
    ("module:Class", "a class of yours: a TaskEnv of robodreamer_sim, or a Gymnasium environment"),
    ("module:function", "a function of yours that makes a Gymnasium environment"),
    ("...?key=value", "with arguments, joined by &: 'gym:CartPole-v1?max_episode_steps=200'"),
)
WIDEST_NAME = 32
"""Longer names have their text on the next line."""
FEW_GROUPS, FEW_LABELS = 12, 6
"""So many kinds of an action's elements are told, and so many labels of each."""
FEW = 4
"""So many tasks are told in full, which takes a second or two for each."""


def matching(tasks: Mapping[str, str], word: str) -> dict[str, str]:
    """Return the task of that name, or all whose name or text holds `word`.

    Raises:
        ValueError: There is none; names the closest.
    """
    if word in tasks:
        return {word: tasks[word]}
    wanted = word.lower()
    shown = {k: v for k, v in tasks.items() if wanted in k.lower() or wanted in v.lower()}
    if not shown:
        close = difflib.get_close_matches(word, tasks, n=3, cutoff=0.4)
        hint = f"; the closest are {', '.join(close)}" if close else ""
        raise ValueError(f"no task has {word!r} in it{hint}; `robodreamer tasks` lists all")
    return shown


def foreign_text(task: str) -> str:
    """Return what is known of a task that is not listed."""
    return "a Gymnasium environment" if task.startswith("gym:") else "a class of yours"


def format_tasks(tasks: Mapping[str, str], width: int = 80) -> list[str]:
    """Return a line per task, and what else is a task; longer ones are wrapped."""
    column = min(WIDEST_NAME, max(len(name) for name in tasks) + 2)
    lines = [line for name, text in tasks.items() for line in _entry(name, text, column, width)]
    lines.append("")
    for name, text in OTHERS:
        lines += _entry(name, text, column, width)
    return lines


def format_details(
    contract: Contract,
    text: str,
    cameras: Sequence[Camera],
    notes: Sequence[str] = (),
    costs: Sequence[tuple[str, str]] = (),
    width: int = 80,
) -> Iterator[str]:
    """Yield what a task observes, accepts and tells, and the cameras that it can be seen through.

    Args:
        contract: Of the task, as it is made by default.
        text: What it is about.
        cameras: All that can be asked for.
        notes: What was guessed about it, or limits it.
        costs: What a step takes, as titles and texts.
        width: Of the lines.
    """
    yield contract.task
    steps = contract.max_episode_steps
    rows = [
        ("", text),
        *(("observes", _observed(signal)) for signal in contract.inputs),
        *(("in training", _observed(signal)) for signal in contract.privileged),
        *(("action", line) for line in _action(contract.action)),
        ("control", f"every {contract.control_dt_s:g} s, {steps or 'cut after 1000'} steps"),
        ("cameras", ", ".join(_name(camera) for camera in cameras) or "none"),
        *(("stand", line) for line in _places(cameras)),
        ("success", "told after each step" if contract.knows_success else "not told"),
        *costs,
        *(("note", note) for note in notes),
    ]
    before = ""
    for title, value in rows:
        shown = title if title != before else ""
        yield from _entry(f"  {shown}", value, 15, width)
        before = title


def _observed(signal: Signal) -> str:
    size = "x".join(map(str, signal.shape)) or "1"
    labels = f": {', '.join(signal.labels)}" if 0 < len(signal.labels) <= 8 else ""
    return f"{signal.name} {size}{f' {signal.unit}' if signal.unit else ''}{labels}"


def _name(camera: Camera) -> str:
    return camera.signal.partition("/")[2]


def _places(cameras: Sequence[Camera]) -> Iterator[str]:
    """Yield where cameras stand and how they are turned, as far as that is known."""
    places = [_place(camera) for camera in cameras]
    if any(places):
        yield "as MuJoCo says it: y up in the picture, looking along -z, quaternions wxyz"
    yield from filter(None, places)


def _place(camera: Camera) -> str:
    if camera.position is None or camera.quaternion is None:
        return ""
    position, turn = (
        " ".join(f"{value:.4g}" for value in values)
        for values in (camera.position, camera.quaternion)
    )
    return f"{_name(camera)}: {position} m in {camera.frame}, turned {turn}"


def _action(action: ActionSpec) -> Iterator[str]:
    """Yield how many elements there are, then each kind of element with the labels of that kind."""
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
    for words, members in list(groups.items())[:FEW_GROUPS]:
        yield f"{', '.join(members[:FEW_LABELS])}{', ...' * (len(members) > FEW_LABELS)}: {words}"
    if len(groups) > FEW_GROUPS:
        yield f"and {len(groups) - FEW_GROUPS} other ranges"
    if action.mapping is not None:
        yield mapping_words(action.mapping)[0].partition(",")[0]


def _entry(name: str, text: str, column: int, width: int) -> list[str]:
    """Return a name and its text behind it, from a column on, or on the next line."""
    if not text.strip():
        return [name]
    is_long = len(name) + 2 > column
    first = "" if is_long else f"{name:<{column}}"
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=" " * column if is_long else first,
        subsequent_indent=" " * column,
        break_on_hyphens=False,
    )
    return [name, *lines] if is_long else lines
