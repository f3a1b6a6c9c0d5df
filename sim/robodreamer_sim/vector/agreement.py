"""Whether environments that are to share one memory promise the same."""

from collections.abc import Iterator

from robodreamer_deploy.contract import Contract, Signal


def require_equal(task: str, contract: Contract, environment: int, expected: Contract) -> None:
    """Refuse an environment that is another one than the first.

    Args:
        task: Name of the task.
        contract: What the environment promises.
        environment: Its number.
        expected: What environment 0, or the one before a restart, promises.

    Raises:
        ValueError: Names the environment and what differs.
    """
    if contract != expected:
        raise ValueError(
            f"{task}: environment {environment} is another one than the first: "
            f"{'; '.join(_differences(contract, expected))}; all environments of a run are the "
            "same, whichever process makes them, and stay so"
        )


def _differences(found: Contract, expected: Contract) -> Iterator[str]:
    ours = {signal.name: signal for signal in found.observations}
    theirs = {signal.name: signal for signal in expected.observations}
    for name in [*theirs, *(name for name in ours if name not in theirs)]:
        if ours.get(name) != theirs.get(name):
            yield f"{name} is {_shown(ours.get(name))}, not {_shown(theirs.get(name))}"
    for field in ("action", "control_dt_s", "max_episode_steps", "cameras", "knows_success"):
        one, other = getattr(found, field), getattr(expected, field)
        if one != other:
            yield f"{field} is {one}, not {other}"
    if list(ours) != list(theirs) and ours == theirs:
        yield f"the signals are in the order {', '.join(ours)}, not {', '.join(theirs)}"


def _shown(signal: Signal | None) -> str:
    if signal is None:
        return "missing"
    classes = f" of {signal.num_classes} classes" if signal.num_classes else ""
    return f"{signal.dtype} {signal.shape}{classes}"
