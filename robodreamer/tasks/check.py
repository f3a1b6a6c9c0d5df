"""Check of tasks: the promises that each keeps or breaks, and figures of random actions."""

import textwrap
from collections.abc import Callable, Sequence

from robodreamer.config import TrainConfig
from robodreamer.tasks.figures import find_oddities, format_figures
from robodreamer_deploy.utils.streams import Say
from robodreamer_deploy.utils.table import format_row
from robodreamer_sim.registry import make_with_what_it_has
from robodreamer_sim.tasks.gymnasium.foreign_errors import describe
from robodreamer_sim.testing.conformance import CHECKS, ConformanceError, TaskUnderTest
from robodreamer_sim.testing.random_policy import meet


def prepare_check(names: Sequence[str], say: Say, config: TrainConfig) -> Callable[[], int]:
    """Make tasks; return the function that checks them and returns the exit status.

    The status is 1 if a promise is broken, else 0; an unusual figure does not change it.

    Args:
        names: Names of the tasks.
        say: Receives each line of the result.
        config: Settings of the run that the figures are compared with.

    Raises:
        ValueError: There is no such task, or it cannot be made.
    """
    tasks = [
        TaskUnderTest(lambda options, name=name: make_with_what_it_has(name, options))
        for name in names
    ]
    for task in tasks:
        _ = task.env  # here, where its ValueError is reported as the user's mistake

    def job() -> int:
        num_broken = num_unusual = 0
        for task in tasks:
            num_broken += _check(task, say)
            try:
                num_unusual += _measure(task, config, say)
            except (Exception, SystemExit) as error:  # noqa: BLE001  whatever somebody's task raises
                say(_line("broken", "random", f"random actions end in {describe(error)}"))
                num_broken += 1
            task.close()
        found = f"\n{num_broken or 'no'} broken promise{'' if num_broken == 1 else 's'}"
        say(f"{found}, {num_unusual} unusual" if num_unusual else found)
        return int(num_broken > 0)

    return job


def _check(task: TaskUnderTest, say: Say) -> int:
    """Report each promise; return the number of broken ones."""
    say(task.contract.task)
    num_broken = 0
    for name, check in CHECKS.items():
        try:
            check(task)
        except ConformanceError as broken:
            say(_line("broken", name, str(broken)))
            num_broken += 1
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever somebody's task raises
            say(_line("broken", name, f"it raises {describe(error)}"))
            num_broken += 1
        else:
            say(_line("ok", name, (check.__doc__ or "").strip()))
    return num_broken


def _measure(task: TaskUnderTest, config: TrainConfig, say: Say) -> int:
    """Report the figures of random actions; return the number of unusual ones."""
    met = meet(task.env)
    episodes = f"{len(met.rewards)} episode{'' if len(met.rewards) == 1 else 's'}"
    say(f"\n  random actions in {episodes}, {met.num_steps:,} steps")
    for row in format_figures(met, config):
        say(textwrap.indent(row, " " * 10))
    oddities = list(find_oddities(met, config))
    for oddity in oddities:
        say(_line("look", *oddity))
    return len(oddities)


def _line(verdict: str, name: str, text: str) -> str:
    return format_row((f"  {verdict}", name, text), (10, 14))
