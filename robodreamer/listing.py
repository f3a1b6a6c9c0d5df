"""The list of tasks, as `robodreamer tasks` prints it. Costs no simulator."""

import difflib
import textwrap
from collections.abc import Mapping

GYMNASIUM = (
    "gym:ID              any Gymnasium environment with Box or Dict observations, such as "
    "gym:HalfCheetah-v5 or gym:AdroitHandDoor-v1"
)


def format_tasks(tasks: Mapping[str, str], word: str = "", width: int = 80) -> list[str]:
    """Return a line per task whose name or text holds `word`; longer ones are wrapped.

    Raises:
        ValueError: There is none; names the closest.
    """
    wanted = word.lower()
    shown = {k: v for k, v in tasks.items() if wanted in k.lower() or wanted in v.lower()}
    if not shown:
        close = difflib.get_close_matches(word, tasks, n=3, cutoff=0.4)
        hint = f"; the closest are {', '.join(close)}" if close else ""
        raise ValueError(f"no task has {word!r} in it{hint}; `robodreamer tasks` lists all")
    column = max(len(name) for name in shown) + 2
    lines = []
    for name, text in shown.items():
        lines += textwrap.wrap(
            f"{name:<{column}}{text}", width, subsequent_indent=" " * column, break_on_hyphens=False
        )
    return [*lines, "", *textwrap.wrap(GYMNASIUM, width, subsequent_indent=" " * 20)]
