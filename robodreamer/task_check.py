"""Whether tasks keep what every task promises, told check by check."""

import textwrap
from collections.abc import Callable, Sequence

from robodreamer_sim.conformance import CHECKS, Specimen, UnfitTaskError
from robodreamer_sim.tasks.foreign import describe
from robodreamer_sim.tasks.registry import make_with_what_it_has


def prepare_check(names: Sequence[str], say: Callable[[str], None]) -> Callable[[], int]:
    """Make tasks; return what checks them, says what it found, and returns the exit status.

    The status is 1 if a promise is broken, else 0.

    Raises:
        ValueError: There is no such task, or it cannot be made.
    """
    specimens = [
        Specimen(lambda options, name=name: make_with_what_it_has(name, options)) for name in names
    ]
    for specimen in specimens:
        _ = specimen.env  # made here, so that a task that cannot be is the user's mistake

    def job() -> int:
        num_broken = sum(_check(specimen, say) for specimen in specimens)
        say(f"\n{num_broken or 'no'} broken promise{'' if num_broken == 1 else 's'}")
        return int(num_broken > 0)

    return job


def _check(specimen: Specimen, say: Callable[[str], None]) -> int:
    """Say what holds and what does not; return how many checks failed."""
    say(specimen.contract.task)
    num_broken = 0
    for name, check in CHECKS.items():
        try:
            check(specimen)
        except UnfitTaskError as broken:
            say(_line("broken", name, str(broken)))
            num_broken += 1
        except Exception as error:  # noqa: BLE001  whatever somebody's task raises
            say(_line("broken", name, f"it raises {describe(error)}"))
            num_broken += 1
        else:
            say(_line("ok", name, (check.__doc__ or "").strip()))
    specimen.close()
    return num_broken


def _line(verdict: str, name: str, text: str) -> str:
    """Return a check's outcome, wrapped to 80 columns."""
    return textwrap.fill(f"  {verdict:<8}{name:<14}{text}", 80, subsequent_indent=" " * 24)
