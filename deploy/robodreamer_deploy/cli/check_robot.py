"""`robodreamer-deploy check-robot POLICY --robot SPEC`: check a robot, without moving it."""

import argparse
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from robodreamer_deploy.cli.arguments import POLICY, ROBOTS, add_max_age
from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.control.observation_monitor import max_ages_of
from robodreamer_deploy.control.shutdown import within
from robodreamer_deploy.control.stop_signals import StopSignals, catch_stop_signals
from robodreamer_deploy.control.watchdog import Watchdog, end_process
from robodreamer_deploy.drive_options import check_max_age
from robodreamer_deploy.errors import HungError, describe_error
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.robots.conformance import CHECKS, Finding, RobotUnderTest, examine
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.utils.streams import Say

CHECK_WITHIN_S = 30.0
"""Longest time of a check in seconds, connecting included; then it is broken off."""
LOOK_S = 1.0
"""Shortest time that is watched: that of `hold`."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy check-robot",
        description="Ask a robot for all that driving relies on, without moving it.",
    )
    result.add_argument("policy", type=Path, help=POLICY)
    result.add_argument("--robot", required=True, metavar="SPEC", help=ROBOTS)
    add_max_age(result)
    return result


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Examine the robot; return the exit code, as `check_robot` does."""
    return check_robot(arguments.policy, arguments.robot, say, dict(arguments.max_age))


def check_robot(
    policy: Path,
    robot: str,
    say: Say,
    max_age: Mapping[str, float] | None = None,
) -> int:
    """Examine a robot for a policy; print the result of every check; return the exit code.

    The robot is connected and told to hold, again and again; it is sent nothing that moves it. A
    signal ends it after the check that is under way, a second one at once; the robot is held.

    Args:
        policy: Folder of the policy.
        robot: As given to `--robot`.
        say: Prints a line.
        max_age: Largest age in seconds by signal, where the user allows another than training.

    Raises:
        BundleError: The policy cannot be read.
        RobotError: The robot is unknown or cannot be made, or the policy reads no such signal.
    """
    bundle = load_bundle(policy)
    contract = bundle.contract
    check_max_age(max_age or {}, contract)
    load_robot(robot, contract).disconnect()  # what cannot be made is told once, not by each check

    def give_up(reason: str, _is_held: bool) -> None:
        end_process(lambda: say(f"BROKEN      {reason}"), 1)

    watchdog = Watchdog(look_s=LOOK_S, give_up=give_up)

    @contextmanager
    def watched(seconds: float, doing: str) -> Generator[None, None, None]:
        watchdog.forget()  # the check's own time may be over, and the robot is left all the same
        with within(watchdog, seconds, doing):
            yield

    specimen = RobotUnderTest(
        lambda: load_robot(robot, contract),
        contract,
        max_ages_s={**max_ages_of(contract), **(max_age or {})},
        watched=watched,
    )
    with catch_stop_signals() as signals, watchdog:
        findings = _examine(specimen, signals, say, watchdog)
        if signals.number is not None:
            say(f"stopped     {signals.reason}; nothing was found out about the rest")
            return 128 + signals.number
        return _conclude(specimen, findings, robot, say, watchdog)


def _conclude(
    specimen: RobotUnderTest,
    findings: list[Finding],
    robot: str,
    say: Say,
    watchdog: Watchdog,
) -> int:
    broken = [finding.name for finding in findings if finding.fault is not None]
    if broken:
        say(f"not ready   {robot} breaks {len(broken)} of {len(CHECKS)} promises")
        return 1
    try:
        with within(watchdog, CHECK_WITHIN_S, "the robot"), specimen.connected() as connected:
            lines = list(_describe(connected.get_observation(), specimen.contract))
    except (Exception, HungError) as error:  # noqa: BLE001  a driver raises what it likes
        say(f"not ready   {robot} kept its promises, and then: {describe_error(error)}")
        return 1
    for line in lines:
        say(f"measures    {line}")
    say(f"ready       {robot} keeps what was asked of it; begin with --dry-run")
    return 0


def _examine(
    specimen: RobotUnderTest, signals: StopSignals, say: Say, watchdog: Watchdog
) -> list[Finding]:
    """Print the result of every check; one that hangs is broken off."""
    findings: list[Finding] = []
    for name in CHECKS:
        try:
            with within(watchdog, CHECK_WITHIN_S, "the robot"):
                finding = examine(name, specimen)
        except HungError as error:  # it came back, but too late
            finding = Finding(name, describe_error(error), None)
        signals.take_back()
        if signals.number is not None:
            break
        say(_format(finding))
        findings.append(finding)
    return findings


def _describe(observation: Mapping[str, Array], contract: Contract) -> Iterator[str]:
    """Yield every signal's value as text, to be compared with the robot as it stands there."""
    for signal in contract.inputs:
        if signal.name not in observation:
            yield f"{signal.name}: nothing yet"
        elif signal.is_image:
            picture = observation[signal.name]
            yield f"{signal.name}: {signal.shape}, from {picture.min()} to {picture.max()}"
        else:
            labels = signal.labels or tuple(str(i) for i in range(signal.num_elements))
            pairs = zip(labels, observation[signal.name].ravel(), strict=True)
            yield f"{signal.name}: " + ", ".join(
                f"{k} {v:.4g} {signal.unit}".rstrip() for k, v in pairs
            )


def _format(finding: Finding) -> str:
    verdict = "BROKEN" if finding.fault is not None else "skipped" if finding.skipped else "ok"
    promise = (CHECKS[finding.name].__doc__ or "").strip()
    return f"{verdict:<11} {finding.name}: {finding.fault or finding.skipped or promise}"
