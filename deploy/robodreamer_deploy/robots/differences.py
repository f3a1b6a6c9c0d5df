"""In what a robot is not what a policy was trained for."""

from collections.abc import Iterator

from robodreamer_deploy.contract import Contract


def differences(offered: Contract, policy: Contract) -> Iterator[str]:
    """Name everything in which the contract of a robot or a task differs from a policy's."""
    signals = {signal.name: signal for signal in offered.inputs}
    for wanted in policy.inputs:
        if wanted.name not in signals:
            yield f"it has no {wanted.name}, only {', '.join(signals)}"
        elif signals[wanted.name] != wanted:
            yield f"{wanted.name} is {signals[wanted.name]}, trained with {wanted}"
    if offered.action != policy.action:
        yield f"its action is {offered.action}, trained with {policy.action}"
    if offered.control_dt_s != policy.control_dt_s:
        yield f"its step is {offered.control_dt_s} s, trained with {policy.control_dt_s} s"
