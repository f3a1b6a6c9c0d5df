"""Arguments in a task's name: `gym:ID?key=value&key=value`, and the same behind `module:Class`.

They are part of the name, so that the contract keeps them and the task can be made again. A value
is JSON (`3`, `true`, `[1, 2]`, `"3"`), or a word that is taken as it is. `%26` is an ampersand.
"""

import json
from typing import Any
from urllib.parse import unquote

from robodreamer_sim.options import EnvOptions

WORDS = {"True": True, "False": False, "None": None}
"""Python's spelling of what JSON calls true, false and null."""


def split_arguments(task: str) -> tuple[str, dict[str, Any]]:
    """Return a task's name without its arguments, and those.

    Raises:
        ValueError: They are not of the form key=value, or a key is given twice.
    """
    name, mark, query = task.partition("?")
    arguments: dict[str, Any] = {}
    if not mark:
        return name, arguments
    for pair in query.split("&"):
        key, equals, text = pair.partition("=")
        if not equals or not unquote(key).isidentifier():
            raise ValueError(
                f"{task}: arguments are key=value, joined by &, such as "
                f"'{name}?env_name=reach-v3&max_episode_steps=200'; {pair!r} is not one"
            )
        if unquote(key) in arguments:
            raise ValueError(f"{task}: the argument {unquote(key)} is given twice")
        arguments[unquote(key)] = _value(unquote(text))
    return name, arguments


def require_known_period(task: str, options: EnvOptions) -> None:
    """Refuse another control period where the task itself knows its own.

    Raises:
        ValueError: One is asked for.
    """
    if options.control_dt_s is not None:
        raise ValueError(
            f"{task} knows its own control period; --control-dt is for Gymnasium environments "
            "that tell none, or a wrong one"
        )


def _value(text: str) -> Any:
    if text in WORDS:
        return WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        return text
