"""Loading and testing a policy within a time, whatever its graphs compute.

onnxruntime does not come back before a graph has been computed, or folded while it is loaded, and
Python hears no Ctrl-C until then. A thread of its own waits for it; the main one hears everything.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from robodreamer_deploy.errors import BundleError

LOOK_S = 0.1
"""Seconds between two looks at the time, in the main thread."""
Result = TypeVar("Result")


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Return what `work` returns; it is left behind, as a daemon, if it does not come back.

    Raises:
        BundleError: It did not come back within `seconds`.
        BaseException: What it raises.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def do_it() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  raised below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=do_it, name="policy", daemon=True)
    thread.start()
    looks = max(1, round(seconds / LOOK_S))
    for _ in range(looks):
        thread.join(min(seconds, LOOK_S))
        if not thread.is_alive():
            break
    else:
        raise BundleError(
            f"loading and testing the policy did not end within {seconds:g} s: its graphs compute "
            "far more than a step, or this computer does far too much beside it"
        )
    if errors:
        raise errors[0]
    return results[0]
